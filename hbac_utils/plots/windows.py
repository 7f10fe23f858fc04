"""Labelled windows: EEG in the longitudinal bipolar montage, spectrogram, votes."""

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.labels import vote_fractions
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, ELECTRODES, LEFT, RIGHT, derivation_matrix
from hbac_utils.plots import style
from hbac_utils.plots.spectrogram import draw_spectrogram
from hbac_utils.utils.interactive import prints_errors

if TYPE_CHECKING:
    from hbac_utils.eda.examples import Window

LEFT_COLOR, RIGHT_COLOR = "#1F4E79", "#8A1C2B"  # of the traces of the hemispheres
EMPTY = "no such window in the data"
ROWS = np.arange(len(DOUBLE_BANANA)) + 0.8 * (np.arange(len(DOUBLE_BANANA)) // 4)
"""Vertical positions of the 18 traces, with gaps between the chains of four."""


@style.styled
def eeg_page(
    eeg: np.ndarray,
    votes: np.ndarray | None = None,
    *,
    probabilities: np.ndarray | None = None,
    seconds: tuple[float, float] = (0, WINDOW_SECONDS),
    title: str = "",
) -> Figure:
    """Draw EEG as a clinical page, negative up, with the votes at the right.

    The labelled 10 s are shaded. The median of each trace is subtracted; the EEG is not filtered.

    Parameters
    ----------
    eeg : array, shape (n_times, 19), microvolts, 200 Hz, referential
        Columns as `montage.ELECTRODES`; NaN leaves a gap.
    votes, probabilities : arrays, shape (6,), optional
        Counts or fractions, and the prediction, drawn beneath them.
    seconds : (start, stop)
        Part of the window to show.

    Raises ValueError if ``eeg`` does not have 19 columns, or no samples within ``seconds``.
    """
    figure = style.new_figure(6.6, title)
    (page,) = style.add_panels(figure, votes, probabilities)
    draw_eeg(page, eeg, seconds)
    return figure


def draw_eeg(axes: Axes, eeg: np.ndarray, seconds: tuple[float, float]) -> None:
    """Draw the 18 derivations into one axes; see `eeg_page`."""
    if eeg.ndim != 2 or eeg.shape[1] != len(ELECTRODES):
        raise ValueError(f"eeg has shape {eeg.shape}, not (n_times, {len(ELECTRODES)})")
    first, last = (round(second * SAMPLING_RATE) for second in seconds)
    times = np.arange(len(eeg))[first:last] / SAMPLING_RATE
    if not len(times):
        raise ValueError(f"no EEG from {seconds[0]} to {seconds[1]} s: it has {len(eeg)} samples")
    middle = WINDOW_SECONDS / 2
    segment = middle - SEGMENT_SECONDS / 2, middle + SEGMENT_SECONDS / 2
    axes.axvspan(*segment, facecolor=style.HIGHLIGHT, edgecolor="none", gid="segment")
    traces = bipolar_traces(eeg[first:last])
    sensitivity = float(f"{row_height(traces):.0e}")  # one significant digit
    draw_traces(axes, times, traces, sensitivity, f"{sensitivity:g} µV")
    axes.set_xlim(seconds)
    axes.set_xlabel("Time in the window (s); labelled 10 s shaded; negative is up")


def draw_traces(
    axes: Axes, times: np.ndarray, traces: np.ndarray, sensitivity: float, scale: str
) -> None:
    """Draw the derivations of the double banana, shape (n_times, 18), one row each.

    ``sensitivity`` is the height of a row in the unit of the traces, ``scale`` the text of the
    scale bar, which is one row high. High waves reach into other rows: they are not cut off.
    """
    is_short = np.ptp(times) <= 20
    axes.set_yticks(ROWS, DOUBLE_BANANA)
    rows = ROWS + traces / sensitivity  # the axis points down, so negative voltages point up
    for trace, row, tick in zip(rows.T, ROWS, axes.get_yticklabels(), strict=True):
        name = tick.get_text()
        color = LEFT_COLOR if name in LEFT else RIGHT_COLOR if name in RIGHT else style.INK
        tick.set_color(color)
        axes.plot(times, trace, color=color, lw=0.7 if is_short else 0.5, gid=name)
        if np.isnan(trace).all():
            axes.text(times.mean(), row, "no signal", color=style.MUTED, ha="center", va="center")
    axes.margins(x=0)
    # room for high waves of the outer rows
    highest, lowest = (f(rows[np.isfinite(rows)], initial=0) for f in (np.min, np.max))
    axes.set_ylim(np.clip(lowest, ROWS[-1] + 1.2, ROWS[-1] + 3), np.clip(highest, -3, -1.2))
    axes.xaxis.set_major_locator(MultipleLocator(1 if is_short else 5))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    right_edge = axes.get_yaxis_transform()
    axes.plot(
        [1.008, 1.008], ROWS[-1] - [1, 0], transform=right_edge, color=style.INK, lw=2.2,
        clip_on=False, solid_capstyle="butt", gid="sensitivity",
    )  # fmt: skip
    axes.text(1.016, ROWS[-1] - 0.5, scale, transform=right_edge, va="center", fontsize=9)


def bipolar_traces(eeg: np.ndarray) -> np.ndarray:
    """Derive the double banana from a referential EEG and subtract each trace's median.

    ``eeg`` has shape (n_times, 19), the result (n_times, 18), both microvolts. It is NaN where
    either electrode is NaN.
    """
    matrix = derivation_matrix(DOUBLE_BANANA)
    missing = np.isnan(eeg)
    # NaN × 0 is NaN: one missing electrode would blank every derivation
    traces = np.where(missing, 0, eeg) @ matrix
    traces[missing.astype(np.float32) @ np.abs(matrix) > 0] = np.nan
    present = ~np.isnan(traces).all(axis=0)
    traces[:, present] -= np.nanmedian(traces[:, present], axis=0)
    return traces


def row_height(traces: np.ndarray) -> float:
    """Choose the amplitude that a row stands for, in the unit of the traces, (n_times, n_traces).

    The typical trace fills 0.7 of its row, and high traces reach 1.5 rows. Robust against short
    artifacts, as the 98th percentile of a trace counts, and against a loose electrode, which is in
    at most four derivations. 1.0 if there is no signal.
    """
    present = traces[:, np.isfinite(traces).any(axis=0)]
    if not present.size:
        return 1.0
    levels = np.sort(np.nanpercentile(np.abs(present), 98, axis=0))
    high = levels[max(0, len(levels) - 5)]
    return float(max(np.median(levels) / 0.7, high / 1.5)) or 1.0


@style.styled
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
    figure = style.new_figure(10.2, title)
    above, below = figure.subfigures(2, 1, height_ratios=(4.2, 6))
    draw_spectrogram(style.add_panels(above, votes, probabilities, rows=len(CHAINS)), spectrogram)
    draw_eeg(below.subplots(), eeg, seconds)
    return figure


def window_pages(
    windows: "Sequence[Window]", *, probabilities: np.ndarray | None = None, **options
) -> list[Figure]:
    """Draw a `window_page` of each window, with predictions, shape (≥ n, 6), in their order."""
    predictions = [None] * len(windows) if probabilities is None else probabilities
    return [window_page(*pair, **options) for pair in zip(windows, predictions, strict=False)]


@prints_errors
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


@style.styled
def window_grid(windows: "Sequence[Window]", probabilities: np.ndarray | None = None) -> Figure:
    """Draw small EEG pages with letters A, B, …, and votes and predictions as bars above each.

    ``probabilities``, shape (n, 6), are predictions in the order of the windows.
    """
    if not windows:
        return style.blank(EMPTY)
    rows = -(-len(windows) // 2)
    figure = style.new_figure(4.3 * rows)
    parts = figure.subfigures(rows, 2, squeeze=False, wspace=0.02, hspace=0.02).flat
    for i, (part, window) in enumerate(zip(parts, windows, strict=False)):
        strips = {}
        if window.votes is not None:
            strips[style.count_votes(window.votes.sum())] = vote_fractions(window.votes)
        if probabilities is not None:
            strips["predicted"] = probabilities[i]
        heights = [0.06] * len(strips) + [1]
        *bars, page = part.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for bar, (label, shares) in zip(bars, strips.items(), strict=True):
            style.draw_strip(bar, shares, label)
        draw_eeg(page, window.eeg, (17, 33))
        page.tick_params(axis="y", labelsize=8)
        page.set_xlabel("Time in the window (s)")
        part.suptitle(f"{ascii_uppercase[i]}  {window.title}", x=0.01, ha="left", fontsize=10)
    return figure
