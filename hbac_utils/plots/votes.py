"""The experts' votes and a prediction as stacked bars beside an EEG page."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba

from hbac_utils.labels import CLASSES
from hbac_utils.plots.style import (
    CLASS_COLORS,
    HATCH,
    INK,
    MUTED,
    bars_only,
    ink_on,
)


def draw_votes(
    axes: Axes, votes: np.ndarray | None, probabilities: np.ndarray | None = None
) -> None:
    """Draw vote fractions as bars, and a prediction's hatched beneath them.

    Parameters
    ----------
    axes : Axes
    votes : array, shape (6,), or None
        Counts or fractions.
    probabilities : array, shape (6,), optional
    """
    both = votes is not None and probabilities is not None
    height = 0.24 if both else 0.36
    places = np.arange(len(CLASSES), dtype=float)
    colours = list(CLASS_COLORS.values())
    captions = []
    if votes is not None:
        votes = np.asarray(votes)
        total = votes.sum()
        # fractions sum to one, and then the number of experts is not known
        counted = votes.dtype.kind in "iu" or total > 1.5
        captions.append(f"{total:.0f} vote{'s' if total > 1 else ''}" if counted else "votes")
        axes.barh(places, votes / total, height, color=colours, ec=MUTED, lw=0.6, label="votes")
    if probabilities is not None:
        captions.append("predicted ▨")
        axes.barh(
            places + (height if both else 0), probabilities, height, ec=MUTED, lw=0.6,
            color=[to_rgba(colour, 0.35) for colour in colours], hatch=HATCH, label="predicted",
        )  # fmt: skip
    first = probabilities if votes is None else votes / total
    for place, name, share in zip(places, CLASSES, first, strict=True):
        label = f"{name} {share:.0%}" if share > 0 else name
        axes.text(0.03, place - height / 2 - 0.07, label, fontsize=9, color=INK)
    axes.set_title("\n".join(captions), fontsize=9)
    axes.set_ylim(len(CLASSES) - 0.45, -0.55)
    axes.set_yticks([])
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.set_xlabel("Fraction")
    bars_only(axes, "x")


def page_and_panel(parent, votes, probabilities, rows: int = 1) -> tuple[list[Axes], Axes | None]:
    """Lay out a page of ``rows`` axes that share their times, and a panel for votes beside it.

    Returns
    -------
    page : list of Axes
    panel : Axes or None
        Drawn already; None where there is neither a vote nor a prediction.
    """
    if votes is None and probabilities is None:
        page = parent.subplots(rows, 1, sharex=True, squeeze=False)
        return list(page[:, 0]), None
    grid = parent.add_gridspec(rows, 2, width_ratios=(7.4, 1))
    first = parent.add_subplot(grid[0, 0])
    page = [first] + [parent.add_subplot(grid[i, 0], sharex=first) for i in range(1, rows)]
    panel = parent.add_subplot(grid[:, 1])
    draw_votes(panel, votes, probabilities)
    return page, panel


ROOM = 0.17  # share of the bar's width that its class's name needs


def draw_strip(axes: Axes, shares: np.ndarray, label: str = "", *, named: bool = True) -> None:
    """Draw shares as a stacked bar.

    Parameters
    ----------
    axes : Axes
    shares : array, shape (6,), sum to one
    label : str
        Stands left of the bar.
    named : bool
        Whether classes are written into the parts that are wide enough.
    """
    left = np.concatenate([[0], np.cumsum(shares)[:-1]])
    colours = list(CLASS_COLORS.values())
    axes.barh(np.zeros(len(shares)), shares, left=left, color=colours, ec=MUTED, lw=0.4)
    for name, share, begin in zip(CLASSES, shares, left, strict=True):
        if named and share >= ROOM:
            axes.text(
                begin + share / 2, 0, f"{name} {share:.0%}", ha="center", va="center_baseline",
                fontsize=8, color=ink_on(CLASS_COLORS[name]), clip_on=True,
            )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.4, 0.4)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([0] if label else [], [label] if label else [])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
