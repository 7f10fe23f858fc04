"""Labelled windows: pages with spectrogram and EEG, and grids of small EEG pages."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.labels import vote_fractions
from hbac_utils.montage import CHAINS
from hbac_utils.plots.classes import add_panels, count_votes, draw_strip
from hbac_utils.plots.eeg import draw_eeg, eeg_page
from hbac_utils.plots.spectrogram import draw_spectrogram
from hbac_utils.plots.style import new_figure, styled

if TYPE_CHECKING:
    from hbac_utils.eda.examples import Window

EMPTY = "no such window in the data"


@styled
def window_page(
    window: "Window",
    probabilities: np.ndarray | None = None,
    seconds: tuple[float, float] = (15, 35),
) -> Figure:
    """Draw a window: ten minutes of spectrogram with the votes, and the EEG below.

    A window without spectrogram is drawn as `eeg_page`. ``seconds`` is the part of the EEG to
    show: by default the labelled 10 s and 5 s on either side.
    """
    eeg, spectrogram, votes, title = window
    if spectrogram is None:
        return eeg_page(eeg, votes, probabilities=probabilities, seconds=seconds, title=title)
    figure = new_figure(10.2, title)
    above, below = figure.subfigures(2, 1, height_ratios=(4.2, 6))
    draw_spectrogram(add_panels(above, votes, probabilities, rows=len(CHAINS)), spectrogram)
    draw_eeg(below.subplots(), eeg, seconds)
    return figure


def window_pages(
    windows: "Sequence[Window]", *, probabilities: np.ndarray | None = None, **options
) -> list[Figure]:
    """Draw a `window_page` of each window, with predictions, shape (≥ n, 6), in their order."""
    predictions = [None] * len(windows) if probabilities is None else probabilities
    return [window_page(*pair, **options) for pair in zip(windows, predictions, strict=False)]


def show_windows(windows: "Sequence[Window]", **options) -> None:
    """Display `window_pages` in a notebook."""
    show_pages(window_pages(windows, **options))


def show_pages(figures: Sequence[Figure]) -> None:
    """Display figures one below the other in a notebook, or print that there is none."""
    from IPython.display import display

    if figures:
        display(*figures)
    else:
        print(EMPTY)


@styled
def window_grid(windows: "Sequence[Window]", probabilities: np.ndarray | None = None) -> Figure:
    """Draw small EEG pages with letters A, B, …, and votes and predictions as bars above each.

    ``probabilities``, shape (n, 6), are predictions in the order of the windows.
    """
    rows = max(1, -(-len(windows) // 2))
    figure = new_figure(4.3 * rows)
    parts = figure.subfigures(rows, 2, squeeze=False, wspace=0.02, hspace=0.02).flat
    for i, (part, window) in enumerate(zip(parts, windows, strict=False)):
        strips = {}
        if window.votes is not None:
            strips[count_votes(window.votes.sum())] = vote_fractions(window.votes)
        if probabilities is not None:
            strips["predicted"] = probabilities[i]
        heights = [0.06] * len(strips) + [1]
        *bars, page = part.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for bar, (label, shares) in zip(bars, strips.items(), strict=True):
            draw_strip(bar, shares, label)
        draw_eeg(page, window.eeg, (17, 33))
        page.tick_params(axis="y", labelsize=8)
        page.set_xlabel("Time in the window (s)")
        part.suptitle(f"{ascii_uppercase[i]}  {window.title}", x=0.01, ha="left", fontsize=10)
    if not windows:
        figure.text(0.5, 0.5, EMPTY, ha="center", va="center")
    return figure
