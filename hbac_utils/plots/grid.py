"""Several windows side by side, to compare."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.labels import vote_fractions
from hbac_utils.plots.eeg import draw_eeg
from hbac_utils.plots.strips import draw_strip
from hbac_utils.plots.style import new_figure, styled

if TYPE_CHECKING:
    from hbac_utils.data.examples import Window

SECONDS = (17.0, 33.0)  # the labelled 10 s and a little on either side
COLUMNS = 2


@styled
def window_grid(windows: "Sequence[Window]", probabilities: np.ndarray | None = None) -> Figure:
    """Draw small EEG pages, lettered A, B, …, the votes and predictions as bars above each.

    Parameters
    ----------
    windows : sequence of Window
        As `data.examples` reads them.
    probabilities : array, shape (n, 6), optional
        A prediction for each window.

    Returns
    -------
    Figure
    """
    rows = max(1, -(-len(windows) // COLUMNS))
    figure = new_figure(4.3 * rows)
    parts = figure.subfigures(rows, COLUMNS, squeeze=False, wspace=0.02, hspace=0.02).flat
    for i, (part, window) in enumerate(zip(parts, windows, strict=False)):
        shares = {}
        if window.votes is not None:
            total = window.votes.sum()
            shares[f"{total} vote{'s' if total > 1 else ''}"] = vote_fractions(window.votes)
        if probabilities is not None:
            shares["predicted"] = probabilities[i]
        panels = part.subplots(len(shares) + 1, 1, height_ratios=[0.06] * len(shares) + [1])
        *strips, page = np.atleast_1d(panels)
        for strip, (label, values) in zip(strips, shares.items(), strict=True):
            draw_strip(strip, values, label)
        draw_eeg(page, window.eeg, seconds=SECONDS)
        page.tick_params(axis="y", labelsize=8)
        page.set_xlabel("Time in the window (s)")
        part.suptitle(f"{ascii_uppercase[i]}  {window.title}", x=0.01, ha="left", fontsize=10)
    if not windows:
        figure.text(0.5, 0.5, "no such window in the data", ha="center", va="center")
    return figure
