"""EEG in the longitudinal bipolar montage ("double banana")."""

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
from hbac_utils.plots.classes import add_panels
from hbac_utils.plots.style import HIGHLIGHT, INK, MUTED, new_figure, styled

SEGMENT = ((WINDOW_SECONDS - SEGMENT_SECONDS) / 2, (WINDOW_SECONDS + SEGMENT_SECONDS) / 2)
"""The labelled segment in a window: 20 to 30 s."""

LEFT_INK, RIGHT_INK = "#1F4E79", "#8A1C2B"
SENSITIVITIES = (10, 15, 20, 30, 50, 70, 100, 150, 200, 300, 500, 700, 1000, 2000)  # µV per row
FILL = 0.7  # part of its row that a typical trace fills
SHORT_PAGE = 20  # seconds; longer pages have thinner traces and fewer ticks
CHAIN_GAP = 0.8  # empty rows between two chains
CLIP_ROWS = 2.0  # rows by which a trace may leave its own row


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
    """Draw EEG as a clinical page, negative up, with the votes at the right.

    The labelled 10 s are shaded. The median of each trace is subtracted; the EEG is not
    filtered.

    Parameters
    ----------
    eeg : array, shape (n_times, 19), microvolts, 200 Hz, referential
        Columns as `montage.ELECTRODES`; NaN leaves a gap.
    votes : array, shape (6,), optional
        Counts or fractions.
    probabilities : array, shape (6,), optional
        Prediction, drawn beneath the votes.
    seconds : (start, stop)
        Part of the window to show.
    sensitivity : float, optional
        Microvolts per row (default: chosen from the data).

    Raises
    ------
    ValueError
        If ``eeg`` does not have 19 columns, or no samples within ``seconds``.
    """
    figure = new_figure(6.6, title)
    (page,) = add_panels(figure, votes, probabilities)
    draw_eeg(page, eeg, seconds=seconds, sensitivity=sensitivity)
    return figure


def draw_eeg(
    axes: Axes,
    eeg: np.ndarray,
    *,
    seconds: tuple[float, float] = (0, WINDOW_SECONDS),
    sensitivity: float | None = None,
) -> None:
    """Draw the 18 derivations into one axes; see `eeg_page`."""
    eeg = np.asarray(eeg, dtype=np.float32)
    if eeg.ndim != 2 or eeg.shape[1] != len(ELECTRODES):
        raise ValueError(f"eeg has shape {eeg.shape}, not (n_times, {len(ELECTRODES)})")
    first, last = (round(second * SAMPLING_RATE) for second in seconds)
    times = np.arange(len(eeg))[first:last] / SAMPLING_RATE
    if not len(times):
        raise ValueError(f"no EEG from {seconds[0]} to {seconds[1]} s: it has {len(eeg)} samples")
    start, stop = max(SEGMENT[0], seconds[0]), min(SEGMENT[1], seconds[1])
    if start < stop:
        axes.axvspan(start, stop, facecolor=HIGHLIGHT, edgecolor="none", gid="segment")
    traces = bipolar_traces(eeg[first:last])
    sensitivity = sensitivity or auto_sensitivity(traces)
    draw_traces(axes, times, traces, sensitivity, f"{sensitivity:g} µV")
    axes.set_xlim(seconds)
    axes.set_xlabel("Time in the window (s); labelled 10 s shaded; negative is up")


def draw_traces(
    axes: Axes, times: np.ndarray, traces: np.ndarray, sensitivity: float, scale: str
) -> None:
    """Draw the derivations of the double banana, shape (n_times, 18), one row each.

    ``sensitivity`` is the height of a row in the unit of the traces, ``scale`` the text of the
    scale bar, which is one row high.
    """
    rows = trace_rows()
    duration = np.ptp(times)
    for trace, row, name in zip(traces.T, rows, DOUBLE_BANANA, strict=True):
        # the axis points down, so negative voltages point up
        shown = row + np.clip(trace / sensitivity, -CLIP_ROWS, CLIP_ROWS)
        width = 0.7 if duration <= SHORT_PAGE else 0.5
        axes.plot(times, shown, color=_side_color(name), lw=width, gid=name)
        if np.isnan(trace).all():
            axes.text(times.mean(), row, "no signal", color=MUTED, ha="center", va="center")
    axes.margins(x=0)
    axes.set_ylim(rows[-1] + 1.2, rows[0] - 1.2)
    axes.set_yticks(rows, DOUBLE_BANANA)
    for label, name in zip(axes.get_yticklabels(), DOUBLE_BANANA, strict=True):
        label.set_color(_side_color(name))
    axes.xaxis.set_major_locator(MultipleLocator(1 if duration <= SHORT_PAGE else 5))
    axes.xaxis.set_minor_locator(MultipleLocator(1))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    right_edge = axes.get_yaxis_transform()
    axes.plot(
        [1.008, 1.008], [rows[-1] - 1, rows[-1]], transform=right_edge, color=INK, lw=2.2,
        clip_on=False, solid_capstyle="butt", gid="sensitivity",
    )  # fmt: skip
    axes.text(1.016, rows[-1] - 0.5, scale, transform=right_edge, va="center", fontsize=9)


def bipolar_traces(eeg: np.ndarray) -> np.ndarray:
    """Derive the double banana, shape (n_times, 18), from a referential EEG, (n_times, 19).

    The median of each trace is subtracted; values are NaN where either electrode is NaN.
    """
    matrix = derivation_matrix(DOUBLE_BANANA)
    missing = np.isnan(eeg)
    # NaN × 0 is NaN: one missing electrode would blank every derivation
    traces = np.where(missing, 0, eeg) @ matrix
    traces[missing.astype(np.float32) @ np.abs(matrix) > 0] = np.nan
    present = ~np.isnan(traces).all(axis=0)
    traces[:, present] -= np.nanmedian(traces[:, present], axis=0)
    return traces


def auto_sensitivity(traces: np.ndarray) -> float:
    """Choose the sensitivity, µV per row, at which a typical trace fills `FILL` of its row."""
    amplitude = typical_amplitude(traces)
    if amplitude is None:
        return 100.0
    index = np.searchsorted(SENSITIVITIES, amplitude / FILL)
    return float(SENSITIVITIES[min(index, len(SENSITIVITIES) - 1)])


def typical_amplitude(traces: np.ndarray) -> float | None:
    """Return the median over traces of the 98th percentile of absolute amplitude.

    Robust against a loose electrode and short artifacts. None if no value is finite.
    """
    present = traces[:, np.isfinite(traces).any(axis=0)]
    if not present.size:
        return None
    return float(np.median(np.nanpercentile(np.abs(present), 98, axis=0)))


def trace_rows() -> np.ndarray:
    """Return the vertical positions of the 18 traces, shape (18,), with gaps between chains."""
    lengths = [len(chain) for chain in (*CHAINS.values(), MIDLINE)]
    chain = np.repeat(np.arange(len(lengths)), lengths)
    return np.arange(len(DOUBLE_BANANA)) + CHAIN_GAP * chain


def _side_color(derivation: str) -> str:
    return LEFT_INK if derivation in LEFT else RIGHT_INK if derivation in RIGHT else INK
