"""Predictions against the votes, and on their own."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hbac_utils import metric
from hbac_utils.labels import CLASSES, N_CLASSES, RELIABLE_VOTES
from hbac_utils.plots.classes import class_legend, class_matrix, class_pairs
from hbac_utils.plots.style import (
    CLASS_COLORS,
    HATCH,
    INK,
    MUTED,
    TRAIN_COLOR,
    bars_only,
    new_figure,
    outlined,
    styled,
)

N_BINS = 10  # of a reliability diagram


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
def confusion(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw which class leads in the votes against which leads in the prediction.

    Parameters
    ----------
    truth, probabilities : arrays, shape (n, 6)
        Vote fractions and predictions; only the leading class of each counts here.

    Returns
    -------
    Figure
    """
    counts = np.zeros((N_CLASSES, N_CLASSES), dtype=int)
    np.add.at(counts, (np.argmax(truth, axis=1), np.argmax(probabilities, axis=1)), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    texts = [
        [f"{n:,}\n{share:.0%}" if n else "" for n, share in zip(*rows, strict=True)]
        for rows in zip(counts, shares, strict=True)
    ]
    figure = new_figure(4.8)
    axes = figure.subplots()
    class_matrix(axes, shares, texts, "Predicted class", "Class with most votes")
    right = np.trace(counts) / max(1, counts.sum())
    axes.set_title(f"Windows, and shares of each row; {right:.0%} on the diagonal", fontsize=10)
    return figure


@styled
def reliability(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw, per class, the mean vote fraction against the predicted probability.

    Predictions are taken in ten bins of equal width; a disc's area grows with the number of
    windows in its bin, and the gap is the mean distance from the diagonal over windows.

    Parameters
    ----------
    truth, probabilities : arrays, shape (n, 6)

    Returns
    -------
    Figure
    """
    figure = new_figure(5.8)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for i, (axes, name) in enumerate(zip(panels.flat, CLASSES, strict=True)):
        predicted, observed, counts = reliability_bins(truth[:, i], probabilities[:, i])
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        axes.plot(predicted, observed, color=CLASS_COLORS[name], path_effects=outlined(), zorder=2)
        axes.scatter(
            predicted, observed, s=15 + 160 * counts / counts.max(), color=CLASS_COLORS[name],
            ec=INK, lw=0.6, zorder=3,
        )  # fmt: skip
        gap = np.average(np.abs(predicted - observed), weights=counts)
        axes.set_title(f"{name}, mean gap {gap:.3f}", fontsize=10)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set(xlabel="Predicted probability", ylabel="Mean vote fraction")
        axes.label_outer()
    return figure


def reliability_bins(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = N_BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bin one class's predictions and average them and the votes in each bin.

    Parameters
    ----------
    truth, probabilities : arrays, shape (n,)
    bins : int
        Of equal width between 0 and 1.

    Returns
    -------
    predicted, observed : arrays of float64, shape (m,)
        Means in the bins that are not empty.
    counts : array of int64, shape (m,)
    """
    index = np.clip((np.asarray(probabilities) * bins).astype(int), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    full = counts > 0
    sums = [np.bincount(index, values, bins)[full] for values in (probabilities, truth)]
    return sums[0] / counts[full], sums[1] / counts[full], counts[full]


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
    left.set_ylabel("Mean term p·ln(p/q) (nats)")
    left.set_title(f"The terms, which sum to {means.sum():.3f}", fontsize=10)
    bars_only(left, "y")
    leading = np.asarray(CLASSES)[np.argmax(truth, axis=1)]
    _draw_groups(right, terms.sum(axis=1), leading, CLASSES)
    right.set_title("Windows by the class with most votes", fontsize=10)
    return figure


@styled
def kl_by_group(
    kl: np.ndarray, groups: np.ndarray, label: str, order: Sequence | None = None
) -> Figure:
    """Draw the mean score of groups of windows, by agreement or by number of votes, say.

    Parameters
    ----------
    kl : array, shape (n,), nats
        The score of each window.
    groups : array, shape (n,)
        The group of each window.
    label : str
        What the groups are.
    order : sequence, optional
        Groups to show, left to right; all of them, sorted, where not given.

    Returns
    -------
    Figure
    """
    figure = new_figure(3.4)
    axes = figure.subplots()
    _draw_groups(
        axes, np.asarray(kl), np.asarray(groups), np.unique(groups) if order is None else order
    )
    axes.set_xlabel(label)
    return figure


@styled
def prediction_bars(probabilities: np.ndarray, ids: Sequence, *, most: int = 40) -> Figure:
    """Draw each recording's predicted probabilities as one stacked bar.

    Parameters
    ----------
    probabilities : array, shape (n, 6)
    ids : sequence of length n
        What each row is called.
    most : int
        How many rows to show at most, the first ones.

    Returns
    -------
    Figure
    """
    shown = np.asarray(probabilities, dtype=float)[:most]
    names = [str(name) for name in list(ids)[:most]]
    figure = new_figure(1.1 + 0.24 * len(shown))
    axes = figure.subplots()
    left = np.zeros(len(shown))
    for name, widths in zip(CLASSES, shown.T, strict=True):
        axes.barh(names, widths, 0.8, left=left, color=CLASS_COLORS[name], ec="white", lw=0.6)
        left += widths
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Predicted probability")
    axes.set_ylabel("EEG" if len(shown) == len(probabilities) else f"EEG, the first {most}")
    bars_only(axes, "x")
    class_legend(figure)
    return figure


@styled
def distribution_against_prior(probabilities: np.ndarray, prior: np.ndarray) -> Figure:
    """Draw the mean prediction beside the prior of the training votes.

    A mean far from the prior asks whether the test recordings differ, or the model is off.

    Parameters
    ----------
    probabilities : array, shape (n, 6)
    prior : array, shape (6,)
        Mean vote fractions of the training windows.

    Returns
    -------
    Figure
    """
    figure = new_figure(3.2)
    axes = figure.subplots()
    class_pairs(
        axes,
        (f"mean of {len(probabilities):,} predictions", np.mean(probabilities, axis=0), False),
        ("prior of the training votes", np.asarray(prior), True),
    )
    axes.set_ylabel("Mean probability")
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
    axes.set_ylabel("KL divergence (nats)\nmean; band: 10 to 90 %")
    bars_only(axes, "y")
