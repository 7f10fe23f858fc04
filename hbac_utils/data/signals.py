"""What is done to a recording once, before it is stored: gaps, band-pass, clipping, log power.

Arrays in, arrays out; nothing here knows of files. `VERSION` enters the key of a store, so
raise it when a change here changes the numbers.
"""

import numpy as np

from hbac_utils.data.competition import SAMPLING_RATE
from hbac_utils.data.filtering import butterworth

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
