"""What the tables say: votes, classes, agreement, counts."""

from collections.abc import Mapping
from string import ascii_uppercase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from hbac_utils.data.splits import shares
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES, vote_fractions
from hbac_utils.plots.classes import class_matrix, class_pairs
from hbac_utils.plots.style import (
    ACCENT,
    HATCH,
    MUTED,
    TRAIN_COLOR,
    bars_only,
    new_figure,
    styled,
)

TRIANGLE = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])
"""Where windows lie that are all one pattern, all Other, all other patterns."""

FEW, MANY = f"fewer than {RELIABLE_VOTES} votes", f"{RELIABLE_VOTES} votes or more"


@styled
def vote_totals(total_votes: np.ndarray) -> Figure:
    """Draw how many experts looked at a window, the two label populations apart.

    Parameters
    ----------
    total_votes : array of int, shape (n,)
        Votes per window.

    Returns
    -------
    Figure
    """
    totals = np.asarray(total_votes)
    values, counts = np.unique(totals, return_counts=True)
    many = values >= RELIABLE_VOTES
    figure = new_figure(3.6)
    axes = figure.subplots()
    for chosen, name, options in ((~many, FEW, {"hatch": HATCH}), (many, MANY, {})):
        share = counts[chosen].sum() / max(1, len(totals))
        axes.bar(
            values[chosen], counts[chosen], 0.8, color=_population_color(name), ec=MUTED, lw=0.6,
            label=f"{name}: {share:.0%} of windows", **options,
        )  # fmt: skip
    _mark_gap(axes, values)
    axes.set_xlim(0.3, values.max() + 0.7)
    axes.set_xlabel("Votes on a window")
    axes.set_ylabel("Windows")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=15))
    axes.legend(loc="upper right")
    bars_only(axes, "y")
    return figure


@styled
def class_balance(votes: np.ndarray) -> Figure:
    """Draw the mean vote fraction of each class, by label population.

    Parameters
    ----------
    votes : array of int, shape (n, 6)
        Counts; give one window per (EEG, vote vector), or long recordings outweigh the rest.

    Returns
    -------
    Figure
    """
    votes = np.asarray(votes)
    fractions = vote_fractions(votes)
    many = votes.sum(axis=1) >= RELIABLE_VOTES
    series = [
        (f"{name} (n = {chosen.sum():,})", fractions[chosen].mean(axis=0), name == FEW)
        for name, chosen in ((FEW, ~many), (MANY, many))
        if chosen.any()
    ]
    figure = new_figure(3.6)
    axes = figure.subplots()
    class_pairs(axes, *series)
    axes.set_ylabel("Mean share of the votes")
    return figure


@styled
def agreement_map(votes: np.ndarray, marked: np.ndarray | None = None) -> Figure:
    """Draw how far the experts agree: first against second choice, and a simplex.

    On the left, windows by the class with most votes and the runner-up; unanimous ones stand on
    the diagonal. On the right, windows by the shares of their leading pattern, of Other and of
    the other patterns: idealized at the top, proto half way to Other, edge cases half way to the
    other patterns.

    Parameters
    ----------
    votes : array of int, shape (n, 6)
    marked : array of int, shape (m, 6), optional
        Vote vectors that get the letters A, B, … in the simplex, as in `window_grid`.

    Returns
    -------
    Figure

    References
    ----------
    Jing et al., Neurology 2023, doi:10.1212/WNL.0000000000201670, name the three kinds.
    """
    fractions = vote_fractions(votes)
    figure = new_figure(4.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    _draw_choices(left, fractions)
    _draw_simplex(right, votes)
    for letter, (x, y) in zip(ascii_uppercase, _corner_points(marked), strict=False):
        right.text(
            x, y, letter, ha="center", va="center", fontsize=10, weight="bold", color="white",
            bbox={"boxstyle": "circle,pad=0.2", "facecolor": ACCENT, "edgecolor": "white"},
        )  # fmt: skip
    return figure


@styled
def count_histograms(counts: Mapping[str, np.ndarray]) -> Figure:
    """Draw heavy-tailed counts on logarithmic axes, one panel each.

    Parameters
    ----------
    counts : mapping from label to array of int, shape (n,)
        For example ``{"Windows per EEG": …, "EEGs per patient": …}``; each at least one.

    Returns
    -------
    Figure
    """
    figure = new_figure(3.2)
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    for axes, (label, values) in zip(panels, counts.items(), strict=True):
        values = np.asarray(values)
        axes.hist(values, bins=_integer_bins(values.max()), color=TRAIN_COLOR, ec="white", lw=0.6)
        median = np.median(values)
        axes.axvline(median, color=ACCENT, lw=1.2, ls="--")
        axes.set_title(f"median {median:g}, largest {values.max():,}", fontsize=9, weight="normal")
        axes.set(xscale="log", yscale="log", xlabel=label)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        axes.set_xlim(left=0.52)
        axes.set_ylim(bottom=0.7)
        unit = label.rpartition(" per ")[2]
        axes.set_ylabel(f"{unit[:1].upper()}{unit[1:]}s")
    return figure


def _population_color(name: str) -> str:
    return "#A9BBD6" if name == FEW else TRAIN_COLOR


def _mark_gap(axes: Axes, totals: np.ndarray) -> None:
    """Mark the totals just below `RELIABLE_VOTES` that no window has, if there are any."""
    below = totals[totals < RELIABLE_VOTES]
    if not len(below) or len(below) == len(totals) or below.max() == RELIABLE_VOTES - 1:
        return
    first, last = below.max() + 1, RELIABLE_VOTES - 1
    text = f"none with\n{first}" + (f"–{last}" if last > first else "")
    axes.axvspan(first - 0.5, last + 0.5, color=ACCENT, alpha=0.12, lw=0, gid="gap")
    axes.text(
        (first + last) / 2, 0.5, text, ha="center", color=ACCENT, fontsize=9,
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _integer_bins(largest: int) -> np.ndarray:
    """Bin edges between integers, about eight to a decade; single integers at the start."""
    edges = np.unique(np.round(np.geomspace(1, largest + 1, 3 + int(8 * np.log10(largest + 1)))))
    return np.append(edges, largest + 1)[: len(edges) + (edges[-1] <= largest)] - 0.5


def _draw_choices(axes: Axes, fractions: np.ndarray) -> None:
    order = np.argsort(-fractions, axis=1, kind="stable")
    first = order[:, 0]
    second = np.where(fractions.max(axis=1) == 1, first, order[:, 1])
    counts = np.zeros((N_CLASSES, N_CLASSES), dtype=int)
    np.add.at(counts, (first, second), 1)
    texts = [[f"{n:,}" if n else "" for n in row] for row in counts]
    # the square root keeps rare pairs visible
    class_matrix(axes, np.sqrt(counts), texts, "Runner-up (diagonal: unanimous)", "Most votes")
    axes.set_title("Windows by first and second choice", fontsize=10)


def _corner_points(votes: np.ndarray | None) -> np.ndarray:
    return np.empty((0, 2)) if votes is None or not len(votes) else shares(votes) @ TRIANGLE


def _draw_simplex(axes: Axes, votes: np.ndarray) -> None:
    density = axes.hexbin(
        *_corner_points(votes).T, gridsize=(22, 13), extent=(0, 1, 0, np.sqrt(0.75)), mincnt=1,
        cmap="Blues", norm=LogNorm(vmin=0.3), lw=0.3, edgecolors="white",
    )  # fmt: skip
    density.set_clim(vmax=max(2, density.get_array().max()))
    axes.plot(*TRIANGLE[[0, 1, 2, 0]].T, color=MUTED, lw=1)
    for x, y, text, side in (
        (0.56, 0.87, "all one pattern\n(idealized)", "left"),
        (0.19, 0.45, "half Other\n(proto)", "right"),
        (0.81, 0.45, "half another\n(edge)", "left"),
        (0, -0.1, "all Other", "center"),
        (1, -0.1, "all other patterns", "center"),
    ):
        axes.text(x, y, text, ha=side, va="center", fontsize=9)
    axes.set_title("Between one pattern, Other and the rest", fontsize=10)
    axes.set(xlim=(-0.12, 1.18), ylim=(-0.15, 0.95), aspect="equal")
    axes.set_axis_off()
    bar = axes.figure.colorbar(
        density, cax=axes.inset_axes([0, 0.9, 0.27, 0.03]), orientation="horizontal"
    )
    bar.set_label("Windows", fontsize=9)
    bar.ax.set_xlim(left=1)
    bar.ax.xaxis.set_major_formatter("{x:g}")
    bar.outline.set_visible(False)
