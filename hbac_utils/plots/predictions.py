"""Predictions against the votes, and on their own."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.labels import CLASSES, N_CLASSES
from hbac_utils.plots.classes import class_legend, class_matrix, class_pairs
from hbac_utils.plots.style import (
    CLASS_COLORS,
    INK,
    MUTED,
    bars_only,
    new_figure,
    outlined,
    styled,
)

N_BINS = 10  # of a reliability diagram
FEW_IN_BIN = 5  # windows; the mean of fewer is drawn as a ring and not joined to the others
FIRST = 8  # recordings of which the folds are compared


@styled
def confusion_matrix(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
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
def reliability_diagram(truth: np.ndarray, probabilities: np.ndarray) -> Figure:
    """Draw, per class, the mean vote fraction against the predicted probability.

    Predictions are taken in ten bins of equal width; a disc's area grows with the number of
    windows in its bin, a ring stands for fewer than five; bars are 95 % intervals. The gap is the
    mean distance from the diagonal over windows.

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
        predicted, observed, error, counts = reliability_bins(truth[:, i], probabilities[:, i])
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--")
        many = counts >= FEW_IN_BIN
        axes.errorbar(
            predicted[many], observed[many], 1.96 * error[many], fmt="none", ecolor=MUTED, lw=1,
            zorder=1,
        )  # fmt: skip
        axes.plot(
            predicted[many], observed[many], color=CLASS_COLORS[name], path_effects=outlined(),
            zorder=2,
        )  # fmt: skip
        axes.scatter(
            predicted, observed, s=15 + 160 * counts / counts.max(), ec=INK, lw=0.6, zorder=3,
            color=[CLASS_COLORS[name] if enough else "white" for enough in many],
        )  # fmt: skip
        gap = np.average(np.abs(predicted - observed), weights=counts)
        axes.set_title(f"{name}, mean gap {gap:.3f}", fontsize=10)
        axes.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
        axes.set(xlabel="Predicted probability", ylabel="Mean vote fraction")
        axes.label_outer()
    return figure


def reliability_bins(
    truth: np.ndarray, probabilities: np.ndarray, bins: int = N_BINS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
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
    error : array of float64, shape (m,)
        Standard errors of the observed means.
    counts : array of int64, shape (m,)
    """
    index = np.clip((np.asarray(probabilities) * bins).astype(int), 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    full = counts > 0
    n, truth = counts[full], np.asarray(truth, dtype=float)
    predicted, observed, squares = (
        np.bincount(index, values, bins)[full] / n for values in (probabilities, truth, truth**2)
    )
    error = np.sqrt(np.maximum(0, squares - observed**2) / n)
    return predicted, observed, error, n


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
def fold_predictions(
    by_fold: Mapping[str, np.ndarray], blended: np.ndarray, ids: Sequence
) -> Figure:
    """Draw what each fold's model says of the first recordings, over what is submitted.

    Parameters
    ----------
    by_fold : mapping from name to array, shape (n, 6)
    blended : array, shape (n, 6)
        The submitted probabilities.
    ids : sequence of length n
        What each row is called.

    Returns
    -------
    Figure
    """
    names = [str(name) for name in list(ids)[:FIRST]]
    columns = min(4, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = new_figure(0.7 + 2.1 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    places = np.arange(N_CLASSES)
    marks = np.linspace(-0.22, 0.22, len(by_fold)) if len(by_fold) > 1 else [0.0]
    for i, (axes, name) in enumerate(zip(panels.flat, names, strict=False)):
        axes.bar(places, blended[i], 0.8, color=list(CLASS_COLORS.values()), ec=MUTED, lw=0.6)
        for shift, values in zip(marks, by_fold.values(), strict=True):
            axes.plot(places + shift, values[i], "o", ms=3.5, color="white", mec=INK, mew=0.8)
        axes.set_title(f"EEG {name}", fontsize=9)
        axes.set_xticks(places, CLASSES, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_ylim(0, 1.05)
        axes.set_ylabel("Probability")
        bars_only(axes, "y")
        axes.label_outer()
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    spread = np.mean([np.abs(values - blended).mean() for values in by_fold.values()])
    figure.suptitle(
        f"Bars: the submitted mean; rings: the {len(by_fold)} models, "
        f"{spread:.3f} from it on average over all recordings",
        x=0.01, ha="left", fontsize=10,
    )  # fmt: skip
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
        (_mean_of(len(probabilities)), np.mean(probabilities, axis=0), False),
        ("prior of the training votes", np.asarray(prior), True),
    )
    axes.set_ylabel("Mean probability")
    return figure


def _mean_of(n: int) -> str:
    return f"mean of {n:,} predictions" if n > 1 else "the one prediction"
