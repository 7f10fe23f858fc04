"""Results of a sweep: scores and curves of the settings, importance of the parameters."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.plots.style import (
    ACCENT,
    HIGHLIGHT,
    MUTED,
    TRAIN_COLOR,
    new_figure,
    styled,
    value_grid,
)

SCORES = {  # colour, marker, name
    "kl_reliable": (TRAIN_COLOR, "o", f"≥ {RELIABLE_VOTES} votes"),
    "kl_all": (MUTED, "D", "all votes"),
}
MAX_NAME = 60  # characters of a setting's name


@styled
def setting_scores(
    names: Sequence[str],
    scores: Mapping[str, Sequence[float | None]],
    prior: Mapping[str, float | None],
    best: int | None = None,
) -> Figure:
    """Draw both scores of each setting as points; lower is better.

    Parameters
    ----------
    names : sequence of str
        Settings, drawn from the top.
    scores : mapping
        ``kl_reliable`` and ``kl_all`` in the order of the names, nats; None if unknown.
    prior : mapping
        The same two scores of the constant prior, drawn as lines.
    best : int, optional
        Index of the setting to highlight.
    """
    figure = new_figure(1.5 + 0.32 * len(names))
    axes = figure.subplots()
    for score, (color, marker, title) in SCORES.items():
        values = np.array(scores[score], dtype=float)
        places = np.arange(len(names))
        axes.plot(values, places, ls="", marker=marker, ms=7, color=color, label=title, gid=score)
        if prior.get(score) is not None:
            axes.axvline(prior[score], color=color, lw=1.2, ls="--", label=f"prior, {title}")
    if best is not None:
        axes.axhspan(best - 0.4, best + 0.4, color=HIGHLIGHT, lw=0, zorder=0, gid="best")
    _name_rows(axes, names)
    axes.set_xlabel("KL divergence (nats), out of fold")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@styled
def importance_bars(importances: Mapping[str, float]) -> Figure:
    """Draw the share of the objective's variance explained by each parameter, largest first."""
    figure = new_figure(1.0 + 0.35 * len(importances))
    axes = figure.subplots()
    axes.barh(np.arange(len(importances)), list(importances.values()), 0.6, color=TRAIN_COLOR)
    _name_rows(axes, list(importances))
    axes.set_xlim(0, 1)
    axes.set_xlabel("Share of the objective's variance")
    return figure


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    short = [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…" for name in names]
    axes.set_yticks(np.arange(len(names)), short)
    axes.set_ylim(len(names) - 0.5, -0.5)
    value_grid(axes, "x")


@styled
def setting_curves(
    history: pd.DataFrame,
    prior: Mapping[str, float | None],
    limits: tuple[float, float] | None = None,
    epochs: int | None = None,
) -> Figure:
    """Draw training and validation curves of one setting: folds thin, their mean thick.

    Parameters
    ----------
    history : DataFrame
        One row per fold and epoch: ``fold``, ``epoch`` (from 0), ``loss``, ``kl_all``,
        ``kl_reliable`` (may be NaN), nats.
    prior : mapping
        ``kl_all`` and ``kl_reliable`` of the constant prior.
    limits : tuple of float, optional
        Range of the vertical axes, to compare settings.
    epochs : int, optional
        End of the horizontal axes, to compare settings.
    """
    figure = new_figure(3.1)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_folds(left, history, "loss", ACCENT, "training loss")
    for score, (color, _, title) in SCORES.items():
        _draw_folds(right, history, score, color, title)
        if prior.get(score) is not None:
            right.axhline(prior[score], color=color, lw=1, ls="--")
    for axes, title in ((left, "Training"), (right, "Validation (dashed: prior)")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("Epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, (epochs or history["epoch"].max() + 1) + 0.5)
    left.set_ylabel("KL divergence (nats)")
    if limits:
        left.set_ylim(limits)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def _draw_folds(axes: Axes, history: pd.DataFrame, column: str, color: str, label: str) -> None:
    curves = history.pivot(index="epoch", columns="fold", values=column).dropna(how="all")
    if curves.empty:
        return
    if curves.shape[1] > 1:
        axes.plot(curves.index + 1, curves, color=color, lw=0.7, marker=".", ms=2, alpha=0.6)
    axes.plot(
        curves.index + 1,
        curves.mean(axis=1),
        color=color,
        lw=1.8,
        label=label,
        marker="." if curves.shape[1] == 1 else "",
        ms=5,
    )
