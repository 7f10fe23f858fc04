"""Scores of predictions, of groups of windows, and of the members of an ensemble."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hbac_utils import metric
from hbac_utils.labels import CLASSES, RELIABLE_VOTES, consensus
from hbac_utils.plots.classes import draw_matrix
from hbac_utils.plots.style import (
    ACCENT,
    CLASS_COLORS,
    COLORS,
    EDGE,
    HATCH,
    INK,
    MUTED,
    PALE,
    TRAIN_COLOR,
    new_figure,
    styled,
)


@styled
def score_bars(scores: Mapping[str, Mapping[str, float | None]]) -> Figure:
    """Draw both scores (`metric.both_scores`) of several predictions by name; lower is better."""
    figure = new_figure(1.3 + 0.55 * len(scores))
    axes = figure.subplots()
    places = np.arange(len(scores))
    for key, shift, label, options in (
        ("kl_reliable", -0.19, f"≥ {RELIABLE_VOTES} votes", {"color": TRAIN_COLOR}),
        ("kl_all", 0.19, "all votes", {"color": PALE, "hatch": HATCH}),
    ):
        widths = np.array([score.get(key) for score in scores.values()], dtype=float)
        bars = axes.barh(places + shift, widths, 0.36, label=label, **EDGE, **options)
        axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=9)
    axes.set_yticks(places, list(scores))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("KL divergence from the votes (nats); lower is better")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@styled
def kl_by_class(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the contribution of each class to the score, and the score by leading class.

    ``truth`` and ``probabilities`` are vote fractions and predictions, shape (n, 6).
    """
    terms = metric.kl_by_class(truth, probabilities)
    means = terms.mean(axis=0)
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    bars = left.bar(CLASSES, means, 0.7, color=COLORS, **EDGE)
    left.bar_label(bars, fmt="%.3f", fontsize=9, padding=2)
    left.axhline(0, color=MUTED, lw=0.8)
    left.margins(y=0.12)
    left.set_ylabel("Mean of p·ln(p/q) (nats)")
    left.set_title(f"Contribution of each class; sum {means.sum():.3f}")
    left.grid(visible=False, axis="x")
    _draw_groups(right, terms.sum(axis=1), pd.Categorical(consensus(truth), CLASSES))
    right.set_title("Windows by class with most votes")
    return figure


@styled
def kl_by_group(scores: Mapping[str, np.ndarray], groups: pd.Categorical, label: str) -> Figure:
    """Draw the mean score of groups of windows, such as by agreement or number of votes.

    Parameters
    ----------
    scores : mapping from name to array, shape (n,), nats
        Score of each window: ``model``, and optionally ``prior`` and ``oracle``.
    groups : Categorical, length n
        Group of each window; empty groups are not drawn.
    label : str
        Label of the axis of groups.
    """
    groups = groups.remove_unused_categories()
    figure = new_figure(3.6)
    axes = figure.subplots()
    _draw_groups(axes, scores["model"], groups)
    for name, line in {"prior": "-", "oracle": ":"}.items():
        if name in scores:
            means = pd.Series(scores[name]).groupby(groups, observed=False).mean()
            places = np.arange(len(means))
            axes.hlines(means, places - 0.3, places + 0.3, color=ACCENT, ls=line, lw=2, label=name)
    axes.set_xlabel(label)
    if len(scores) > 1:
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def _draw_groups(axes: Axes, kl: np.ndarray, groups: pd.Categorical) -> None:
    """Draw mean, 95 % interval of the mean, and 10th to 90th percentile of each group."""
    grouped = pd.Series(kl).groupby(groups, observed=False)
    means, counts = grouped.mean(), grouped.size()
    places = np.arange(len(means))
    axes.vlines(places, grouped.quantile(0.1), grouped.quantile(0.9), color=PALE, lw=9)
    axes.errorbar(places, means, 1.96 * grouped.sem(), fmt="none", ecolor=INK, capsize=3)
    for place, (group, mean) in enumerate(means.items()):
        if counts[group]:
            color = CLASS_COLORS.get(group, TRAIN_COLOR)
            axes.plot(place, mean, "o", ms=8, color=color, mec=INK)
            axes.text(place + 0.13, mean, f"{mean:.2f}", va="center", fontsize=9)
    axes.set_xticks(places, [f"{group}\nn = {n:,}" for group, n in counts.items()])
    axes.set_xlim(-0.5, len(means) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("KL divergence (nats)\nmean, 95 % interval;\nband: 10 to 90 %")
    axes.grid(visible=False, axis="x")


@styled
def error_correlation(names: Sequence[str], correlation: np.ndarray) -> Figure:
    """Draw the correlation, shape (members, members), of the errors of an ensemble's members.

    An error is prediction − vote fraction, over all windows and classes.
    """
    figure = new_figure(1.8 + 0.45 * min(len(names), 16))
    axes = figure.subplots()
    # numbers have room in 16 rows; a zero is not written
    numbers = correlation.round(2) if len(names) <= 16 else np.zeros_like(correlation)
    image = draw_matrix(axes, numbers, correlation, names)
    axes.tick_params(axis="x", rotation=40)
    figure.colorbar(image, label="Correlation of errors")
    return figure


@styled
def member_weights(shares: pd.DataFrame) -> Figure:
    """Draw `ensembling.blend.Blend.shares`: weight, own score, and loss without each member."""
    figure = new_figure(1.5 + 0.3 * len(shares))
    panels = figure.subplots(1, 3, sharey=True)
    titles = ("Weight", "KL of the member alone (nats)", "KL increase without it (nats)")
    for axes, column, title in zip(panels, ("weight", "kl", "added"), titles, strict=True):
        axes.barh(shares.index, shares[column], 0.7, color=TRAIN_COLOR)
        axes.set_xlabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(visible=False, axis="y")
    panels[0].set_ylim(len(shares) - 0.5, -0.5)
    return figure
