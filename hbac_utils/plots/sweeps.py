"""A sweep: the scores of its settings, the curves of each, what mattered."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.plots.style import ACCENT, MUTED, TRAIN_COLOR, bars_only, new_figure, styled

SCORES = {
    "kl_reliable": (TRAIN_COLOR, "o", f"≥ {RELIABLE_VOTES} votes"),
    "kl_all": (MUTED, "D", "all votes"),
}
"""Colour, mark and name of each score."""

LONGEST = 60  # letters of a setting's name beside its scores


@styled
def setting_scores(
    names: Sequence[str],
    scores: Mapping[str, Sequence[float | None]],
    prior: Mapping[str, float | None],
    best: int | None = None,
) -> Figure:
    """Draw both scores of each setting as dots on a line; lower is better.

    Parameters
    ----------
    names : sequence of str
        Of the settings, drawn from the top.
    scores : mapping
        ``kl_reliable`` and ``kl_all``, nats, each in the order of the names; None where there
        is none.
    prior : mapping
        The same two of the constant prior; drawn as lines.
    best : int, optional
        Position of the setting to be marked.

    Returns
    -------
    Figure
    """
    figure = new_figure(1.5 + 0.32 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))
    for score, (color, mark, title) in SCORES.items():
        values = np.array([np.nan if v is None else v for v in scores[score]], dtype=float)
        axes.plot(values, places, ls="", marker=mark, ms=7, color=color, label=title, gid=score)
        if prior.get(score) is not None:
            axes.axvline(prior[score], color=color, lw=1.2, ls="--", label=f"prior, {title}")
    axes.set_yticks(places, [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    if best is not None:
        axes.axhspan(best - 0.4, best + 0.4, color="#FFF3CC", lw=0, zorder=0, gid="best")
    axes.set_xlabel("KL divergence (nats), out of fold")
    bars_only(axes, "x")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@styled
def setting_curves(
    history: pd.DataFrame,
    prior: Mapping[str, float | None],
    limits: tuple[float, float] | None = None,
    epochs: int | None = None,
) -> Figure:
    """Draw a setting's training and validation curves side by side.

    Thin lines are folds, the thick one is their mean.

    Parameters
    ----------
    history : DataFrame
        A row per fold and epoch: ``fold``, ``epoch`` (from 0), ``loss``, ``kl_all``,
        ``kl_reliable`` (may be NaN), nats.
    prior : mapping
        ``kl_all`` and ``kl_reliable`` of the constant prior.
    limits : tuple of float, optional
        Of the vertical axes; the same for all settings, they can be compared.
    epochs : int, optional
        Likewise, where the horizontal axes end.

    Returns
    -------
    Figure
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


@styled
def importance_bars(importances: Mapping[str, float]) -> Figure:
    """Draw how much of a search's variance each key explains.

    Parameters
    ----------
    importances : mapping from key to share
        The greatest first.

    Returns
    -------
    Figure
    """
    figure = new_figure(1.0 + 0.35 * len(importances))
    axes = figure.subplots()
    places = np.arange(len(importances))
    axes.barh(places, list(importances.values()), 0.6, color=TRAIN_COLOR)
    axes.set_yticks(places, [_short(key) for key in importances])
    axes.set_ylim(len(importances) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Share of the objective's variance")
    bars_only(axes, "x")
    return figure


def _draw_folds(axes, history: pd.DataFrame, column: str, color: str, label: str) -> None:
    rows = history.dropna(subset=column)
    if rows.empty:
        return
    folds = list(rows.groupby("fold"))
    for _, fold in folds:
        only = len(folds) == 1
        axes.plot(
            fold["epoch"] + 1, fold[column], color=color, lw=1.8 if only else 0.7, marker=".",
            ms=5 if only else 2, alpha=1 if only else 0.6, label=label if only else None,
        )  # fmt: skip
    if len(folds) > 1:
        mean = rows.groupby("epoch")[column].mean()
        axes.plot(mean.index + 1, mean, color=color, lw=1.8, label=label)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
