"""Style sheet, colours, figure class, and the elements that show the six classes."""

from collections.abc import Sequence
from io import BytesIO

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure, FigureBase
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from PIL import Image

from hbac_utils.labels import CLASSES, N_CLASSES

# Lightness increases in steps of about 13 (CIE L* 20 to 87), so that the order survives greyscale
# printing; hues differ for dichromats (deuteranopia: Lab distance > 18).
CLASS_COLORS = dict(
    zip(CLASSES, ("#5C1049", "#28559F", "#128670", "#E5783A", "#E4B429", "#DADADA"), strict=True)
)
COLORS = list(CLASS_COLORS.values())
PLACES = np.arange(N_CLASSES)  # of the classes on an axis

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
        self.savefig(full, format="png", pil_kwargs={"compress_level": 0})  # it is saved again
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


def new_axes(height: float) -> tuple[StyledFigure, Axes]:
    """Create a figure with one pair of axes; see `new_figure`."""
    figure = new_figure(height)
    return figure, figure.subplots()


def blank(text: str) -> StyledFigure:
    """Create a low figure that says why there is nothing to draw."""
    figure = new_figure(1)
    figure.text(0.5, 0.5, text, ha="center", va="center", color=MUTED)
    return figure


def shortened(name: str, length: int = 60) -> str:
    """Cut the middle out of a long name."""
    half = length // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def text_color(background) -> str:
    """Return dark or white ink, whichever is readable on a background colour."""
    return "white" if np.dot([0.299, 0.587, 0.114], to_rgb(background)) < 0.55 else INK


def color_range(values: np.ndarray) -> tuple[float, float]:
    """Return the 2nd and 98th percentile of the finite values; (0, 1) if there are none."""
    finite = values[np.isfinite(values)]
    return tuple(np.percentile(finite, [2, 98])) if finite.size else (0.0, 1.0)


def class_legend(figure: Figure) -> None:
    """Add a legend of the class colours above all panels."""
    handles = [Patch(facecolor=color, **EDGE) for color in COLORS]
    figure.legend(handles, CLASSES, loc="outside upper center", ncols=N_CLASSES)


def class_bars(axes: Axes, series: Sequence[tuple[str, np.ndarray, bool]]) -> None:
    """Draw series (label, shares of shape (6,), hatched) as bars, side by side."""
    width = 0.8 / len(series)
    for i, (label, shares, hatched) in enumerate(series):
        bars = axes.bar(
            PLACES + width * (i - (len(series) - 1) / 2), shares, width * 0.95, color=COLORS,
            hatch=HATCH if hatched else None, label=label, **EDGE,
        )  # fmt: skip
        axes.bar_label(bars, fmt="{:.0%}", fontsize=9, padding=2)
    axes.set_xticks(PLACES, CLASSES)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.margins(y=0.12)
    axes.grid(visible=False, axis="x")
    legend = axes.figure.legend(loc="outside upper right", ncols=len(series))
    for handle in legend.get_patches():
        handle.set_facecolor("white")  # the legend explains the hatching, not a class


def draw_matrix(
    axes: Axes, values: np.ndarray, shades: np.ndarray, names: Sequence[str], **options
) -> AxesImage:
    """Draw a square matrix as numbers on shaded cells; options are of ``imshow``."""
    image = axes.imshow(shades, aspect="auto", **options)
    for (row, column), value in np.ndenumerate(values):
        color = text_color(image.cmap(image.norm(shades[row, column])))
        text = f"{value:,.4g}" if value else ""
        axes.text(column, row, text, ha="center", va="center", size=9, color=color)
    axes.set_xticks(np.arange(len(names)), names)
    axes.set_yticks(np.arange(len(names)), names)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return image


def add_panels(
    parent: FigureBase, votes: np.ndarray | None, probabilities: np.ndarray | None, rows: int = 1
) -> list[Axes]:
    """Add ``rows`` axes with a common time axis, and a vote panel on their right if needed."""
    if votes is None and probabilities is None:
        return list(parent.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    grid = parent.add_gridspec(rows, 2, width_ratios=(7.4, 1))
    first = parent.add_subplot(grid[0, 0])
    page = [first] + [parent.add_subplot(grid[i, 0], sharex=first) for i in range(1, rows)]
    _draw_votes(parent.add_subplot(grid[:, 1]), votes, probabilities)
    return page


def _draw_votes(axes: Axes, votes: np.ndarray | None, probabilities: np.ndarray | None) -> None:
    """Draw votes (counts or fractions) as bars, with predictions hatched beneath them."""
    captions, shares = [], np.asarray(probabilities)
    if votes is not None:
        shares = votes / np.sum(votes)
        # fractions do not tell the number of experts
        is_count = np.asarray(votes).dtype.kind in "iu"
        captions.append(count_votes(np.sum(votes)) if is_count else "votes")
        axes.barh(PLACES, shares, 0.24, color=COLORS, label="votes", **EDGE)
    if probabilities is not None:
        captions.append("predicted ▨")
        options = {"color": [to_rgba(color, 0.35) for color in COLORS], "hatch": HATCH, **EDGE}
        axes.barh(PLACES + 0.24, probabilities, 0.24, label="predicted", **options)
    for place, name, share in zip(PLACES, CLASSES, shares, strict=True):
        label = f"{name} {share:.0%}" if share > 0 else name
        axes.text(0.03, place - 0.19, label, fontsize=9, color=INK)
    axes.set_title("\n".join(captions), fontsize=9)
    axes.set(xlim=(0, 1), xlabel="Fraction", ylim=(N_CLASSES - 0.45, -0.55), yticks=[])
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])


def count_votes(total: int) -> str:
    """Format a number of votes, such as ``"1 vote"``."""
    return f"{total} vote{'s' if total > 1 else ''}"


def draw_strip(axes: Axes, shares: np.ndarray, label: str = "", *, least: float = 0.17) -> None:
    """Draw shares as a stacked bar; parts of at least ``least`` have the name of their class."""
    left = np.cumsum(shares) - shares
    axes.barh(np.zeros(N_CLASSES), shares, left=left, color=COLORS, **EDGE)
    for name, share, begin in zip(CLASSES, shares, left, strict=True):
        if share >= least:
            axes.text(
                begin + share / 2, 0, f"{name} {share:.0%}", ha="center", va="center_baseline",
                fontsize=8, color=text_color(CLASS_COLORS[name]), clip_on=True,
            )  # fmt: skip
    axes.set(xlim=(0, 1), ylim=(-0.4, 0.4), xticks=[])
    axes.set_yticks([0] if label else [], [label] if label else [])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
