"""Labelled windows: pages with spectrogram and EEG, and grids of small EEG pages."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.labels import vote_fractions
from hbac_utils.montage import CHAINS
from hbac_utils.plots.classes import add_panels, draw_strip
from hbac_utils.plots.eeg import draw_eeg, eeg_page
from hbac_utils.plots.spectrogram import draw_spectrogram
from hbac_utils.plots.style import new_figure, styled

if TYPE_CHECKING:
    from hbac_utils.eda.examples import Window

GRID_SECONDS = (17.0, 33.0)
GRID_COLUMNS = 2
EMPTY = "no such window in the data"


@styled
def window_page(
    eeg: np.ndarray,
    spectrogram: np.ndarray | None,
    votes: np.ndarray | None = None,
    *,
    probabilities: np.ndarray | None = None,
    seconds: tuple[float, float] = (15, 35),
    title: str = "",
    sensitivity: float | None = None,
) -> Figure:
    """Draw a window: ten minutes of spectrogram with the votes, and the EEG below.

    Parameters
    ----------
    eeg : array, shape (n_times, 19), microvolts, 200 Hz
        See `eeg_page`.
    spectrogram : array, shape (300, 400), natural logarithm of power, or None
        See `spectrogram_page`; None leaves it out.
    votes, probabilities : arrays, shape (6,), optional
        See `eeg_page`.
    seconds : (start, stop)
        Part of the EEG to show (default: the labelled 10 s and 5 s on either side).
    sensitivity : float, optional
        Microvolts per row.
    """
    page: dict[str, Any] = {"seconds": seconds, "sensitivity": sensitivity}
    if spectrogram is None:
        return eeg_page(eeg, votes, probabilities=probabilities, title=title, **page)
    figure = new_figure(10.2, title)
    above, below = figure.subfigures(2, 1, height_ratios=(4.2, 6))
    draw_spectrogram(add_panels(above, votes, probabilities, rows=len(CHAINS)), spectrogram)
    draw_eeg(below.subplots(), eeg, **page)
    return figure


def window_pages(
    windows: "Sequence[Window]", *, probabilities: np.ndarray | None = None, **options
) -> list[Figure]:
    """Draw a `window_page` of each window.

    Parameters
    ----------
    windows : sequence of Window
        See `eda.examples.read_windows`.
    probabilities : array, shape (≥ n, 6), optional
        Predictions in the order of the windows.
    **options
        Passed to `window_page`.
    """
    predictions = [None] * len(windows) if probabilities is None else probabilities
    return [
        window_page(
            window.eeg, window.spectrogram, window.votes,
            probabilities=prediction, title=window.title, **options,
        )
        for window, prediction in zip(windows, predictions, strict=False)
    ]  # fmt: skip


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

    Parameters
    ----------
    windows : sequence of Window
        See `eda.examples.read_windows`.
    probabilities : array, shape (n, 6), optional
        Predictions in the order of the windows.
    """
    rows = max(1, -(-len(windows) // GRID_COLUMNS))
    figure = new_figure(4.3 * rows)
    parts = figure.subfigures(rows, GRID_COLUMNS, squeeze=False, wspace=0.02, hspace=0.02).flat
    for i, (part, window) in enumerate(zip(parts, windows, strict=False)):
        strips = {}
        if window.votes is not None:
            total = window.votes.sum()
            strips[f"{total} vote{'s' if total > 1 else ''}"] = vote_fractions(window.votes)
        if probabilities is not None:
            strips["predicted"] = probabilities[i]
        heights = [0.06] * len(strips) + [1]
        *bars, page = part.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for bar, (label, shares) in zip(bars, strips.items(), strict=True):
            draw_strip(bar, shares, label)
        draw_eeg(page, window.eeg, seconds=GRID_SECONDS)
        page.tick_params(axis="y", labelsize=8)
        page.set_xlabel("Time in the window (s)")
        part.suptitle(f"{ascii_uppercase[i]}  {window.title}", x=0.01, ha="left", fontsize=10)
    if not windows:
        figure.text(0.5, 0.5, EMPTY, ha="center", va="center")
    return figure
