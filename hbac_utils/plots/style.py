"""Style sheet, colours and figure class shared by all figures."""

from collections.abc import Callable
from functools import wraps
from io import BytesIO

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from hbac_utils.labels import CLASSES

CLASS_COLORS = dict(
    zip(CLASSES, ("#5C1049", "#28559F", "#128670", "#E5783A", "#E4B429", "#DADADA"), strict=True)
)
"""Colour of each class in all figures.

Lightness increases in steps of about 13 (CIE L* 20 to 87) from Seizure to Other, so that the
order survives greyscale printing; hues differ for dichromats (deuteranopia: Lab distance > 18).
"""

INK = "#22272E"
MUTED = "#6B7480"
GRID = "#E3E6EA"
MISSING = "#B9BEC5"  # missing values
TRAIN_COLOR = "#28559F"
PALE = "#C9D5E8"  # second series beside TRAIN_COLOR, ranges behind points
ACCENT = "#C2410C"  # marks laid over data: thresholds, reference lines, the label
HIGHLIGHT = "#FFF3CC"  # background of the labelled segment or the best row
HATCH = "/////"  # second of two bars

WIDTH = 10.0  # inches, of every figure
DPI = 130  # of saved figures: sharp, yet 20 EEG pages stay below 10 MB
CSS_DPI = 100  # pixels per inch reported to a notebook

STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.dpi": CSS_DPI,
    "figure.titlesize": 13,
    "figure.titleweight": "bold",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # shipped with matplotlib
    "font.size": 10,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 0.6,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": DPI,
    "text.color": INK,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "ytick.color": INK,
    "ytick.labelsize": 9,
}


def style():
    """Return the context manager under which all figures are made and drawn."""
    return matplotlib.style.context(STYLE, after_reset=True)


def styled(make: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a function that returns a figure: run it under `style`."""

    @wraps(make)
    def wrapper(*args, **kwargs):
        with style():
            return make(*args, **kwargs)

    return wrapper


class StyledFigure(Figure):
    """Figure that ignores global matplotlib settings and displays itself in a notebook.

    Matplotlib reads some settings when a figure is drawn, not when it is created.
    """

    def draw(self, renderer):
        """Draw under `style`."""
        with style():
            super().draw(renderer)

    def savefig(self, *args, **kwargs):
        """Save under `style`, by default at `DPI`."""
        with style():
            super().savefig(*args, **kwargs)

    def _repr_png_(self):
        full, small = BytesIO(), BytesIO()
        self.savefig(full, format="png")
        # 256 colours need a third of the bytes
        picture = Image.open(full).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        picture.save(small, "png")
        width, height = (round(float(side) * CSS_DPI) for side in self.get_size_inches())
        return small.getvalue(), {"width": width, "height": height}


def new_figure(height: float, title: str = "") -> StyledFigure:
    """Create a figure of the standard width; ``height`` in inches."""
    figure = StyledFigure(figsize=(WIDTH, height), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def text_color(background) -> str:
    """Return dark or white ink, whichever is readable on a background colour."""
    red, green, blue = to_rgb(background)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK


def value_grid(axes: Axes, axis: str) -> None:
    """Show grid lines of the value axis of bars only, ``"x"`` or ``"y"``."""
    axes.grid(visible=False, axis="both")
    axes.grid(visible=True, axis=axis)
    axes.tick_params(axis="y" if axis == "x" else "x", length=0)


def color_range(values: np.ndarray, percent: float = 2) -> tuple[float, float]:
    """Return the inner percentiles of the finite values; (0, 1) if there are none."""
    finite = np.asarray(values)[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [percent, 100 - percent])
    return float(low), float(high if high > low else low + 1)


def outline():
    """Return path effects that give pale lines a thin dark edge."""
    return [Stroke(linewidth=2.6, foreground=MUTED), Normal()]


def color_bar(figure: Figure, image, axes, label: str, aspect: int = 40) -> None:
    """Add a thin colour bar at the right of some axes."""
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=aspect, fraction=0.02)
    bar.set_label(label)
    bar.outline.set_visible(False)
