"""What is done to a recording once, before it is stored: gaps, band-pass, clipping, log power.

Arrays in, arrays out; nothing here knows of files. `VERSION` enters the key of a store, so
raise it when a change here changes the numbers.
"""

from functools import lru_cache

import numpy as np
from scipy.signal import butter, sosfilt, sosfilt_zi

from hbac_utils.data.layout import SAMPLING_RATE

VERSION = 2
FILTER_ORDER = 4  # of the Butterworth filter; run forth and back it acts as twice that

LOG_FLOOR = 1e-6
"""Power below this is stored as ln(1e-6) ≈ −13.8; the real files hold exact zeros."""


def fill_gaps(eeg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replace what is not finite, so that the filter does not spread it over the recording.

    Parameters
    ----------
    eeg : array of float32, shape (n_times, n_channels), microvolts

    Returns
    -------
    filled : array of float32, same shape
        Gaps interpolated linearly inside a channel; a channel with no finite sample is zero.
    missing : array of bool, shape (n_times, n_channels)
        Where something was filled.
    """
    missing = ~np.isfinite(eeg)
    if not missing.any():
        return eeg, missing
    filled = eeg.copy()
    times = np.arange(len(eeg))
    for channel in np.flatnonzero(missing.any(axis=0)):
        gap = missing[:, channel]
        if gap.all():
            filled[:, channel] = 0
        else:
            filled[gap, channel] = np.interp(times[gap], times[~gap], eeg[~gap, channel])
    return filled, missing


def bandpass(eeg: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """Band-pass without phase shift (Butterworth, second-order sections, forth and back).

    The numbers are those of `scipy.signal.sosfiltfilt` with three seconds of odd padding. The
    mean is taken off first: amplifier offsets of ±120 µV would ring at the edges.

    Parameters
    ----------
    eeg : array, shape (n_times, n_channels), microvolts, 200 Hz, all finite
    band : (low, high), Hz

    Returns
    -------
    array of float32, same shape, microvolts
    """
    channels = eeg.T
    padding = min(3 * SAMPLING_RATE, len(eeg) - 1)
    filter_ = butterworth(FILTER_ORDER, *band, SAMPLING_RATE)
    return filter_(channels - channels.mean(axis=1, keepdims=True), padding).T


def clean_eeg(
    eeg: np.ndarray, band: tuple[float, float], clip: float
) -> tuple[np.ndarray, np.ndarray]:
    """Do to a recording all that is done before it is stored or predicted.

    Parameters
    ----------
    eeg : array of float32, shape (n_times, n_channels), microvolts, may hold NaN
    band : (low, high), Hz
    clip : float, microvolts
        Amplitudes beyond ±clip are cut; float16 keeps half a microvolt at 1,024.

    Returns
    -------
    cleaned : array of float16, same shape, microvolts
    missing : array of bool, same shape
    """
    filled, missing = fill_gaps(eeg)
    cleaned = bandpass(filled, band)
    np.clip(cleaned, -clip, clip, out=cleaned)
    return cleaned.astype(np.float16, order="C"), missing


def log_power(power: np.ndarray) -> np.ndarray:
    """Take the natural logarithm of linear power for the store.

    Parameters
    ----------
    power : array of float32, linear power; zeros and NaN occur

    Returns
    -------
    array of float16, same shape
        NaN stays NaN (and infinities become it): the view decides what a gap looks like.
    """
    with np.errstate(invalid="ignore"):
        log = np.log(np.maximum(power, LOG_FLOOR))
    log[~np.isfinite(log)] = np.nan
    return log.astype(np.float16)


BLOCK = 64  # samples
GROUP = 8  # blocks


class ZeroPhase:
    """A filter that is run forth and back, with odd padding, as `sosfiltfilt` does.

    Parameters
    ----------
    sections : array, shape (n_sections, 6)
        Second-order sections.

    References
    ----------
    Gustafsson (1996), doi:10.1109/78.492552, on forward–backward filtering.
    """

    def __init__(self, sections: np.ndarray):
        forth, recall, learn, keep, self._settled = _block_maps(sections)
        # the filter that runs back sees a block's samples in reverse
        back, recall_back, learn_back = forth[::-1, ::-1], recall[:, ::-1], learn[::-1]
        self._own = (forth @ back).astype(np.float32)
        self._remembered = np.vstack([recall @ back, recall_back]).astype(np.float32)
        self._learn = np.hstack([learn, forth @ learn_back]).astype(np.float32)
        self._pass_on = recall @ learn_back
        self._last = np.concatenate([forth[:, -1], recall[:, -1]])
        self._states, self._end = _group_maps(keep)

    def __call__(self, values: np.ndarray, padding: int) -> np.ndarray:
        """Filter.

        Parameters
        ----------
        values : array of float, shape (n_channels, n_times), all finite
        padding : int
            Samples put at either end, mirrored about the end point; below n_times.

        Returns
        -------
        array of float32, same shape
            Within 1e-6 of the largest value of what `sosfiltfilt` gives in float64.
        """
        padded, begin = _padded(values, padding)
        blocks = padded.reshape(len(padded), -1, BLOCK)
        learnt = (blocks @ self._learn).astype(np.float64)
        n = len(self._settled)
        before = self._memories(padded[:, :1] * self._settled, learnt[..., :n])
        last = np.hstack([blocks[:, -1], before[:, -1]]) @ self._last
        learnt_back = learnt[..., n:] + before @ self._pass_on
        behind = self._memories(last[:, None] * self._settled, learnt_back[:, ::-1])[:, ::-1]
        memories = np.concatenate([before, behind], axis=2, dtype=np.float32)
        filtered = blocks @ self._own
        filtered += memories @ self._remembered
        return filtered.reshape(padded.shape)[:, begin : begin + values.shape[1]]

    def _memories(self, start: np.ndarray, learnt: np.ndarray) -> np.ndarray:
        """Follow the memory over the blocks: (channels, blocks, n), each before its block."""
        channels, _, n = learnt.shape
        groups = learnt.reshape(channels, -1, GROUP * n)
        ends = groups @ self._end[:-n]
        starts = np.empty_like(ends)
        for group in range(ends.shape[1]):
            starts[:, group] = start
            start = start @ self._end[-n:] + ends[:, group]
        states = np.concatenate([groups, starts], axis=2) @ self._states
        return states.reshape(learnt.shape)


@lru_cache
def butterworth(order: int, low: float, high: float, rate: float) -> ZeroPhase:
    """Make a Butterworth band-pass; run forth and back it acts as one of twice the order."""
    return ZeroPhase(butter(order, (low, high), btype="bandpass", fs=rate, output="sos"))


def _block_maps(sections: np.ndarray) -> tuple[np.ndarray, ...]:
    """Find the maps of a block by sending unit vectors through the filter.

    Returns
    -------
    samples to samples, memory to samples, samples to memory, memory to memory : arrays
        To be multiplied from the right.
    settled : array
        The memory after an endless row of ones.
    """
    n = 2 * len(sections)
    unit = np.eye(BLOCK + n)
    memory = unit[:, BLOCK:].reshape(-1, len(sections), 2).swapaxes(0, 1)
    out, memory = sosfilt(sections, unit[:, :BLOCK], axis=1, zi=memory)
    memory = memory.swapaxes(0, 1).reshape(-1, n)
    # in coordinates in which what is remembered has the size of what it adds to the samples:
    # the sections' own would lose digits in float32
    recall, change = np.linalg.qr(out[BLOCK:].T)
    learn, keep = memory[:BLOCK] @ change.T, memory[BLOCK:] @ change.T
    settled = sosfilt_zi(sections).ravel() @ change.T
    return out[:BLOCK], recall.T, learn, np.linalg.solve(change.T, keep), settled


def _group_maps(keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From what a group's blocks teach and its first memory, to all its memories and the next."""
    n = len(keep)
    unit = np.eye(GROUP * n + n)
    state, states = unit[:, GROUP * n :], []
    for block in range(GROUP):
        states.append(state)
        state = state @ keep + unit[:, block * n : block * n + n]
    return np.hstack(states), state


def _padded(values: np.ndarray, padding: int) -> tuple[np.ndarray, int]:
    """Pad to whole groups; what is too much stands in front and is constant, so it does nothing.

    Returns
    -------
    padded : array of float32, shape (n_channels, multiple of BLOCK × GROUP)
    begin : int
        Where the values begin in it.
    """
    n = values.shape[1]
    length = -(-(n + 2 * padding) // (BLOCK * GROUP)) * BLOCK * GROUP
    begin, end = length - padding - n, length - padding
    padded = np.empty((len(values), length), np.float32)
    padded[:, begin:end] = values
    padded[:, begin - padding : begin] = 2 * values[:, :1] - values[:, padding:0:-1]
    padded[:, : begin - padding] = padded[:, begin - padding, None]
    padded[:, end:] = 2 * values[:, -1:] - values[:, -2 : -2 - padding : -1]
    return padded, begin
