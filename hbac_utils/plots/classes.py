"""Elements that show the six classes: legend, bars, matrix, vote panel, label strip."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from hbac_utils.labels import CLASSES, N_CLASSES
from hbac_utils.plots.style import CLASS_COLORS, HATCH, INK, MUTED, text_color, value_grid

COLORS = list(CLASS_COLORS.values())
PLACES = np.arange(N_CLASSES)
NAMED_SHARE = 0.17  # smallest share of a strip that has room for its class name


def class_legend(figure: Figure) -> None:
    """Add a legend of the class colours above all panels."""
    handles = [Patch(facecolor=color, edgecolor=MUTED, lw=0.5) for color in COLORS]
    figure.legend(handles, CLASSES, loc="outside upper center", ncols=N_CLASSES)


def class_bars(axes: Axes, *series: tuple[str, np.ndarray, bool]) -> None:
    """Draw series (label, shares of shape (6,), hatched) as bars, side by side."""
    width = 0.8 / len(series)
    for i, (label, shares, hatched) in enumerate(series):
        bars = axes.bar(
            PLACES + width * (i - (len(series) - 1) / 2), shares, width * 0.95, color=COLORS,
            edgecolor=MUTED, linewidth=0.6, hatch=HATCH if hatched else None, label=label,
        )  # fmt: skip
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], fontsize=9, padding=2)
    axes.set_xticks(PLACES, CLASSES)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.margins(y=0.12)
    value_grid(axes, "y")
    legend = axes.figure.legend(loc="outside upper right", ncols=len(series))
    for handle in legend.get_patches():
        handle.set_facecolor("white")  # the legend explains the hatching, not a class


def class_matrix(
    axes: Axes, shades: np.ndarray, texts: Sequence[Sequence[str]], xlabel: str, ylabel: str
) -> None:
    """Draw a 6 × 6 matrix of classes with shaded cells (0 is white) and a text in each cell."""
    image = axes.imshow(shades, cmap="Blues", aspect="auto", vmin=0)
    for (row, column), shade in np.ndenumerate(shades):
        axes.text(
            column, row, texts[row][column], ha="center", va="center", fontsize=9,
            color=text_color(image.cmap(image.norm(shade))),
        )  # fmt: skip
    axes.set_xticks(PLACES, CLASSES)
    axes.set_yticks(PLACES, CLASSES)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def add_panels(
    parent: FigureBase,
    votes: np.ndarray | None,
    probabilities: np.ndarray | None,
    rows: int = 1,
) -> list[Axes]:
    """Add ``rows`` axes with a common time axis, and a vote panel on their right if needed."""
    if votes is None and probabilities is None:
        return list(parent.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])
    grid = parent.add_gridspec(rows, 2, width_ratios=(7.4, 1))
    first = parent.add_subplot(grid[0, 0])
    page = [first] + [parent.add_subplot(grid[i, 0], sharex=first) for i in range(1, rows)]
    draw_votes(parent.add_subplot(grid[:, 1]), votes, probabilities)
    return page


def draw_votes(axes: Axes, votes: np.ndarray | None, probabilities: np.ndarray | None) -> None:
    """Draw votes (counts or fractions) as bars, with predictions hatched beneath them."""
    both = votes is not None and probabilities is not None
    height = 0.24 if both else 0.36
    captions = []
    if votes is not None:
        votes = np.asarray(votes)
        total = votes.sum()
        # fractions do not tell the number of experts
        counted = votes.dtype.kind in "iu" or total > 1.5
        captions.append(f"{total:.0f} vote{'s' if total > 1 else ''}" if counted else "votes")
        axes.barh(PLACES, votes / total, height, color=COLORS, ec=MUTED, lw=0.6, label="votes")
    if probabilities is not None:
        captions.append("predicted ▨")
        axes.barh(
            PLACES + (height if both else 0), probabilities, height, ec=MUTED, lw=0.6,
            color=[to_rgba(color, 0.35) for color in COLORS], hatch=HATCH, label="predicted",
        )  # fmt: skip
    shares = votes / total if votes is not None else probabilities
    for place, name, share in zip(PLACES, CLASSES, np.asarray(shares), strict=True):
        label = f"{name} {share:.0%}" if share > 0 else name
        axes.text(0.03, place - height / 2 - 0.07, label, fontsize=9, color=INK)
    axes.set_title("\n".join(captions), fontsize=9)
    axes.set_ylim(N_CLASSES - 0.45, -0.55)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_xlabel("Fraction")
    value_grid(axes, "x")


def draw_strip(axes: Axes, shares: np.ndarray, label: str = "", *, named: bool = True) -> None:
    """Draw shares as a stacked bar with a label at its left and class names in wide parts."""
    left = np.cumsum(shares) - shares
    axes.barh(np.zeros(N_CLASSES), shares, left=left, color=COLORS, ec=MUTED, lw=0.4)
    for name, share, begin in zip(CLASSES, shares, left, strict=True):
        if named and share >= NAMED_SHARE:
            axes.text(
                begin + share / 2, 0, f"{name} {share:.0%}", ha="center", va="center_baseline",
                fontsize=8, color=text_color(CLASS_COLORS[name]), clip_on=True,
            )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.4, 0.4)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([0] if label else [], [label] if label else [])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
