"""Predictions and scores: confusion matrix, calibration, errors by group, ensembles."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn import metrics

from hbac_utils import metric
from hbac_utils.labels import CLASSES, RELIABLE_VOTES, consensus
from hbac_utils.plots import style
from hbac_utils.utils.interactive import prints_errors


@style.styled
def confusion_matrix(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the leading class of vote fractions against that of predictions, shape (n, 6)."""
    counts = metrics.confusion_matrix(truth.argmax(1), probabilities.argmax(1), labels=style.PLACES)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure, axes = style.new_axes(4.4)
    style.draw_matrix(axes, counts, shares, CLASSES, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="Predicted class", ylabel="Class with most votes")
    accuracy = np.trace(counts) / counts.sum()
    axes.set_title(f"Windows (shade: share of the row); accuracy {accuracy:.0%}")
    return figure


@style.styled
def reliability_diagram(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw mean vote fractions against predicted probabilities, both (n, 6), for each class.

    Predictions are averaged in ten bins of equal width. The area of a point grows with the
    number of windows, rings stand for fewer than five; bars are 95 % intervals. "Mean gap" is
    the expected calibration error: the mean distance from the diagonal over windows.
    """
    figure = style.new_figure(5.8)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for i, (axes, color) in enumerate(zip(panels.flat, style.COLORS, strict=True)):
        bins = reliability_bins(truth[:, i], probabilities[:, i])
        many = bins[bins["n"] >= 5]
        axes.plot([0, 1], [0, 1], color=style.MUTED, lw=1, ls="--")
        axes.errorbar(
            many["predicted"], many["observed"], 1.96 * many["error"], color=color,
            ecolor=style.MUTED, elinewidth=1, path_effects=style.OUTLINE,
        )  # fmt: skip
        axes.scatter(
            bins["predicted"], bins["observed"], s=15 + 160 * bins["n"] / bins["n"].max(),
            color=np.where(bins["n"] >= 5, color, "white"), ec=style.INK, lw=0.6, zorder=3,
        )  # fmt: skip
        gap = np.average((bins["predicted"] - bins["observed"]).abs(), weights=bins["n"])
        axes.set_title(f"{CLASSES[i]}, mean gap {gap:.3f}")
        axes.set(xlabel="Predicted probability", ylabel="Mean vote fraction")
        axes.label_outer()
    return figure


def reliability_bins(truth: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Average one class's predictions and vote fractions, shape (n,), in ten bins of equal width.

    Returns the non-empty bins: means ``predicted`` and ``observed``, ``error``, the standard
    error of ``observed``, and ``n``.
    """
    table = pd.DataFrame({"predicted": probabilities, "observed": truth})
    bins = table.groupby(np.minimum((table["predicted"] * 10).astype(int), 9))
    return bins.mean().assign(error=bins["observed"].sem(), n=bins.size())


@prints_errors
@style.styled
def prediction_bars(probabilities: np.ndarray, ids: Sequence, *, most: int = 40) -> Figure:
    """Draw predictions, shape (n, 6), as stacked bars, one row for each of the first ``most``."""
    shown = np.asarray(probabilities)[:most]
    names = [str(name) for name in list(ids)[:most]]
    figure, axes = style.new_axes(1.1 + 0.24 * len(shown))
    for color, widths, ends in zip(style.COLORS, shown.T, shown.cumsum(axis=1).T, strict=True):
        axes.barh(names, widths, 0.8, left=ends - widths, color=color, ec="white", lw=0.6)
    axes.set(xlim=(0, 1), xlabel="Predicted probability", ylim=(len(shown) - 0.4, -0.6))
    axes.set_ylabel("EEG" if len(shown) == len(probabilities) else f"EEG, first {most}")
    axes.grid(visible=False, axis="y")
    style.class_legend(figure)
    return figure


@prints_errors
@style.styled
def fold_predictions(
    by_fold: Mapping[str, np.ndarray], blended: np.ndarray, ids: Sequence
) -> Figure:
    """Draw the predictions of each model over the submitted ones, for the first 8 recordings.

    All predictions have shape (n, 6); ``ids`` are the names of the n recordings.
    """
    names = list(ids)[:8]
    columns = min(4, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    spread = np.mean([np.abs(values - blended).mean() for values in by_fold.values()])
    title = f"Bars: submitted; rings: {len(by_fold)} models, mean absolute difference {spread:.3f}"
    figure = style.new_figure(0.7 + 2.1 * rows, title)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shifts = np.linspace(-0.22, 0.22, len(by_fold)) if len(by_fold) > 1 else [0.0]
    for i, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        axes.bar(style.PLACES, blended[i], 0.8, color=style.COLORS, **style.EDGE)
        for shift, values in zip(shifts, by_fold.values(), strict=True):
            axes.plot(
                style.PLACES + shift, values[i], "o", ms=3.5, color="white", mec=style.INK, mew=0.8
            )
        axes.set_title(f"EEG {name}", fontsize=9)
        axes.set_xticks(style.PLACES, CLASSES, rotation=60, ha="right", rotation_mode="anchor")
        axes.set(ylim=(0, 1.05), ylabel="Probability")
        axes.grid(visible=False, axis="x")
        axes.label_outer()
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    return figure


@prints_errors
@style.styled
def distribution_against_prior(probabilities: np.ndarray, prior: np.ndarray) -> Figure:
    """Draw the mean of predictions, shape (n, 6), beside the training prior, shape (6,)."""
    figure, axes = style.new_axes(3.2)
    mean = f"mean of {len(probabilities):,} predictions", np.mean(probabilities, axis=0), False
    style.class_bars(axes, [mean, ("training prior", prior, True)])
    axes.set_ylabel("Mean probability")
    return figure


@style.styled
def score_bars(scores: Mapping[str, Mapping[str, float | None]]) -> Figure:
    """Draw both scores (`metric.both_scores`) of several predictions by name; lower is better."""
    figure, axes = style.new_axes(1.3 + 0.55 * len(scores))
    places = np.arange(len(scores))
    for key, shift, label, options in (
        ("kl_reliable", -0.19, f"≥ {RELIABLE_VOTES} votes", {"color": style.TRAIN_COLOR}),
        ("kl_all", 0.19, "all votes", {"color": style.PALE, "hatch": style.HATCH}),
    ):
        widths = np.array([score.get(key) for score in scores.values()], dtype=float)
        bars = axes.barh(places + shift, widths, 0.36, label=label, **style.EDGE, **options)
        axes.bar_label(bars, fmt="%.3f", padding=3, fontsize=9)
    axes.set_yticks(places, list(scores))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("KL divergence from the votes (nats); lower is better")
    axes.grid(visible=False, axis="y")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


@style.styled
def score_scale(
    scores: Mapping[str, Mapping[str, float | None]], experts: Mapping[str, float]
) -> Figure:
    """Draw scores on one scale with those of a few experts; further left is better.

    ``scores`` are both scores by name (`metric.both_scores`), nats; those on windows with ≥ 10
    votes are drawn, as the experts' are (`metric.expert_yardstick`). Without windows of ten votes
    there are no experts, and the scores on all votes are drawn. Other epochs are left out.
    """
    key = "kl_reliable" if experts else "kl_all"
    figure, axes = style.new_axes(2.6)
    axes.axhline(0, color=style.MUTED, lw=1)
    known = {name: score.get(key) for name, score in scores.items() if "epoch" not in name}
    above = pd.Series(known, dtype=float).dropna()
    below = pd.Series(experts, dtype=float)
    span = np.ptp([*above, *below])
    for marks, side, color in ((above, 1, style.TRAIN_COLOR), (below, -1, style.ACCENT)):
        ends = np.full(3, -np.inf)  # of the last label on each level
        for name, value in marks.sort_values().items():
            level = int(np.argmax(ends < value)) if (ends < value).any() else 0
            ends[level] = value + 0.11 * span
            height = side * (0.4 + 0.8 * level)
            axes.plot([value, value], [0, height], color=color, lw=1)
            axes.plot(value, 0, "o" if side > 0 else "D", color=color, ms=7, gid=name)
            axes.text(
                value, height, f"{name}\n{value:.2f}", ha="center",
                va="bottom" if side > 0 else "top", color=color, fontsize=9,
                weight="bold" if name == "model" else "normal",
            )  # fmt: skip
    axes.set(ylim=(-3, 1.4), yticks=[])
    axes.margins(x=0.06)
    windows = f"windows with ≥ {RELIABLE_VOTES} votes" if experts else "all windows"
    axes.set_xlabel(f"KL divergence from the votes (nats), {windows}; left is better")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    return figure


@style.styled
def kl_by_class(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the contribution of each class to the score, and the score by leading class.

    ``truth`` and ``probabilities`` are vote fractions and predictions, shape (n, 6).
    """
    terms = metric.kl_by_class(truth, probabilities)
    means = terms.mean(axis=0)
    figure = style.new_figure(3.6)
    left, right = figure.subplots(1, 2)
    bars = left.bar(CLASSES, means, 0.7, color=style.COLORS, **style.EDGE)
    left.bar_label(bars, fmt="%.3f", fontsize=9, padding=2)
    left.axhline(0, color=style.MUTED, lw=0.8)
    left.margins(y=0.12)
    left.set_ylabel("Mean of p·ln(p/q) (nats)")
    left.set_title(f"Contribution of each class; sum {means.sum():.3f}")
    left.grid(visible=False, axis="x")
    _draw_groups(right, terms.sum(axis=1), pd.Categorical(consensus(truth), CLASSES))
    right.set_title("Windows by class with most votes")
    return figure


@style.styled
def kl_by_group(scores: Mapping[str, np.ndarray], groups: pd.Categorical, label: str) -> Figure:
    """Draw the mean score of groups of windows, such as by agreement or number of votes.

    ``scores`` holds those of each window, shape (n,), nats: ``model``, and optionally ``prior``
    and ``oracle``. ``groups`` has length n; empty groups are not drawn.
    """
    groups = groups.remove_unused_categories()
    figure, axes = style.new_axes(3.6)
    _draw_groups(axes, scores["model"], groups)
    for name, line in {"prior": "-", "oracle": ":"}.items():
        if name in scores:
            means = pd.Series(scores[name]).groupby(groups, observed=False).mean()
            places = np.arange(len(means))
            axes.hlines(
                means, places - 0.3, places + 0.3, color=style.ACCENT, ls=line, lw=2, label=name
            )
    axes.set_xlabel(label)
    if len(scores) > 1:
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def _draw_groups(axes: Axes, kl: np.ndarray, groups: pd.Categorical) -> None:
    """Draw mean, 95 % interval of the mean, and 10th to 90th percentile of each group."""
    grouped = pd.Series(kl).groupby(groups, observed=False)
    means, counts = grouped.mean(), grouped.size()
    places = np.arange(len(means))
    axes.vlines(places, grouped.quantile(0.1), grouped.quantile(0.9), color=style.PALE, lw=9)
    axes.errorbar(places, means, 1.96 * grouped.sem(), fmt="none", ecolor=style.INK, capsize=3)
    for place, (group, mean) in enumerate(means.items()):
        if counts[group]:
            color = style.CLASS_COLORS.get(group, style.TRAIN_COLOR)
            axes.plot(place, mean, "o", ms=8, color=color, mec=style.INK)
            axes.text(place + 0.13, mean, f"{mean:.2f}", va="center", fontsize=9)
    axes.set_xticks(places, [f"{group}\nn = {n:,}" for group, n in counts.items()])
    axes.set_xlim(-0.5, len(means) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("KL divergence (nats)\nmean, 95 % interval;\nband: 10 to 90 %")
    axes.grid(visible=False, axis="x")


@style.styled
def error_correlation(names: Sequence[str], correlation: np.ndarray) -> Figure:
    """Draw the correlation, shape (members, members), of the errors of an ensemble's members.

    An error is prediction − vote fraction, over all windows and classes. The members are numbered.
    """
    figure, axes = style.new_axes(1.2 + 0.45 * min(len(names), 16))
    # numbers have room in 16 rows; a zero is not written
    values = correlation.round(2) if len(names) <= 16 else np.zeros_like(correlation)
    numbers = range(1, len(names) + 1)
    image = style.draw_matrix(axes, values, correlation, list(map(str, numbers)))
    labels = [f"{style.shortened(name)}  {i}" for i, name in zip(numbers, names, strict=True)]
    axes.set_yticks(axes.get_yticks(), labels)
    axes.tick_params(labelsize=9 if len(names) <= 20 else 7)
    figure.colorbar(image, label="Correlation of errors")
    return figure


@style.styled
def member_weights(shares: pd.DataFrame) -> Figure:
    """Draw `ensembling.blend.Blend.shares`: weight, own score, and loss without each member."""
    figure = style.new_figure(1.5 + 0.3 * len(shares))
    panels = figure.subplots(1, 3, sharey=True)
    titles = ("Weight", "KL, alone (nats)", "KL increase\nwithout it (nats)")
    for axes, column, title in zip(panels, ("weight", "kl", "added"), titles, strict=True):
        axes.barh(np.arange(len(shares)), shares[column], 0.7, color=style.TRAIN_COLOR)
        axes.set_xlabel(title)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.grid(visible=False, axis="y")
    labels = shares.index.map(style.shortened)
    panels[0].set_yticks(np.arange(len(shares)), labels, fontsize=8)
    panels[0].set_ylim(len(shares) - 0.5, -0.5)
    return figure
