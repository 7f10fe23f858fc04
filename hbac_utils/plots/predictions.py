"""Predictions: confusion matrix, calibration, single recordings, folds, prior."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import metrics

from hbac_utils.labels import CLASSES
from hbac_utils.plots.classes import PLACES, class_bars, class_legend, draw_matrix
from hbac_utils.plots.style import COLORS, EDGE, INK, MUTED, OUTLINE, new_figure, styled


@styled
def confusion_matrix(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the leading class of vote fractions against that of predictions, shape (n, 6)."""
    counts = metrics.confusion_matrix(truth.argmax(1), probabilities.argmax(1), labels=PLACES)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure = new_figure(4.4)
    axes = figure.subplots()
    draw_matrix(axes, counts, shares, CLASSES, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="Predicted class", ylabel="Class with most votes")
    accuracy = np.trace(counts) / counts.sum()
    axes.set_title(f"Windows (shade: share of the row); accuracy {accuracy:.0%}")
    return figure


@styled
def reliability_diagram(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw mean vote fractions against predicted probabilities, both (n, 6), for each class.

    Predictions are averaged in ten bins of equal width. The area of a point grows with the
    number of windows, rings stand for fewer than five; bars are 95 % intervals. "Mean gap" is
    the expected calibration error: the mean distance from the diagonal over windows.
    """
    figure = new_figure(5.8)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for i, (axes, color) in enumerate(zip(panels.flat, COLORS, strict=True)):
        bins = reliability_bins(truth[:, i], probabilities[:, i])
        many = bins[bins["n"] >= 5]
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        axes.errorbar(
            many["predicted"], many["observed"], 1.96 * many["error"], color=color, ecolor=MUTED,
            elinewidth=1, path_effects=OUTLINE,
        )  # fmt: skip
        axes.scatter(
            bins["predicted"], bins["observed"], s=15 + 160 * bins["n"] / bins["n"].max(),
            color=np.where(bins["n"] >= 5, color, "white"), ec=INK, lw=0.6, zorder=3,
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


@styled
def prediction_bars(probabilities: np.ndarray, ids: Sequence, *, most: int = 40) -> Figure:
    """Draw predictions, shape (n, 6), as stacked bars, one row for each of the first ``most``."""
    shown = np.asarray(probabilities)[:most]
    names = [str(name) for name in list(ids)[:most]]
    figure = new_figure(1.1 + 0.24 * len(shown))
    axes = figure.subplots()
    for color, widths, ends in zip(COLORS, shown.T, shown.cumsum(axis=1).T, strict=True):
        axes.barh(names, widths, 0.8, left=ends - widths, color=color, ec="white", lw=0.6)
    axes.set(xlim=(0, 1), xlabel="Predicted probability", ylim=(len(shown) - 0.4, -0.6))
    axes.set_ylabel("EEG" if len(shown) == len(probabilities) else f"EEG, first {most}")
    axes.grid(visible=False, axis="y")
    class_legend(figure)
    return figure


@styled
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
    figure = new_figure(0.7 + 2.1 * rows, title)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shifts = np.linspace(-0.22, 0.22, len(by_fold)) if len(by_fold) > 1 else [0.0]
    for i, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        axes.bar(PLACES, blended[i], 0.8, color=COLORS, **EDGE)
        for shift, values in zip(shifts, by_fold.values(), strict=True):
            axes.plot(PLACES + shift, values[i], "o", ms=3.5, color="white", mec=INK, mew=0.8)
        axes.set_title(f"EEG {name}", fontsize=9)
        axes.set_xticks(PLACES, CLASSES, rotation=60, ha="right", rotation_mode="anchor")
        axes.set(ylim=(0, 1.05), ylabel="Probability")
        axes.grid(visible=False, axis="x")
        axes.label_outer()
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    return figure


@styled
def distribution_against_prior(probabilities: np.ndarray, prior: np.ndarray) -> Figure:
    """Draw the mean of predictions, shape (n, 6), beside the training prior, shape (6,)."""
    figure = new_figure(3.2)
    axes = figure.subplots()
    mean = f"mean of {len(probabilities):,} predictions", np.mean(probabilities, axis=0), False
    class_bars(axes, [mean, ("training prior", prior, True)])
    axes.set_ylabel("Mean probability")
    return figure
