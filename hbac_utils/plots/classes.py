"""Pieces of figures that show all six classes: a legend, pairs of bars, a square of cells."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from hbac_utils.labels import CLASSES, N_CLASSES
from hbac_utils.plots.style import CLASS_COLORS, HATCH, MUTED, bars_only, ink_on


def class_legend(figure: Figure) -> None:
    """Add the classes' colours above all panels."""
    handles = [Patch(facecolor=color, edgecolor=MUTED, lw=0.5) for color in CLASS_COLORS.values()]
    figure.legend(handles, CLASSES, loc="outside upper center", ncols=N_CLASSES)


def class_pairs(axes: Axes, *series: tuple[str, np.ndarray, bool]) -> None:
    """Draw shares of the classes as bars, several series side by side, with a legend.

    Parameters
    ----------
    axes : Axes
    *series : (label, shares, hatched)
        ``shares`` has shape (6,).
    """
    width = 0.8 / len(series)
    for i, (label, shares, hatched) in enumerate(series):
        bars = axes.bar(
            np.arange(N_CLASSES) + width * (i - (len(series) - 1) / 2),
            shares,
            width * 0.95,
            color=list(CLASS_COLORS.values()),
            edgecolor=MUTED,
            linewidth=0.6,
            hatch=HATCH if hatched else None,
            label=label,
        )
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], fontsize=9, padding=2)
    axes.set_xticks(np.arange(N_CLASSES), CLASSES)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.margins(y=0.12)
    bars_only(axes, "y")
    for handle in axes.legend().get_patches():
        handle.set_facecolor("white")  # the legend explains the hatching, not a class


def class_matrix(
    axes: Axes, shades: np.ndarray, texts: Sequence[Sequence[str]], xlabel: str, ylabel: str
) -> None:
    """Draw a square of classes against classes: shaded cells with something written in each.

    Parameters
    ----------
    axes : Axes
    shades : array, shape (6, 6)
        From 0, white, upwards.
    texts : sequences of str, 6 × 6
    xlabel, ylabel : str
    """
    image = axes.imshow(shades, cmap="Blues", aspect="auto", vmin=0)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            ink = ink_on(image.cmap(image.norm(shades[row, column]))[:3])
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
    places = np.arange(N_CLASSES)
    axes.set_xticks(places, CLASSES)
    axes.set_yticks(places, CLASSES)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
