"""The score: of several predictions, and of groups of windows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hbac_utils import metric
from hbac_utils.labels import CLASSES, RELIABLE_VOTES
from hbac_utils.plots.style import (
    ACCENT,
    CLASS_COLORS,
    HATCH,
    INK,
    MUTED,
    TRAIN_COLOR,
    bars_only,
    new_figure,
    styled,
)

REFERENCES = {"prior": "-", "oracle": ":"}
"""Line styles of what a group's score is compared with."""


@styled
def score_bars(scores: Mapping[str, Mapping[str, float | None]]) -> Figure:
    """Draw the two scores of several predictions; lower is better.

    Parameters
    ----------
    scores : mapping from name to mapping
        Each as `metric.both_scores` gives it: ``kl_all`` and ``kl_reliable`` (may be None).

    Returns
    -------
    Figure
    """
    figure = new_figure(1.3 + 0.55 * len(scores))
    axes = figure.subplots()
    places = np.arange(len(scores))
    for key, shift, label, options in (
        ("kl_reliable", -0.19, f"≥ {RELIABLE_VOTES} votes", {"color": TRAIN_COLOR}),
        ("kl_all", 0.19, "all votes", {"color": "#C9D5E8", "hatch": HATCH}),
    ):
        values = [score.get(key) for score in scores.values()]
        widths = np.array([np.nan if value is None else value for value in values], dtype=float)
        bars = axes.barh(places + shift, widths, 0.36, ec=MUTED, lw=0.6, label=label, **options)
        texts = ["" if np.isnan(width) else f"{width:.3f}" for width in widths]
        axes.bar_label(bars, texts, padding=3, fontsize=9)
    axes.set_yticks(places, list(scores))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("KL divergence from the votes (nats); lower is better")
    bars_only(axes, "x")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@styled
def kl_by_class(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw where the score comes from: its six terms, and its mean by the class that leads.

    Parameters
    ----------
    truth, probabilities : arrays, shape (n, 6)
        Vote fractions and predictions.

    Returns
    -------
    Figure
    """
    terms = metric.kl_by_class(truth, probabilities)
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    means = terms.mean(axis=0)
    bars = left.bar(CLASSES, means, 0.7, color=list(CLASS_COLORS.values()), ec=MUTED, lw=0.6)
    left.bar_label(bars, [f"{mean:.3f}" for mean in means], fontsize=9, padding=2)
    left.axhline(0, color=MUTED, lw=0.8)
    left.margins(y=0.12)
    left.set_ylabel("Mean term p·ln(p/q) (nats)")
    left.set_title(f"The terms, which sum to {means.sum():.3f}", fontsize=10)
    bars_only(left, "y")
    leading = np.asarray(CLASSES)[np.argmax(truth, axis=1)]
    _draw_groups(right, terms.sum(axis=1), leading, CLASSES)
    right.set_title("Windows by the class with most votes", fontsize=10)
    return figure


@styled
def kl_by_group(scores: Mapping[str, np.ndarray], groups: pd.Categorical, label: str) -> Figure:
    """Draw the mean score of groups of windows, by agreement or by number of votes, say.

    Parameters
    ----------
    scores : mapping from name to array, shape (n,), nats
        The score of each window: ``model``, and what it is compared with, ``prior`` and
        ``oracle`` where they are known.
    groups : Categorical, length n
        The group of each window; those that have no window are left out.
    label : str
        What the groups are.

    Returns
    -------
    Figure
    """
    groups = pd.Categorical(groups).remove_unused_categories()
    order, names = list(groups.categories), np.asarray(groups)
    figure = new_figure(3.6)
    axes = figure.subplots()
    _draw_groups(axes, np.asarray(scores["model"]), names, order)
    places = np.arange(len(order))
    for name, style in REFERENCES.items():
        if name in scores:
            means = [np.mean(np.asarray(scores[name])[names == group]) for group in order]
            axes.hlines(
                means, places - 0.3, places + 0.3, color=ACCENT, ls=style, lw=2, label=name,
                zorder=2,
            )  # fmt: skip
    axes.set_xlabel(label)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def _draw_groups(axes: Axes, kl: np.ndarray, groups: np.ndarray, order: Sequence) -> None:
    """Draw each group's mean with its 95 % interval, over the spread of its windows."""
    for place, group in enumerate(order):
        values = kl[groups == group]
        if not len(values):
            continue
        mean, error = values.mean(), 1.96 * values.std() / np.sqrt(len(values))
        low, high = np.percentile(values, [10, 90])
        axes.plot([place, place], [low, high], color="#C9D5E8", lw=9, solid_capstyle="butt")
        axes.errorbar(
            place, mean, error, fmt="o", color=CLASS_COLORS.get(group, TRAIN_COLOR), ecolor=INK,
            mec=INK, ms=8, capsize=3,
        )  # fmt: skip
        axes.annotate(f"{mean:.2f}", (place, mean), (9, 0), textcoords="offset points",
                      va="center", fontsize=9)  # fmt: skip
    counts = [np.sum(groups == group) for group in order]
    axes.set_xticks(
        np.arange(len(order)), [f"{g}\nn = {n:,}" for g, n in zip(order, counts, strict=True)]
    )
    axes.set_xlim(-0.5, len(order) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("KL divergence (nats)\nmean, 95 % interval;\nband: 10 to 90 %")
    bars_only(axes, "y")
