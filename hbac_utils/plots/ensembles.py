"""An ensemble: how alike its members err, and what each adds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.plots.style import MUTED, TRAIN_COLOR, bars_only, ink_on, new_figure, styled

WRITTEN = 16  # members up to which numbers are written into the map


@styled
def error_correlation(names: Sequence[str], correlation: np.ndarray) -> Figure:
    """Draw how the members' errors go together.

    Parameters
    ----------
    names : sequence of str
    correlation : array, shape (members, members)
        Of prediction minus vote fraction over all windows and classes.

    Returns
    -------
    Figure
    """
    figure = new_figure(1.8 + 0.45 * min(len(names), WRITTEN))
    axes = figure.subplots()
    lowest = float(np.floor(10 * correlation.min()) / 10)  # members are much alike
    image = axes.imshow(correlation, vmin=lowest, vmax=1, aspect="auto", cmap="viridis")
    places = np.arange(len(names))
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, names)
    axes.grid(visible=False)
    if len(names) <= WRITTEN:
        for (row, column), value in np.ndenumerate(correlation):
            color = ink_on(image.cmap(image.norm(value)))
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, size=9)
    figure.colorbar(image, label="correlation of errors")
    return figure


@styled
def member_weights(
    names: Sequence[str], weights: np.ndarray, scores: np.ndarray, added: np.ndarray
) -> Figure:
    """Draw each member's weight, its own score, and what the blend would lose without it.

    Parameters
    ----------
    names : sequence of str
        Drawn from the top.
    weights, scores, added : arrays, shape (members,)
        Of the linear pool; KL divergence alone, nats; how much higher the pool's would be.

    Returns
    -------
    Figure
    """
    figure = new_figure(1.5 + 0.3 * len(names))
    panels = figure.subplots(1, 3, sharey=True)
    titles = ("weight in the blend", "KL alone (nats)", "KL without it, more (nats)")
    places = np.arange(len(names))
    for axes, values, title, color in zip(
        panels, (weights, scores, added), titles, (TRAIN_COLOR, MUTED, TRAIN_COLOR), strict=True
    ):
        axes.barh(places, values, color=color, height=0.7)
        axes.set_xlabel(title)
        bars_only(axes, "x")
    panels[0].set_yticks(places, names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    return figure
