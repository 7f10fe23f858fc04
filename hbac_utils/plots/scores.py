"""Scores of predictions, of groups of windows, and of the members of an ensemble."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hbac_utils import metric
from hbac_utils.labels import CLASSES, RELIABLE_VOTES
from hbac_utils.plots.classes import COLORS
from hbac_utils.plots.style import (
    ACCENT,
    CLASS_COLORS,
    HATCH,
    INK,
    MUTED,
    PALE,
    TRAIN_COLOR,
    new_figure,
    styled,
    text_color,
    value_grid,
)

REFERENCES = {"prior": "-", "oracle": ":"}  # line styles of the reference scores of a group
MOST_NUMBERS = 16  # largest number of members whose correlations are written as numbers


@styled
def score_bars(scores: Mapping[str, Mapping[str, float | None]]) -> Figure:
    """Draw both scores of several predictions; lower is better.

    Parameters
    ----------
    scores : mapping from name to mapping
        ``kl_all`` and ``kl_reliable`` (may be None) as of `metric.both_scores`, nats.
    """
    figure = new_figure(1.3 + 0.55 * len(scores))
    axes = figure.subplots()
    places = np.arange(len(scores))
    for key, shift, label, options in (
        ("kl_reliable", -0.19, f"≥ {RELIABLE_VOTES} votes", {"color": TRAIN_COLOR}),
        ("kl_all", 0.19, "all votes", {"color": PALE, "hatch": HATCH}),
    ):
        widths = np.array([score.get(key) for score in scores.values()], dtype=float)
        bars = axes.barh(places + shift, widths, 0.36, ec=MUTED, lw=0.6, label=label, **options)
        texts = ["" if np.isnan(width) else f"{width:.3f}" for width in widths]
        axes.bar_label(bars, texts, padding=3, fontsize=9)
    axes.set_yticks(places, list(scores))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("KL divergence from the votes (nats); lower is better")
    value_grid(axes, "x")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@styled
def kl_by_class(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw each class's part of the score, and the score by leading class; arrays (n, 6)."""
    terms = metric.kl_by_class(truth, probabilities)
    means = terms.mean(axis=0)
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    bars = left.bar(CLASSES, means, 0.7, color=COLORS, ec=MUTED, lw=0.6)
    left.bar_label(bars, [f"{mean:.3f}" for mean in means], fontsize=9, padding=2)
    left.axhline(0, color=MUTED, lw=0.8)
    left.margins(y=0.12)
    left.set_ylabel("Mean of p·ln(p/q) (nats)")
    left.set_title(f"Contribution of each class; sum {means.sum():.3f}", fontsize=10)
    value_grid(left, "y")
    leading = np.asarray(CLASSES)[np.argmax(truth, axis=1)]
    _draw_groups(right, terms.sum(axis=1), leading, CLASSES)
    right.set_title("Windows by class with most votes", fontsize=10)
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
    groups = pd.Categorical(groups).remove_unused_categories()
    order, names = list(groups.categories), np.asarray(groups)
    figure = new_figure(3.6)
    axes = figure.subplots()
    _draw_groups(axes, np.asarray(scores["model"]), names, order)
    places = np.arange(len(order))
    for name, line in REFERENCES.items():
        if name in scores:
            means = [np.mean(np.asarray(scores[name])[names == group]) for group in order]
            axes.hlines(
                means, places - 0.3, places + 0.3, color=ACCENT, ls=line, lw=2, label=name,
                zorder=2,
            )  # fmt: skip
    axes.set_xlabel(label)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def _draw_groups(axes: Axes, kl: np.ndarray, groups: np.ndarray, order: Sequence) -> None:
    """Draw mean, 95 % interval of the mean, and 10th to 90th percentile of each group."""
    counts = [np.sum(groups == group) for group in order]
    for place, (group, count) in enumerate(zip(order, counts, strict=True)):
        if not count:
            continue
        values = kl[groups == group]
        mean, error = values.mean(), 1.96 * values.std() / np.sqrt(count)
        low, high = np.percentile(values, [10, 90])
        axes.plot([place, place], [low, high], color=PALE, lw=9, solid_capstyle="butt")
        axes.errorbar(
            place, mean, error, fmt="o", color=CLASS_COLORS.get(group, TRAIN_COLOR), ecolor=INK,
            mec=INK, ms=8, capsize=3,
        )  # fmt: skip
        axes.annotate(
            f"{mean:.2f}", (place, mean), (9, 0), textcoords="offset points", va="center",
            fontsize=9,
        )  # fmt: skip
    labels = [f"{group}\nn = {count:,}" for group, count in zip(order, counts, strict=True)]
    axes.set_xticks(np.arange(len(order)), labels)
    axes.set_xlim(-0.5, len(order) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("KL divergence (nats)\nmean, 95 % interval;\nband: 10 to 90 %")
    value_grid(axes, "y")


@styled
def error_correlation(names: Sequence[str], correlation: np.ndarray) -> Figure:
    """Draw the correlations, shape (members, members), of the errors of an ensemble's members."""
    figure = new_figure(1.8 + 0.45 * min(len(names), MOST_NUMBERS))
    axes = figure.subplots()
    lowest = float(np.floor(10 * correlation.min()) / 10)  # members are much alike
    image = axes.imshow(correlation, vmin=lowest, vmax=1, aspect="auto", cmap="viridis")
    places = np.arange(len(names))
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.grid(visible=False)
    if len(names) <= MOST_NUMBERS:
        for (row, column), value in np.ndenumerate(correlation):
            color = text_color(image.cmap(image.norm(value)))
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, size=9)
    figure.colorbar(image, label="Correlation of errors")
    return figure


@styled
def member_weights(
    names: Sequence[str], weights: np.ndarray, scores: np.ndarray, added: np.ndarray
) -> Figure:
    """Draw each member's weight, its own score, and the loss of the ensemble without it.

    Parameters
    ----------
    names : sequence of str
        Members, drawn from the top.
    weights, scores, added : arrays, shape (members,)
        Weight in the linear pool; KL divergence of the member alone, nats; increase of the
        pool's KL divergence without the member, nats.
    """
    figure = new_figure(1.5 + 0.3 * len(names))
    panels = figure.subplots(1, 3, sharey=True)
    places = np.arange(len(names))
    for axes, values, title, color in (
        (panels[0], weights, "Weight", TRAIN_COLOR),
        (panels[1], scores, "KL of the member alone (nats)", MUTED),
        (panels[2], added, "KL increase without it (nats)", TRAIN_COLOR),
    ):
        axes.barh(places, values, color=color, height=0.7)
        axes.set_xlabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(4))
        value_grid(axes, "x")
    panels[0].set_yticks(places, names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    return figure
