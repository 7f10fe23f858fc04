"""Predictions: confusion matrix, calibration, single recordings, folds, prior."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.labels import CLASSES, N_CLASSES
from hbac_utils.plots.classes import COLORS, PLACES, class_bars, class_legend, class_matrix
from hbac_utils.plots.style import CLASS_COLORS, INK, MUTED, new_figure, outline, styled, value_grid

N_BINS = 10  # of a reliability diagram
FEW_IN_BIN = 5  # means of fewer windows are drawn as rings and not connected
N_COMPARED = 8  # recordings whose fold predictions are shown


@styled
def confusion_matrix(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the leading class of vote fractions against that of predictions, shape (n, 6)."""
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
    accuracy = np.trace(counts) / max(1, counts.sum())
    axes.set_title(f"Windows and shares of each row; accuracy {accuracy:.0%}", fontsize=10)
    return figure


@styled
def reliability_diagram(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw the mean vote fraction against the predicted probability for each class.

    Predictions are averaged in ten bins of equal width. The area of a point grows with the
    number of windows, rings stand for fewer than five; bars are 95 % intervals. "Mean gap" is
    the expected calibration error: the mean distance from the diagonal over windows.

    Parameters
    ----------
    truth, probabilities : arrays, shape (n, 6)
        Vote fractions and predictions.
    """
    figure = new_figure(5.8)
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for i, (axes, name) in enumerate(zip(panels.flat, CLASSES, strict=True)):
        color = CLASS_COLORS[name]
        predicted, observed, error, counts = reliability_bins(truth[:, i], probabilities[:, i])
        many = counts >= FEW_IN_BIN
        joined = predicted[many], observed[many]
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        axes.errorbar(*joined, 1.96 * error[many], fmt="none", ecolor=MUTED, lw=1, zorder=1)
        axes.plot(*joined, color=color, path_effects=outline(), zorder=2)
        axes.scatter(
            predicted, observed, s=15 + 160 * counts / counts.max(), ec=INK, lw=0.6, zorder=3,
            color=[color if enough else "white" for enough in many],
        )  # fmt: skip
        gap = np.average(np.abs(predicted - observed), weights=counts)
        axes.set_title(f"{name}, mean gap {gap:.3f}", fontsize=10)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set(xlabel="Predicted probability", ylabel="Mean vote fraction")
        axes.label_outer()
    return figure


def reliability_bins(
    truth: np.ndarray, probabilities: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Average one class's predictions and vote fractions in `N_BINS` bins of equal width.

    Returns
    -------
    predicted, observed, error, counts : arrays, shape (m,)
        Means, standard errors of ``observed``, and windows of the non-empty bins.
    """
    index = np.clip((np.asarray(probabilities) * N_BINS).astype(int), 0, N_BINS - 1)
    counts = np.bincount(index, minlength=N_BINS)
    full = counts > 0
    n, truth = counts[full], np.asarray(truth, dtype=float)
    predicted, observed, squares = (
        np.bincount(index, values, N_BINS)[full] / n for values in (probabilities, truth, truth**2)
    )
    error = np.sqrt(np.maximum(0, squares - observed**2) / n)
    return predicted, observed, error, n


@styled
def prediction_bars(probabilities: np.ndarray, ids: Sequence, *, most: int = 40) -> Figure:
    """Draw predictions, shape (n, 6), as stacked bars, one row for each of the first ``most``."""
    shown = np.asarray(probabilities, dtype=float)[:most]
    names = [str(name) for name in list(ids)[:most]]
    figure = new_figure(1.1 + 0.24 * len(shown))
    axes = figure.subplots()
    for color, widths, ends in zip(COLORS, shown.T, shown.cumsum(axis=1).T, strict=True):
        axes.barh(names, widths, 0.8, left=ends - widths, color=color, ec="white", lw=0.6)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Predicted probability")
    axes.set_ylabel("EEG" if len(shown) == len(probabilities) else f"EEG, first {most}")
    value_grid(axes, "x")
    class_legend(figure)
    return figure


@styled
def fold_predictions(
    by_fold: Mapping[str, np.ndarray], blended: np.ndarray, ids: Sequence
) -> Figure:
    """Draw the predictions of each model over the submitted ones, for the first recordings.

    Parameters
    ----------
    by_fold : mapping from name to array, shape (n, 6)
    blended : array, shape (n, 6)
        Submitted probabilities.
    ids : sequence of length n
        Names of the recordings.
    """
    names = [str(name) for name in list(ids)[:N_COMPARED]]
    columns = min(4, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = new_figure(0.7 + 2.1 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    shifts = np.linspace(-0.22, 0.22, len(by_fold)) if len(by_fold) > 1 else [0.0]
    for i, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        axes.bar(PLACES, blended[i], 0.8, color=COLORS, ec=MUTED, lw=0.6)
        for shift, values in zip(shifts, by_fold.values(), strict=True):
            axes.plot(PLACES + shift, values[i], "o", ms=3.5, color="white", mec=INK, mew=0.8)
        axes.set_title(f"EEG {name}", fontsize=9)
        axes.set_xticks(PLACES, CLASSES, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_ylim(0, 1.05)
        axes.set_ylabel("Probability")
        value_grid(axes, "y")
        axes.label_outer()
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    spread = np.mean([np.abs(values - blended).mean() for values in by_fold.values()])
    figure.suptitle(
        f"Bars: submitted; rings: {len(by_fold)} models, mean absolute difference {spread:.3f}",
        x=0.01, ha="left", fontsize=10,
    )  # fmt: skip
    return figure


@styled
def distribution_against_prior(probabilities: np.ndarray, prior: np.ndarray) -> Figure:
    """Draw the mean of predictions, shape (n, 6), beside the training prior, shape (6,)."""
    n = len(probabilities)
    figure = new_figure(3.2)
    axes = figure.subplots()
    class_bars(
        axes,
        (f"mean of {n:,} predictions", np.mean(probabilities, axis=0), False),
        ("training prior", np.asarray(prior), True),
    )
    axes.set_ylabel("Mean probability")
    return figure
