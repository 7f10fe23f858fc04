"""Training: a batch as the network receives it, the learning rate, curves of a run."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_SECONDS, WINDOW_SECONDS
from hbac_utils.labels import CLASSES, RELIABLE_VOTES
from hbac_utils.montage import CHAINS, DOUBLE_BANANA
from hbac_utils.plots.classes import draw_strip
from hbac_utils.plots.eeg import FILL, draw_traces, typical_amplitude
from hbac_utils.plots.style import (
    ACCENT,
    MUTED,
    TRAIN_COLOR,
    color_bar,
    color_range,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from hbac_utils.recipe import Branch
    from hbac_utils.registry import View, Waveform

IMAGES, IMAGE_COLUMNS = 8, 4
SERIES, SERIES_COLUMNS = 4, 2
TITLE = "{}: input of the network"

PANELS = {  # columns of the history, left to right
    "loss": "Training loss",
    "kl_all": "Validation, all votes",
    "kl_reliable": f"Validation, ≥ {RELIABLE_VOTES} votes",
}

FOLD_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))


def batch_pages(
    inputs: Sequence[np.ndarray], labels: np.ndarray, branches: "Sequence[Branch]"
) -> list[Figure]:
    """Draw a training batch, one figure per branch of the recipe.

    Parameters
    ----------
    inputs : sequence of array
        Input of each backbone: series, shape (B, n_times, 18), or images, (B, H, W, 1).
    labels : array, shape (B, 6)
        Vote fractions.
    branches : sequence of Branch
        The recipe's branches.
    """
    return [
        (batch_series if branch.view.is_series else batch_images)(values, labels, branch.view)
        for values, branch in zip(inputs, branches, strict=True)
    ]


@styled
def batch_series(series: np.ndarray, labels: np.ndarray, view: "Waveform") -> Figure:
    """Draw the first series, shape (B, n_times, 18), as traces, labels (B, 6) above them."""
    series, labels = np.asarray(series)[:SERIES], np.asarray(labels)[:SERIES]
    times = np.arange(series.shape[1]) / view.rate
    height = (typical_amplitude(series.reshape(-1, series.shape[2])) or 1.0) / FILL
    # inverse of the view's sign(x) ln(1 + |x| / scale)
    scale = f"{height:.1f}\n({view.scale * np.expm1(height):.0f} µV)"
    rows = -(-len(series) // SERIES_COLUMNS)
    figure = new_figure(0.3 + 4.1 * rows, TITLE.format(view.kind))
    parts = figure.subfigures(rows, SERIES_COLUMNS, squeeze=False, hspace=0.02).flat
    for part, values, label in zip(parts, series, labels, strict=False):
        strip, page = part.subplots(2, 1, height_ratios=(0.06, 1))
        draw_strip(strip, label)
        draw_traces(page, times, values, height, scale)
        page.tick_params(axis="y", labelsize=8)
        page.set_xlim(0, WINDOW_SECONDS)
        page.set_xlabel("Time in the window (s); negative is up")
    return figure


@styled
def batch_images(images: np.ndarray, labels: np.ndarray, view: "View") -> Figure:
    """Draw the first images, shape (B, H, W, 1), with the units of their view, labels (B, 6)."""
    images, labels = np.asarray(images)[:IMAGES, ..., 0], np.asarray(labels)[:IMAGES]
    limits = color_range(images)
    columns = min(IMAGE_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(0.5 + 3.2 * rows, TITLE.format(view.kind))
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[0.05, 1] * rows)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(i, columns)
        strip = figure.add_subplot(grid[2 * row, column])
        draw_strip(strip, label, named=False)
        leading = int(np.argmax(label))
        strip.set_title(f"{CLASSES[leading]} {label[leading]:.0%}", fontsize=9, pad=2)
        axes = figure.add_subplot(grid[2 * row + 1, column])
        shown = _draw_image(axes, image, view, limits)
        if column:
            axes.tick_params(labelleft=False)
            axes.set_ylabel("")
        if i < len(images) - columns:
            axes.set_xlabel("")
    color_bar(figure, shown, figure.axes, "Value")
    return figure


def _draw_image(
    axes: Axes, image: np.ndarray, view: "View", limits: tuple[float, float]
) -> AxesImage:
    """Draw an image with the time range and rows of its view."""
    height = len(image)
    is_waveform = view.kind == "waveform"
    if view.kind == "kaggle_spectrogram":
        middle, half, label = 0.0, SPECTROGRAM_SECONDS / 2 / 60, "Time from the label (min)"
    else:
        middle, label = WINDOW_SECONDS / 2, "Time in the window (s)"
        half = WINDOW_SECONDS / 2 if is_waveform else view.seconds / 2  # type: ignore[attr-defined]
    shown = axes.imshow(
        image, aspect="auto", vmin=limits[0], vmax=limits[1],
        # first derivation at the top, lowest frequency at the bottom
        origin="upper" if is_waveform else "lower",
        extent=(middle - half, middle + half, *((height, 0) if is_waveform else (0, height))),
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_xlabel(label)
    if is_waveform:
        step = height / view.channels
        axes.set_yticks((np.arange(view.channels) + 0.5) * step, DOUBLE_BANANA[: view.channels])
        axes.tick_params(axis="y", labelsize=7, length=0)
        axes.set_ylabel(f"Derivation ({step:g} rows each)")
    else:
        band = (FREQUENCIES[0], FREQUENCIES[-1])
        if view.kind == "eeg_spectrogram":
            band = view.band  # type: ignore[attr-defined]
        _mark_chains(axes, height, band)
    return shown


def _mark_chains(axes: Axes, height: int, band: tuple[float, float]) -> None:
    """Separate the chains of an image; label each with its frequencies."""
    step = height / len(CHAINS)
    # the limits of the band are the centres of the first and the last row
    frequencies = [f for f in range(5, int(band[1]), 5) if f > band[0]]
    offsets = 0.5 + (np.array(frequencies) - band[0]) / (band[1] - band[0]) * (step - 1)
    for i, chain in enumerate(CHAINS):
        if i:
            axes.axhline(i * step, color="white", lw=1)
        axes.text(
            0.01, (i + 0.94) * step, chain, va="top", fontsize=8, color="white",
            transform=axes.get_yaxis_transform(),
            bbox={"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 1.5},
        )  # fmt: skip
    places = np.add.outer(np.arange(len(CHAINS)) * step, offsets).ravel()
    axes.set_yticks(places, [str(f) for f in frequencies] * len(CHAINS), fontsize=8)
    axes.tick_params(axis="y", color=MUTED)
    axes.set_ylabel("Frequency in each chain (Hz)")


@styled
def learning_rate_curve(epochs: np.ndarray, rates: np.ndarray) -> Figure:
    """Draw learning rates against fractional epochs since the start, both of shape (n,)."""
    figure = new_figure(2.8)
    axes = figure.subplots()
    axes.plot(epochs, rates, color=TRAIN_COLOR, marker="." if len(epochs) < 40 else "")
    axes.set(yscale="log", xlabel="Epochs since the start", ylabel="Learning rate")
    return figure


@styled
def training_curves(
    history: pd.DataFrame, prior: Mapping[str, float | None] | None = None
) -> Figure:
    """Draw training loss and validation scores, one line per fold.

    A ring marks the best epoch of each fold; the dashed line is the constant prior; dotted
    lines separate stages.

    Parameters
    ----------
    history : DataFrame
        One row per fold and epoch: ``fold``, ``epoch`` (from 0, across stages), ``stage``,
        ``loss``, ``kl_all``, ``kl_reliable`` (may be NaN or absent).
    prior : mapping, optional
        ``kl_all`` and ``kl_reliable`` of the constant prior, as of `metric.both_scores`.
    """
    shown = [name for name in PANELS if name in history and history[name].notna().any()]
    stage_starts = history.groupby("stage", sort=False)["epoch"].min().sort_values().iloc[1:]
    figure = new_figure(3.8)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        _draw_folds(axes, history, name)
        for epoch in stage_starts:
            axes.axvline(epoch + 0.5, color=MUTED, lw=1, ls=":", gid="stage")
        level = (prior or {}).get(name)
        if level is not None:
            axes.axhline(level, color=ACCENT, lw=1.3, ls=(0, (4, 2)), gid="prior")
            axes.annotate(
                f"prior {level:.2f}", (1, level), (-2, 3), textcoords="offset points", ha="right",
                xycoords=axes.get_yaxis_transform(), color=ACCENT, fontsize=9,
            )  # fmt: skip
        axes.set_title(PANELS[name], fontsize=10)
        axes.set_xlabel("Epoch")
        axes.set_xlim(0.5, history["epoch"].max() + 1.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set_ylabel("KL divergence (nats)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=10)
    return figure


def _draw_folds(axes: Axes, history: pd.DataFrame, column: str) -> None:
    folds = list(history.groupby("fold"))
    colors = colormaps["viridis"](np.linspace(0, 0.78, max(2, len(folds))))
    for i, (fold, rows) in enumerate(folds):
        rows = rows.sort_values("epoch").dropna(subset=column)
        if rows.empty:
            continue
        epochs, values = rows["epoch"].to_numpy() + 1, rows[column].to_numpy()
        axes.plot(
            epochs, values, color=colors[i], ls=FOLD_DASHES[i % len(FOLD_DASHES)], marker=".",
            ms=5, lw=1.5, label=f"fold {fold}",
        )  # fmt: skip
        best = values.argmin()
        axes.plot(epochs[best], values[best], "o", ms=9, mfc="none", mec=colors[i], gid="best")
