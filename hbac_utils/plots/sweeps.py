"""Results of a sweep: scores of the settings, importance of the parameters."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.plots.style import HIGHLIGHT, MUTED, TRAIN_COLOR, new_figure, styled


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
    places = np.arange(len(names))
    for score, color, marker, title in (
        ("kl_reliable", TRAIN_COLOR, "o", f"≥ {RELIABLE_VOTES} votes"),
        ("kl_all", MUTED, "D", "all votes"),
    ):
        values = np.array(scores[score], dtype=float)
        axes.plot(values, places, ls="", marker=marker, ms=7, color=color, label=title, gid=score)
        if prior.get(score) is not None:
            axes.axvline(prior[score], color=color, lw=1.2, ls="--", label=f"prior, {title}")
    if best is not None:
        axes.axhspan(best - 0.4, best + 0.4, color=HIGHLIGHT, lw=0, zorder=0, gid="best")
    axes.set_yticks(places, [name if len(name) <= 60 else f"{name[:59]}…" for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("KL divergence (nats), out of fold")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@styled
def importance_bars(importances: Mapping[str, float]) -> Figure:
    """Draw the share of the objective's variance explained by each parameter, largest first."""
    figure = new_figure(1.0 + 0.35 * len(importances))
    axes = figure.subplots()
    axes.barh(list(importances), list(importances.values()), 0.6, color=TRAIN_COLOR)
    axes.set(xlim=(0, 1), xlabel="Share of the objective's variance")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    return figure
