"""A labelled window's two looks in one figure."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from hbac_utils.labels import vote_fractions
from hbac_utils.montage import CHAINS
from hbac_utils.plots.eeg import draw_eeg, eeg_page
from hbac_utils.plots.spectrogram import draw_spectrogram
from hbac_utils.plots.style import (
    new_figure,
    styled,
)
from hbac_utils.plots.votes import draw_strip, page_and_panel

if TYPE_CHECKING:  # it brings scipy.signal along, two seconds that drawing does not need
    from hbac_utils.eda.examples import Window


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
    """Draw ten minutes of spectrogram above the EEG page, the votes beside the spectrogram.

    Parameters
    ----------
    eeg : array, shape (n_times, 19), microvolts, 200 Hz
        As in `eeg_page`, like ``seconds`` and ``sensitivity``.
    spectrogram : array, shape (300, 400), natural logarithm of power, or None
        As in `spectrogram_page`; without one the page is that of the EEG alone.
    votes, probabilities : arrays, shape (6,), optional
        As in `eeg_page`.
    seconds : (start, stop)
        The part of the window to show; the default is the labelled 10 s and 5 s on each side.
    title : str
    sensitivity : float, optional

    Returns
    -------
    Figure
    """
    page = {"seconds": seconds, "sensitivity": sensitivity}
    if spectrogram is None:
        return eeg_page(eeg, votes, probabilities=probabilities, title=title, **page)
    figure = new_figure(10.2, title)
    above, below = figure.subfigures(2, 1, height_ratios=(4.2, 6))
    images, _ = page_and_panel(above, votes, probabilities, rows=len(CHAINS))
    draw_spectrogram(images, spectrogram)
    draw_eeg(below.subplots(), eeg, **page)
    return figure


def window_pages(
    windows: "Sequence[Window]", *, probabilities: np.ndarray | None = None, **options
) -> list[Figure]:
    """Draw several windows.

    Parameters
    ----------
    windows : sequence of Window
        As `data.examples.read_windows` gives them.
    probabilities : array, shape (n, 6), optional
        Predictions for the windows in their order; more than windows are no harm.
    **options
        Passed to `window_page`.

    Returns
    -------
    list of Figure
    """
    predictions = [None] * len(windows) if probabilities is None else probabilities
    return [
        window_page(
            window.eeg, window.spectrogram, window.votes,
            probabilities=prediction, title=window.title, **options,
        )
        for window, prediction in zip(windows, predictions, strict=False)
    ]  # fmt: skip


def show_pages(figures: Sequence[Figure]) -> None:
    """Show figures one below the other in a notebook, or say that there is none."""
    from IPython.display import display  # only a notebook has it for sure

    if figures:
        display(*figures)
    else:
        print("no such window in the data")


def show_windows(windows: "Sequence[Window]", **options) -> None:
    """Show window pages in a notebook; options as for `window_pages`."""
    show_pages(window_pages(windows, **options))


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
