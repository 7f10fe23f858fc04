"""Style sheet, colours and figure class shared by all figures."""

from io import BytesIO

import matplotlib.style
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from hbac_utils.labels import CLASSES

# Lightness increases in steps of about 13 (CIE L* 20 to 87), so that the order survives greyscale
# printing; hues differ for dichromats (deuteranopia: Lab distance > 18).
CLASS_COLORS = dict(
    zip(CLASSES, ("#5C1049", "#28559F", "#128670", "#E5783A", "#E4B429", "#DADADA"), strict=True)
)
COLORS = list(CLASS_COLORS.values())

INK = "#22272E"
MUTED = "#6B7480"
MISSING = "#B9BEC5"  # missing values
TRAIN_COLOR = "#28559F"
PALE = "#C9D5E8"  # second series beside TRAIN_COLOR, ranges behind points
ACCENT = "#C2410C"  # marks laid over data: thresholds, reference lines, the label
HIGHLIGHT = "#FFF3CC"  # background of the labelled segment or the best row
HATCH = "/////"  # second of two bars
EDGE = {"ec": MUTED, "lw": 0.6}  # of bars
OUTLINE = [withStroke(linewidth=2.6, foreground=MUTED)]  # thin dark edge of pale lines

styled = matplotlib.style.context(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": MUTED,
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "figure.dpi": 100,  # pixels per inch in a notebook
        "figure.titlesize": 13,
        "figure.titleweight": "bold",
        "grid.color": "#E3E6EA",
        "hatch.linewidth": 0.6,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "savefig.dpi": 130,  # sharp, yet 20 EEG pages stay below 10 MB
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
    },
    after_reset=True,
)
"""Decorator: run a function under the style sheet, whatever the global settings are."""


class StyledFigure(Figure):
    """Figure that is saved under the style sheet and displays itself in a notebook."""

    @styled
    def savefig(self, *args, **kwargs):
        """Save the figure; matplotlib reads some settings only here."""
        super().savefig(*args, **kwargs)

    def _repr_png_(self):
        full, small = BytesIO(), BytesIO()
        self.savefig(full, format="png")
        # 256 colours need a third of the bytes
        picture = Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(small, "png")
        width, height = (round(float(side) * 100) for side in self.get_size_inches())
        return small.getvalue(), {"width": width, "height": height}


def new_figure(height: float, title: str = "") -> StyledFigure:
    """Create a figure of the standard width; ``height`` in inches."""
    figure = StyledFigure(figsize=(10, height), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def text_color(background) -> str:
    """Return dark or white ink, whichever is readable on a background colour."""
    return "white" if np.dot([0.299, 0.587, 0.114], to_rgb(background)) < 0.55 else INK


def color_range(values: np.ndarray) -> tuple[float, float]:
    """Return the 2nd and 98th percentile of the finite values; (0, 1) if there are none."""
    finite = values[np.isfinite(values)]
    return tuple(np.percentile(finite, [2, 98])) if finite.size else (0.0, 1.0)
