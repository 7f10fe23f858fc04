"""EEG as its readers know it: the longitudinal bipolar page ("double banana")."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.montage import (
    CHAINS,
    DOUBLE_BANANA,
    ELECTRODES,
    LEFT,
    MIDLINE,
    RIGHT,
    derivation_matrix,
)
from hbac_utils.plots.style import INK, MUTED, SEGMENT_COLOR, new_figure, styled
from hbac_utils.plots.votes import page_and_panel

SEGMENT = ((WINDOW_SECONDS - SEGMENT_SECONDS) / 2, (WINDOW_SECONDS + SEGMENT_SECONDS) / 2)
"""Where the labelled segment lies in a window: 20 to 30 s."""

LEFT_INK, RIGHT_INK = "#1F4E79", "#8A1C2B"
SENSITIVITIES = (10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 2000)  # µV a row
FILL = 0.7  # of a row that an ordinary trace's amplitude takes
CLOSE_UP = 20  # seconds; longer pages have finer traces and fewer ticks
CHAIN_GAP = 0.8  # rows of paper left free between two chains
CLIP_ROWS = 2.0  # a trace may leave its row by this much before it is cut


@styled
def eeg_page(
    eeg: np.ndarray,
    votes: np.ndarray | None = None,
    *,
    probabilities: np.ndarray | None = None,
    seconds: tuple[float, float] = (0, WINDOW_SECONDS),
    title: str = "",
    sensitivity: float | None = None,
) -> Figure:
    """Draw a clinical page: the double banana, negative up, the votes beside it.

    The labelled 10 s are shaded. Each trace's median over the page is taken off; filtering is
    the caller's.

    Parameters
    ----------
    eeg : array, shape (n_times, 19), microvolts, 200 Hz, referential
        Columns in the order of `montage.ELECTRODES`; NaN leaves a gap in the trace.
    votes : array, shape (6,), optional
        Counts or fractions; without votes and probabilities the page has the whole width.
    probabilities : array, shape (6,), optional
        A prediction, drawn beneath the votes.
    seconds : (start, stop)
        The part of the window to show.
    title : str
    sensitivity : float, optional
        Microvolts from one trace to the next; found from the data where not given.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If ``eeg`` has not 19 columns, or ``seconds`` names nothing of it.
    """
    figure = new_figure(6.6, title)
    (page,), _ = page_and_panel(figure, votes, probabilities)
    draw_eeg(page, eeg, seconds=seconds, sensitivity=sensitivity)
    return figure


def draw_eeg(
    axes: Axes,
    eeg: np.ndarray,
    *,
    seconds: tuple[float, float] = (0, WINDOW_SECONDS),
    sensitivity: float | None = None,
) -> None:
    """Draw the 18 derivations of the double banana into an axes; see `eeg_page`."""
    eeg = np.asarray(eeg, dtype=np.float32)
    if eeg.ndim != 2 or eeg.shape[1] != len(ELECTRODES):
        raise ValueError(f"eeg has shape {eeg.shape}, not (n_times, {len(ELECTRODES)})")
    first, last = (round(second * SAMPLING_RATE) for second in seconds)
    times = np.arange(len(eeg))[first:last] / SAMPLING_RATE
    if not len(times):
        raise ValueError(f"no EEG from {seconds[0]} to {seconds[1]} s: it has {len(eeg)} samples")
    traces = centred_traces(eeg[first:last])
    sensitivity = sensitivity or auto_sensitivity(traces)
    _mark_segment(axes, seconds)
    draw_traces(axes, times, traces, sensitivity, f"{sensitivity:g} µV")
    axes.set_xlim(seconds)
    axes.set_xlabel("Time in the window (s); the labelled 10 s shaded; negative is up")


def draw_traces(
    axes: Axes, times: np.ndarray, traces: np.ndarray, sensitivity: float, measure: str
) -> None:
    """Draw the derivations of the double banana, one above the other.

    Parameters
    ----------
    axes : Axes
    times : array, shape (n_times,), seconds
    traces : array, shape (n_times, 18)
    sensitivity : float
        What fills a row, in the traces' unit.
    measure : str
        What the bar of one row's height says.
    """
    rows = trace_rows()
    width = 0.7 if np.ptp(times) <= CLOSE_UP else 0.5
    for trace, row, name in zip(traces.T, rows, DOUBLE_BANANA, strict=True):
        # the axis points down, so a negative voltage goes up, as clinicians have it
        shown = row + np.clip(trace / sensitivity, -CLIP_ROWS, CLIP_ROWS)
        axes.plot(times, shown, color=_side_ink(name), lw=width, gid=name)
        if np.isnan(trace).all():
            axes.text(times.mean(), row, "no signal", color=MUTED, ha="center", va="center")
    _page_axes(axes, rows, np.ptp(times))
    _sensitivity_bar(axes, measure, rows[-1])


def centred_traces(eeg: np.ndarray) -> np.ndarray:
    """Turn a referential EEG into the double banana, each trace with median zero.

    Parameters
    ----------
    eeg : array, shape (n_times, 19), microvolts

    Returns
    -------
    array of float32, shape (n_times, 18), microvolts
        NaN where either electrode has it.
    """
    matrix = derivation_matrix(DOUBLE_BANANA)
    missing = np.isnan(eeg)
    # in a matrix product NaN × 0 is NaN: one absent electrode would blank every derivation
    traces = np.where(missing, 0, eeg) @ matrix
    traces[missing.astype(np.float32) @ np.abs(matrix) > 0] = np.nan
    present = ~np.isnan(traces).all(axis=0)
    traces[:, present] -= np.nanmedian(traces[:, present], axis=0)
    return traces


def auto_sensitivity(traces: np.ndarray) -> float:
    """Choose microvolts per row so that an `ordinary_amplitude` fills its row.

    Parameters
    ----------
    traces : array, shape (n_times, n_traces), microvolts, median zero

    Returns
    -------
    float, microvolts, one of `SENSITIVITIES`
    """
    amplitude = ordinary_amplitude(traces)
    if amplitude is None:
        return 100.0
    amplitude /= FILL
    index = np.searchsorted(SENSITIVITIES, amplitude)
    return float(SENSITIVITIES[min(index, len(SENSITIVITIES) - 1)])


def ordinary_amplitude(traces: np.ndarray) -> float | None:
    """Find the median over traces of each one's 98th percentile of amplitude.

    One loose electrode, or a second of chewing, does not flatten the rest of a page.

    Parameters
    ----------
    traces : array, shape (n_times, n_traces), median zero, may hold NaN

    Returns
    -------
    float or None
        None where nothing is finite.
    """
    present = traces[:, np.isfinite(traces).any(axis=0)]
    if not present.size:
        return None
    return float(np.median(np.nanpercentile(np.abs(present), 98, axis=0)))


def trace_rows() -> np.ndarray:
    """Place the 18 traces from the top: one row apart, a gap between chains.

    Returns
    -------
    array of float64, shape (18,), rows
    """
    lengths = [len(chain) for chain in (*CHAINS.values(), MIDLINE)]
    chain = np.repeat(np.arange(len(lengths)), lengths)
    return np.arange(len(DOUBLE_BANANA)) + CHAIN_GAP * chain


def _side_ink(derivation: str) -> str:
    return LEFT_INK if derivation in LEFT else RIGHT_INK if derivation in RIGHT else INK


def _mark_segment(axes: Axes, seconds: tuple[float, float]) -> None:
    start, stop = max(SEGMENT[0], seconds[0]), min(SEGMENT[1], seconds[1])
    if start < stop:
        axes.axvspan(start, stop, facecolor=SEGMENT_COLOR, edgecolor="none", gid="segment")


def _page_axes(axes: Axes, rows: np.ndarray, seconds: float) -> None:
    axes.margins(x=0)
    axes.set_ylim(rows[-1] + 1.2, rows[0] - 1.2)
    axes.set_yticks(rows, DOUBLE_BANANA)
    for label, name in zip(axes.get_yticklabels(), DOUBLE_BANANA, strict=True):
        label.set_color(_side_ink(name))
    axes.xaxis.set_major_locator(MultipleLocator(1 if seconds <= CLOSE_UP else 5))
    axes.xaxis.set_minor_locator(MultipleLocator(1))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _sensitivity_bar(axes: Axes, measure: str, lowest: float) -> None:
    """Draw a bar one row high at the right edge and write what it measures."""
    across_axes = axes.get_yaxis_transform()
    axes.plot(
        [1.008, 1.008], [lowest - 1, lowest], transform=across_axes, color=INK, lw=2.2,
        clip_on=False, solid_capstyle="butt", gid="sensitivity",
    )  # fmt: skip
    axes.text(1.016, lowest - 0.5, measure, transform=across_axes, va="center", fontsize=9)
