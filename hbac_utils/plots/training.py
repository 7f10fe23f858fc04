"""Training: a batch, the learning rate, curves of a run, results of a sweep."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_SECONDS, WINDOW_SECONDS
from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, PAIRED
from hbac_utils.plots import style
from hbac_utils.plots.windows import draw_traces, row_height

if TYPE_CHECKING:
    from hbac_utils.parts import Waveform
    from hbac_utils.recipe import Branch
    from hbac_utils.registry import View

PANELS = {
    "loss": "Training loss",
    "kl_all": "Validation, all votes",
    "kl_reliable": f"Validation, ≥ {RELIABLE_VOTES} votes",
}
"""Columns of the history that are drawn, left to right."""


def batch_pages(
    inputs: Sequence[np.ndarray], labels: np.ndarray, branches: "Sequence[Branch]"
) -> list[Figure]:
    """Draw a training batch, one figure per branch of the recipe: the input of its backbone.

    See `batch_series` and `batch_images` for the shapes; labels are vote fractions (B, 6).
    """
    return [
        (batch_series if branch.view.is_series else batch_images)(values, labels, branch.view)
        for values, branch in zip(inputs, branches, strict=True)
    ]


@style.styled
def batch_series(series: np.ndarray, labels: np.ndarray, view: "Waveform") -> Figure:
    """Draw the first four series, shape (B, n_times, 18), as traces, with their labels above.

    The view gives the sampling rate and the scale of the values.
    """
    series = np.asarray(series)[:4]
    height = row_height(series.reshape(-1, series.shape[2]))
    # inverse of the view's sign(x) ln(1 + |x| / scale), or x / scale
    size = height if view.amplitude == "linear" else np.expm1(height)
    scale = f"{height:.1f}\n({view.scale * size:.0f} µV)"
    figure, panels = _batch_panels(len(series), 2, 4.1, view)
    for (strip, page), values, label in zip(panels, series, labels, strict=False):
        style.draw_strip(strip, label)
        draw_traces(page, np.arange(len(values)) / view.rate, values, height, scale)
        page.set(xlim=(0, WINDOW_SECONDS), xlabel="Time in the window (s); negative is up")
        page.tick_params(axis="y", labelsize=8)
        page.label_outer()
    return figure


@style.styled
def batch_images(images: np.ndarray, labels: np.ndarray, view: "View") -> Figure:
    """Draw the first eight images, shape (B, H, W, 1 or 3), with their labels above.

    The view gives the units of rows and columns. Of three channels the first is drawn.
    """
    images = np.asarray(images)[:8, ..., 0]
    limits = style.color_range(images)
    figure, panels = _batch_panels(len(images), 4, 3.2, view)
    for (strip, page), image, label in zip(panels, images, labels, strict=False):
        style.draw_strip(strip, label, least=0.4)
        shown = _draw_image(page, image, view, limits)
        page.label_outer()
    figure.colorbar(shown, ax=figure.axes, label="Value", fraction=0.02, aspect=40)
    return figure


def _batch_panels(
    n: int, columns: int, height: float, view: "View"
) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Create a figure with pairs of axes: a strip for the label, and a panel below it."""
    columns = min(columns, n)
    rows = -(-n // columns)
    figure = style.new_figure(0.4 + height * rows, f"{view.kind}: input of the network")
    axes = figure.subplots(2 * rows, columns, height_ratios=[0.06, 1] * rows, squeeze=False)
    panels = list(zip(axes[::2].flat, axes[1::2].flat, strict=True))
    for unused in np.ravel(panels[n:]):
        unused.set_axis_off()
    return figure, panels[:n]


def _draw_image(
    axes: Axes, image: np.ndarray, view: "View", limits: tuple[float, float]
) -> AxesImage:
    """Draw an image with the time range of its view, and the names of its bands of rows."""
    axes.set_xlabel("Time in the window (s)")
    stretches = view.stretches
    first, last = (0, len(stretches)) if len(stretches) > 1 else stretches[0][1:]
    if view.kind == "kaggle_spectrogram":
        axes.set_xlabel("Time from the label (min)")
        first, last = np.array([-1, 1]) * SPECTROGRAM_SECONDS / 2 / 60
    low, high = getattr(view, "band", FREQUENCIES[[0, -1]])
    names: Sequence[str] = [f"{chain}\n{low:.1f}–\n{high:.0f} Hz" for chain in CHAINS]
    if view.kind == "waveform":
        names = DOUBLE_BANANA[: view.channels]
    elif view.kind == "mel_spectrogram":
        names = PAIRED
    shown = axes.imshow(
        image, origin="lower", aspect="auto", vmin=limits[0], vmax=limits[1],
        extent=(first, last, 0, len(names)),
    )  # fmt: skip
    if len(stretches) > 1:
        _mark_stretches(axes, stretches)
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8)
    axes.grid(visible=False)
    if view.kind == "waveform":
        axes.invert_yaxis()
    else:
        axes.hlines(range(1, len(names)), *axes.get_xlim(), color="white", lw=1)
    return shown


def _mark_stretches(axes: Axes, stretches: Sequence[tuple[float, float, float]]) -> None:
    """Separate parts of an image that have a time axis each, and label their middles."""
    shares = np.array([share for share, _, _ in stretches]) * len(stretches)
    edges = np.cumsum([0, *shares])
    axes.vlines(edges[1:-1], 0, 1, transform=axes.get_xaxis_transform(), color="white", lw=1)
    axes.set_xticks(
        edges[:-1] + shares / 2, [f"{first:g}–{last:g}" for _, first, last in stretches]
    )


@style.styled
def network_diagram(parts: Sequence[Sequence[tuple[str, str]]]) -> Figure:
    """Draw a network as boxes: a row per branch, and the head that joins them.

    ``parts`` is from `models.describe.network_parts`: a name and shapes for each box.
    """
    *branches, head = parts
    figure, axes = style.new_axes(0.4 + 1.2 * len(branches))
    columns = max(map(len, branches))
    middle = (len(branches) - 1) / 2
    arrow = {"arrowstyle": "-|>", "color": style.MUTED, "shrinkA": 0, "shrinkB": 0}
    for row, branch in enumerate([*branches, head]):
        x, y = (0, row) if row < len(branches) else (columns, middle)
        for column, (name, detail) in enumerate(branch, x):
            box = FancyBboxPatch((column - 0.36, y - 0.34), 0.72, 0.68, boxstyle="round,pad=0.02")
            axes.add_patch(box).set(facecolor=style.PALE, edgecolor=style.MUTED, linewidth=0.8)
            axes.text(column, y - 0.12, name, ha="center", va="center", weight="bold", fontsize=10)
            axes.text(column, y + 0.18, detail, ha="center", va="center", fontsize=9)
            last = column == x + len(branch) - 1
            end = (columns - 0.4, middle) if last else (column + 0.6, y)
            if row < len(branches):
                axes.annotate("", end, (column + 0.38, y), arrowprops=arrow)
    axes.set(xlim=(-0.5, columns + 0.5), ylim=(len(branches) - 0.45, -0.55))
    axes.set_axis_off()
    return figure


@style.styled
def learning_rate_curve(epochs: np.ndarray, rates: np.ndarray) -> Figure:
    """Draw learning rates against fractional epochs since the start, both of shape (n,)."""
    figure, axes = style.new_axes(2.8)
    axes.plot(epochs, rates, color=style.TRAIN_COLOR, marker="." if len(epochs) < 40 else "")
    axes.set(yscale="log", xlabel="Epochs since the start", ylabel="Learning rate")
    return figure


@style.styled
def training_curves(
    history: pd.DataFrame,
    prior: Mapping[str, float | None] | None = None,
    *,
    limits: tuple[float, float] | None = None,
    epochs: int | None = None,
) -> Figure:
    """Draw training loss and validation scores, one line per fold.

    A ring marks the best epoch of each fold; the dashed line is the constant prior (scores as of
    `metric.both_scores`); dotted lines separate stages.

    ``history`` has a row per fold and epoch: ``fold``, ``epoch`` (from 0, across stages), ``loss``,
    ``kl_all``, and ``kl_reliable`` (may be NaN) and ``stage`` if known. ``limits`` (of the vertical
    axes) and ``epochs`` (end of the horizontal ones) make several runs comparable.
    """
    history = history.sort_values("epoch")
    shown = [name for name in PANELS if name in history and history[name].notna().any()]
    stages = history.drop_duplicates("stage")["epoch"].iloc[1:] if "stage" in history else []
    figure = style.new_figure(3.8)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        _draw_folds(axes, history, name)
        for epoch in stages:
            axes.axvline(epoch + 0.5, color=style.MUTED, lw=1, ls=":", gid="stage")
        level = (prior or {}).get(name)
        if level is not None:
            axes.axhline(level, color=style.ACCENT, lw=1.3, ls="--", gid="prior")
            axes.text(
                1, level, f"prior {level:.2f}", color=style.ACCENT, fontsize=9, ha="right",
                va="bottom", transform=axes.get_yaxis_transform(),
            )  # fmt: skip
        axes.set_title(PANELS[name])
        axes.set(xlabel="Epoch", xlim=(0.5, (epochs or history["epoch"].max() + 1) + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panels[0].set(ylabel="KL divergence (nats)", ylim=limits)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=10)
    return figure


def _draw_folds(axes: Axes, history: pd.DataFrame, column: str) -> None:
    folds = history.dropna(subset=column).pivot(index="epoch", columns="fold", values=column)
    colors = colormaps["viridis"](np.linspace(0, 0.78, max(2, folds.shape[1])))
    for (fold, curve), color in zip(folds.items(), colors, strict=False):
        axes.plot(folds.index + 1, curve, color=color, marker=".", label=f"fold {fold:g}")
        axes.plot(curve.idxmin() + 1, curve.min(), "o", ms=9, mfc="none", mec=color, gid="best")


@style.styled
def setting_scores(
    names: Sequence[str],
    scores: Mapping[str, Sequence[float | None]],
    prior: Mapping[str, float | None],
    best: int | None = None,
) -> Figure:
    """Draw both scores of each setting as points, from the top; lower is better.

    ``scores`` holds ``kl_reliable`` and ``kl_all`` in the order of the names, nats, None if
    unknown; ``prior`` the same two of the constant prior, drawn as lines. The setting with the
    index ``best`` is highlighted.
    """
    figure, axes = style.new_axes(1.5 + 0.32 * len(names))
    places = np.arange(len(names))
    for score, color, marker, title in (
        ("kl_reliable", style.TRAIN_COLOR, "o", f"≥ {RELIABLE_VOTES} votes"),
        ("kl_all", style.MUTED, "D", "all votes"),
    ):
        values = np.array(scores[score], dtype=float)
        axes.plot(values, places, ls="", marker=marker, ms=7, color=color, label=title, gid=score)
        if prior.get(score) is not None:
            axes.axvline(prior[score], color=color, lw=1.2, ls="--", label=f"prior, {title}")
    if best is not None:
        axes.axhspan(best - 0.4, best + 0.4, color=style.HIGHLIGHT, lw=0, zorder=0, gid="best")
    axes.set_yticks(places, [style.shortened(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("KL divergence (nats), out of fold")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@style.styled
def importance_bars(importances: Mapping[str, float]) -> Figure:
    """Draw the share of the objective's variance explained by each parameter, largest first."""
    figure, axes = style.new_axes(1.0 + 0.35 * len(importances))
    axes.barh(list(importances), list(importances.values()), 0.6, color=style.TRAIN_COLOR)
    axes.set(xlim=(0, 1), xlabel="Share of the objective's variance")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    return figure
