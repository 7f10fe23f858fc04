"""One style sheet and one colour per class, for every figure of the kit.

Figures are `StyledFigure`, made without pyplot: nothing global changes when this is imported,
no figure lingers in pyplot's list, and a figure looks the same whatever the notebook around it
has set.
"""

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
"""One colour per class everywhere.

Lightness climbs in steps of about 13 (CIE L* 20 to 87) from Seizure to Other, so the order
survives a grey printer; hues stay apart for dichromats (deuteranopia: Lab distance above 18).
"""

INK = "#22272E"
MUTED = "#6B7480"
GRID = "#E3E6EA"
MISSING = "#B9BEC5"
"""The neutral grey of what is not there: NaN in an image, an absent channel."""

TRAIN_COLOR = "#28559F"
ACCENT = "#C2410C"
"""A mark laid over data: the labelled segment, a threshold, a reference line."""

SEGMENT_COLOR = "#FFF3CC"
"""The paper under the labelled segment."""

HATCH = "/////"
"""The second of two bars: a prediction beneath votes, few votes beside many."""

WIDTH = 10.0
"""Inches of every figure: 1000 pixels of a notebook, or a page's width at nine points."""

DPI = 130  # sharper than the screen, yet a notebook of twenty EEG pages stays below 10 MB
CSS_DPI = 100  # pixels per inch that a notebook is told

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
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
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
    """Return the context in which all figures are made and drawn: defaults plus `STYLE`."""
    return matplotlib.style.context(STYLE, after_reset=True)


class StyledFigure(Figure):
    """A figure that is drawn under the kit's style, and shows itself in a notebook.

    Matplotlib looks up some settings when a figure is drawn, not when it is made; without
    this, a notebook's own settings would leak into ours.
    """

    def draw(self, renderer):
        """Draw under the style."""
        with style():
            super().draw(renderer)

    def savefig(self, *args, **kwargs):
        """Save under the style, at `DPI` unless told otherwise."""
        with style():
            super().savefig(*args, **kwargs)

    def _repr_png_(self):
        full, small = BytesIO(), BytesIO()
        self.savefig(full, format="png")
        _few_colours(Image.open(full)).save(small, "png")
        width, height = (round(float(side) * CSS_DPI) for side in self.get_size_inches())
        return small.getvalue(), {"width": width, "height": height}


def _few_colours(picture: Image.Image) -> Image.Image:
    """Reduce a picture to 256 colours: it looks the same, and a page of EEG needs a third."""
    few = picture.convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette = np.reshape(few.getpalette(), (-1, 3))
    palette[(palette >= 254).all(axis=1)] = 255  # the quantization's white is not quite white
    few.putpalette(palette.ravel().tolist())
    return few


def styled(make: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorate a function that makes a figure so that it works under the style."""

    @wraps(make)
    def wrapper(*args, **kwargs):
        with style():
            return make(*args, **kwargs)

    return wrapper


def new_figure(height: float, title: str = "") -> StyledFigure:
    """Start a figure of the kit's width.

    Parameters
    ----------
    height : float
        Inches.
    title : str
        Stands above all panels.
    """
    figure = StyledFigure(figsize=(WIDTH, height), layout="constrained")
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


def ink_on(color) -> str:
    """Choose the ink, dark or white, that can be read on a colour."""
    red, green, blue = to_rgb(color)
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK


def bars_only(axes: Axes, grid: str) -> None:
    """Leave the grid along one axis ("x" or "y"), the one that bars are measured on."""
    axes.grid(visible=False, axis="both")
    axes.grid(visible=True, axis=grid)
    axes.tick_params(axis="y" if grid == "x" else "x", length=0)


def finite_range(values: np.ndarray, percent: float = 2) -> tuple[float, float]:
    """Find a robust colour range: the inner percentiles of what is finite.

    Parameters
    ----------
    values : array
        Any shape, may hold NaN.
    percent : float
        How much to leave out at each end.

    Returns
    -------
    low, high : float
        (0, 1) where nothing is finite.
    """
    finite = np.asarray(values)[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, [percent, 100 - percent])
    return float(low), float(high if high > low else low + 1)


def outlined():
    """Return path effects that give a line a thin dark edge, so that pale ones hold on white."""
    return [Stroke(linewidth=2.6, foreground=MUTED), Normal()]
