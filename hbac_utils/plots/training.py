"""A run as it goes: its learning rate, its curves."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.plots.style import (
    ACCENT,
    MUTED,
    TRAIN_COLOR,
    new_figure,
    styled,
)

FOLD_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))

PANELS = {
    "loss": "Training loss",
    "kl_all": "Validation, all votes",
    "kl_reliable": f"Validation, ≥ {RELIABLE_VOTES} votes",
}
"""The history's columns that are drawn, left to right."""


@styled
def learning_rate_curve(epochs: np.ndarray, rates: np.ndarray) -> Figure:
    """Draw the learning rate over a run.

    Parameters
    ----------
    epochs : array, shape (n,)
        Epochs since the start; fractions are steps within an epoch.
    rates : array, shape (n,)
        Learning rates, above zero.

    Returns
    -------
    Figure
    """
    figure = new_figure(2.8)
    axes = figure.subplots()
    axes.plot(
        epochs, rates, color=TRAIN_COLOR, marker="." if len(np.atleast_1d(epochs)) < 40 else ""
    )
    axes.set(yscale="log", xlabel="Epochs since the start", ylabel="Learning rate")
    return figure


@styled
def training_curves(
    history: pd.DataFrame, prior: Mapping[str, float | None] | None = None
) -> Figure:
    """Draw training loss and validation scores side by side, a line per fold.

    A ring marks each fold's lowest point, a dashed line what the constant prior scores, a dotted
    one where a new stage begins.

    Parameters
    ----------
    history : DataFrame
        A row per fold and epoch: ``fold``, ``epoch`` (from 0, across stages), ``stage``,
        ``loss``, ``kl_all``, ``kl_reliable`` (may be NaN or absent). Other columns are ignored.
    prior : mapping, optional
        ``kl_all`` and ``kl_reliable`` of the constant prior, as `metric.both_scores` gives them.

    Returns
    -------
    Figure
    """
    shown = [name for name in PANELS if name in history and history[name].notna().any()]
    figure = new_figure(3.8)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, shown, strict=True):
        _draw_folds(axes, history, name)
        _mark_stages(axes, history)
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
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=10)
    return figure


def _draw_folds(axes: Axes, history: pd.DataFrame, column: str) -> None:
    folds = list(history.groupby("fold"))
    colours = colormaps["viridis"](np.linspace(0, 0.78, max(2, len(folds))))
    for i, (fold, rows) in enumerate(folds):
        rows = rows.sort_values("epoch").dropna(subset=column)
        if rows.empty:
            continue
        epochs, values = rows["epoch"] + 1, rows[column]
        axes.plot(
            epochs, values, color=colours[i], ls=FOLD_DASHES[i % len(FOLD_DASHES)], marker=".",
            ms=5, lw=1.5, label=f"fold {fold}",
        )  # fmt: skip
        best = np.argmin(values)
        axes.plot(
            epochs.iloc[best], values.iloc[best], "o", ms=9, mfc="none", mec=colours[i], gid="best"
        )


def _mark_stages(axes: Axes, history: pd.DataFrame) -> None:
    first = history.groupby("stage", sort=False)["epoch"].min().sort_values().iloc[1:]
    for epoch in first:
        axes.axvline(epoch + 0.5, color=MUTED, lw=1, ls=":", gid="stage")
