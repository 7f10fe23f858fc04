"""Statistics of a competition: votes, classes, agreement, counts, band powers."""

from collections.abc import Mapping
from string import ascii_uppercase

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from hbac_utils.data.splits import shares
from hbac_utils.labels import CLASSES, N_CLASSES, RELIABLE_VOTES, vote_fractions
from hbac_utils.plots.classes import COLORS, class_bars, class_matrix
from hbac_utils.plots.style import (
    ACCENT,
    HATCH,
    MUTED,
    TRAIN_COLOR,
    new_figure,
    styled,
    text_color,
    value_grid,
)

TRIANGLE = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])
"""Corners of the simplex: all one pattern, all Other, all other patterns."""

CORNER_TEXTS = (
    (0.56, 0.87, "all one pattern\n(idealized)", "left"),
    (0.19, 0.45, "half Other\n(proto)", "right"),
    (0.81, 0.45, "half another\n(edge)", "left"),
    (0, -0.1, "all Other", "center"),
    (1, -0.1, "all other patterns", "center"),
)

FEW, MANY = f"fewer than {RELIABLE_VOTES} votes", f"{RELIABLE_VOTES} votes or more"


@styled
def vote_totals(total_votes: np.ndarray) -> Figure:
    """Draw the distribution of the votes per window, shape (n,), below and from 10 votes."""
    values, counts = np.unique(np.asarray(total_votes), return_counts=True)
    many = values >= RELIABLE_VOTES
    figure = new_figure(3.6)
    axes = figure.subplots()
    for chosen, name, options in (
        (~many, FEW, {"color": "#A9BBD6", "hatch": HATCH}),
        (many, MANY, {"color": TRAIN_COLOR}),
    ):
        share = counts[chosen].sum() / max(1, counts.sum())
        label = f"{name}: {share:.0%} of windows"
        axes.bar(values[chosen], counts[chosen], 0.8, ec=MUTED, lw=0.6, label=label, **options)
    if many.any() and not many.all():
        _mark_gap(axes, values[~many].max() + 1)
    axes.set_xlim(0.3, values.max() + 0.7)
    axes.set_xlabel("Votes per window")
    axes.set_ylabel("Windows")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=15))
    axes.legend(loc="upper right")
    value_grid(axes, "y")
    return figure


def _mark_gap(axes: Axes, first: int) -> None:
    """Mark the totals from ``first`` to 9, which no window has."""
    last = RELIABLE_VOTES - 1
    if first > last:
        return
    axes.axvspan(first - 0.5, last + 0.5, color=ACCENT, alpha=0.12, lw=0, gid="gap")
    axes.text(
        (first + last) / 2, 0.5, f"none with\n{first}" + (f"–{last}" if last > first else ""),
        ha="center", color=ACCENT, fontsize=9, transform=axes.get_xaxis_transform(),
    )  # fmt: skip


@styled
def class_balance(votes: np.ndarray) -> Figure:
    """Draw the mean vote fraction of each class, below and from 10 votes; votes (n, 6)."""
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
    class_bars(axes, *series)
    axes.set_ylabel("Mean vote fraction")
    return figure


@styled
def agreement_map(votes: np.ndarray, marked: np.ndarray | None = None) -> Figure:
    """Draw the agreement between experts: first against second choice, and a simplex.

    Left: windows by the class with most votes and the runner-up; unanimous windows are on the
    diagonal. Right: windows by the shares of their leading pattern, of Other and of the other
    patterns: idealized at the top, proto half way to Other, edge half way to other patterns.

    Parameters
    ----------
    votes : array of int, shape (n, 6)
    marked : array of int, shape (m, 6), optional
        Vote vectors that get the letters A, B, … in the simplex, as in `window_grid`.

    References
    ----------
    Jing et al., Neurology 2023, doi:10.1212/WNL.0000000000201670.
    """
    figure = new_figure(4.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    _draw_choices(left, vote_fractions(votes))
    _draw_simplex(right, votes)
    if marked is not None and len(marked):
        for letter, (x, y) in zip(ascii_uppercase, shares(marked) @ TRIANGLE, strict=False):
            right.text(
                x, y, letter, ha="center", va="center", fontsize=10, weight="bold", color="white",
                bbox={"boxstyle": "circle,pad=0.2", "facecolor": ACCENT, "edgecolor": "white"},
            )  # fmt: skip
    return figure


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


def _draw_simplex(axes: Axes, votes: np.ndarray) -> None:
    density = axes.hexbin(
        *(shares(votes) @ TRIANGLE).T, gridsize=(22, 13), extent=(0, 1, 0, np.sqrt(0.75)),
        mincnt=1, cmap="Blues", norm=LogNorm(vmin=0.3), lw=0.3, edgecolors="white",
    )  # fmt: skip
    density.set_clim(vmax=max(2, density.get_array().max()))
    axes.plot(*TRIANGLE[[0, 1, 2, 0]].T, color=MUTED, lw=1)
    for x, y, text, side in CORNER_TEXTS:
        axes.text(x, y, text, ha=side, va="center", fontsize=9)
    axes.set_title("Between one pattern, Other and other patterns", fontsize=10)
    axes.set(xlim=(-0.12, 1.18), ylim=(-0.15, 0.95), aspect="equal")
    axes.set_axis_off()
    bar = axes.figure.colorbar(
        density, cax=axes.inset_axes([0, 0.9, 0.27, 0.03]), orientation="horizontal"
    )
    bar.set_label("Windows", fontsize=9)
    bar.ax.set_xlim(left=1)
    bar.ax.xaxis.set_major_formatter("{x:g}")
    bar.outline.set_visible(False)


@styled
def count_histograms(counts: Mapping[str, np.ndarray]) -> Figure:
    """Draw histograms of counts on logarithmic axes, one panel each, with the median.

    Parameters
    ----------
    counts : mapping from label to array of int, shape (n,)
        For example ``{"Windows per EEG": …, "EEGs per patient": …}``; all counts ≥ 1.
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


def _integer_bins(largest: int) -> np.ndarray:
    """Return bin edges half way between integers, about eight per decade."""
    edges = np.round(np.geomspace(1, largest + 1, 3 + int(8 * np.log10(largest + 1))))
    return np.unique(edges) - 0.5


@styled
def band_power(powers: pd.DataFrame) -> Figure:
    """Draw `eda.statistics.band_powers` as box plots by class."""
    bands = [column for column in powers if column not in ("consensus", "asymmetry")]
    figure = new_figure(5.4)
    grid = figure.add_gridspec(2, len(bands), height_ratios=(1.1, 1))
    first = None
    for i, band in enumerate(bands):
        axes = first = figure.add_subplot(grid[0, i], sharey=first)
        _class_boxes(axes, powers, band)
        axes.set_title(band, fontsize=10)
        axes.tick_params(labelbottom=False, labelleft=i == 0)
        axes.set_ylabel("Band power (dB re 1 µV²)" if i == 0 else "")
    below = figure.add_subplot(grid[1, :])
    _class_boxes(below, powers, "asymmetry")
    below.axhline(0, color=MUTED, lw=0.8, zorder=0)
    below.set_ylabel("Right over left (dB)")
    below.set_title("Asymmetry of total power", fontsize=10)
    return figure


def _class_boxes(axes: Axes, table: pd.DataFrame, column: str) -> None:
    groups = [table.loc[table["consensus"] == name, column].dropna() for name in CLASSES]
    boxes = axes.boxplot(
        groups, widths=0.65, patch_artist=True, showfliers=False, whis=(5, 95),
        whiskerprops={"color": MUTED}, capprops={"color": MUTED},
    )  # fmt: skip
    for box, median, color in zip(boxes["boxes"], boxes["medians"], COLORS, strict=True):
        box.set(facecolor=color, edgecolor=MUTED)
        median.set_color(text_color(color))
    axes.set_xticks(np.arange(N_CLASSES) + 1, CLASSES)
    value_grid(axes, "y")
