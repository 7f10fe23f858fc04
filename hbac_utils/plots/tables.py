"""Statistics of a competition: votes, classes, agreement, counts, band powers."""

from collections.abc import Mapping
from string import ascii_uppercase

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from sklearn.metrics import confusion_matrix

from hbac_utils.data.splits import shares
from hbac_utils.labels import CLASSES, N_CLASSES, RELIABLE_VOTES, vote_fractions
from hbac_utils.plots import style

FEW, MANY = f"fewer than {RELIABLE_VOTES} votes", f"{RELIABLE_VOTES} votes or more"
TRIANGLE = np.array([[0.5, np.sqrt(0.75)], [0, 0], [1, 0]])
"""Corners of the simplex: all one pattern, all Other, all other patterns."""


@style.styled
def vote_totals(votes: np.ndarray) -> Figure:
    """Draw the distribution of the number of votes, below and from 10; votes (n, 6)."""
    values, counts = np.unique(np.sum(votes, axis=1), return_counts=True)
    many = values >= RELIABLE_VOTES
    figure, axes = style.new_axes(3.6)
    for chosen, name, options in (
        (~many, FEW, {"color": style.PALE, "hatch": style.HATCH}),
        (many, MANY, {"color": style.TRAIN_COLOR}),
    ):
        label = f"{name}: {counts[chosen].sum() / counts.sum():.0%} of windows"
        axes.bar(values[chosen], counts[chosen], 0.8, label=label, **style.EDGE, **options)
    axes.set(xlabel="Votes per window", ylabel="Windows")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=15))
    axes.grid(visible=False, axis="x")
    axes.legend()
    return figure


@style.styled
def class_balance(votes: np.ndarray) -> Figure:
    """Draw the mean vote fraction of each class, below and from 10 votes; votes (n, 6)."""
    fractions = vote_fractions(votes)
    many = np.sum(votes, axis=1) >= RELIABLE_VOTES
    figure, axes = style.new_axes(3.6)
    series = [
        (f"{name} (n = {chosen.sum():,})", fractions[chosen].mean(axis=0), name == FEW)
        for name, chosen in ((FEW, ~many), (MANY, many))
        if chosen.any()
    ]
    style.class_bars(axes, series)
    axes.set_ylabel("Mean vote fraction")
    return figure


@style.styled
def agreement_map(votes: np.ndarray, marked: np.ndarray | None = None) -> Figure:
    """Draw the agreement between experts: first against second choice, and a simplex.

    Left: windows by the class with most votes and the runner-up; unanimous windows are on the
    diagonal. Right: windows by the shares of their leading pattern, of Other and of the other
    patterns: idealized at the top, proto half way to Other, edge half way to other patterns
    (Jing et al., Neurology 2023, doi:10.1212/WNL.0000000000201670). ``votes`` and ``marked`` are
    counts, shape (n, 6); marked vectors get the letters A, B, … as in `window_grid`.
    """
    figure = style.new_figure(4.7)
    left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
    _draw_choices(left, vote_fractions(votes))
    _draw_simplex(right, votes)
    for letter, vector in zip(ascii_uppercase, [] if marked is None else marked, strict=False):
        right.text(
            *(shares(vector[None]) @ TRIANGLE)[0], letter, ha="center", va="center", weight="bold",
            color="white", bbox={"boxstyle": "circle,pad=0.2", "facecolor": style.ACCENT},
        )  # fmt: skip
    return figure


def _draw_choices(axes: Axes, fractions: np.ndarray) -> None:
    first, second = np.argsort(-fractions, axis=1, kind="stable")[:, :2].T
    second = np.where(fractions.max(axis=1) == 1, first, second)
    counts = confusion_matrix(first, second, labels=range(N_CLASSES))
    # the square root keeps rare pairs visible
    style.draw_matrix(axes, counts, np.sqrt(counts), CLASSES, cmap="Blues", vmin=0)
    axes.set(xlabel="Runner-up (diagonal: unanimous)", ylabel="Most votes")
    axes.set_title("Windows by first and second choice")


def _draw_simplex(axes: Axes, votes: np.ndarray) -> None:
    density = axes.hexbin(
        *(shares(votes) @ TRIANGLE).T, gridsize=(22, 13), extent=(0, 1, 0, np.sqrt(0.75)),
        mincnt=1, cmap="viridis_r", norm=LogNorm(vmin=1), lw=0.3, edgecolors="white",
    )  # fmt: skip
    axes.plot(*TRIANGLE[[0, 1, 2, 0]].T, color=style.MUTED, lw=1)
    for x, y, text, side in (
        (0.56, 0.87, "all one pattern\n(idealized)", "left"),
        (0.19, 0.45, "half Other\n(proto)", "right"),
        (0.81, 0.45, "half another\n(edge)", "left"),
        (0, -0.1, "all Other", "center"),
        (1, -0.1, "all other patterns", "center"),
    ):
        axes.text(x, y, text, ha=side, va="center", fontsize=9)
    axes.set_title("Between one pattern, Other and other patterns")
    axes.set(xlim=(-0.12, 1.18), ylim=(-0.15, 0.95), aspect="equal")
    axes.set_axis_off()
    axes.figure.colorbar(density, ax=axes, label="Windows", format="{x:g}", shrink=0.7)


@style.styled
def count_histograms(counts: Mapping[str, np.ndarray]) -> Figure:
    """Draw histograms of counts on logarithmic axes, one panel each, with the median.

    ``counts``, such as ``{"Windows per EEG": …, "EEGs per patient": …}``, are integers ≥ 1.
    """
    figure = style.new_figure(3.2)
    panels = figure.subplots(1, len(counts), squeeze=False)[0]
    for axes, (label, values) in zip(panels, counts.items(), strict=True):
        largest, median = np.max(values), np.median(values)
        # about eight bins per decade, with edges half way between integers
        edges = np.geomspace(1, largest + 1, 3 + int(8 * np.log10(largest + 1))).round()
        axes.hist(values, bins=np.unique(edges) - 0.5, color=style.TRAIN_COLOR, ec="white", lw=0.6)
        axes.axvline(median, color=style.ACCENT, lw=1.2, ls="--")
        axes.set_title(f"median {median:g}, largest {largest:,}", fontsize=9, weight="normal")
        unit = label.rpartition(" per ")[2]
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel=f"{unit[0].upper()}{unit[1:]}s")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(NullLocator())
        axes.set_ylim(bottom=0.7)
    return figure


@style.styled
def band_power(powers: pd.DataFrame) -> Figure:
    """Draw `eda.statistics.band_powers` as box plots by class."""
    bands = [column for column in powers if column not in ("consensus", "asymmetry")]
    if not bands:
        return style.blank("no EEGs")
    figure = style.new_figure(5.4)
    above, below = figure.subfigures(2, 1, height_ratios=(1.1, 1))
    panels = above.subplots(1, len(bands), sharey=True, squeeze=False)[0]
    for axes, band in zip(panels, bands, strict=True):
        _class_boxes(axes, powers, band)
        axes.set_title(band)
        axes.tick_params(labelbottom=False)
        axes.set_ylabel("Band power (dB re 1 µV²)")
        axes.label_outer()
    axes = below.subplots()
    _class_boxes(axes, powers, "asymmetry")
    axes.axhline(0, color=style.MUTED, lw=0.8, zorder=0)
    axes.set_ylabel("Right over left (dB)")
    axes.set_title("Asymmetry of total power")
    return figure


def _class_boxes(axes: Axes, table: pd.DataFrame, column: str) -> None:
    groups = [table.loc[table["consensus"] == name, column].dropna() for name in CLASSES]
    boxes = axes.boxplot(
        groups, widths=0.65, patch_artist=True, showfliers=False, whis=(5, 95), tick_labels=CLASSES
    )
    for box, median, color in zip(boxes["boxes"], boxes["medians"], style.COLORS, strict=True):
        box.set(facecolor=color, edgecolor=style.MUTED)
        median.set_color(style.text_color(color))
    axes.grid(visible=False, axis="x")
