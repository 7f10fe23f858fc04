"""Preprocessing of recordings: units and rates, gaps, band-pass, clipping, log power.

Arrays in, arrays out. `VERSION` is part of a store's key: raise it when a change here changes
the numbers.
"""

import warnings
from functools import lru_cache

import numpy as np
from scipy import fft

from hbac_utils.data.layout import SAMPLING_RATE

VERSION = 3
FILTER_ORDER = 4  # of the Butterworth filter; applied forward and backward it acts as twice that
MIRRORED_SECONDS = 3  # odd padding at either end of a recording before it is filtered
LOG_FLOOR = 1e-6  # least power that is stored; the real files hold exact zeros

# microvolts, of the change in 0.1 s that `find_unit` computes (28 real recordings: 4 to 213)
PLAUSIBLE = (0.5, 500)
# mistaken for microvolts, and the factor to them; their plausible ranges do not overlap
UNITS = {"millivolts": 1e3, "volts": 1e6, "millionths of a microvolt": 1e-6}
# rates of other recorders (Hz); a recording of a known duration shows its own by its length
OTHER_RATES = (100, 125, 128, 160, 250, 256, 500, 512, 1000, 1024, 2000, 2048)


def find_unit(eeg: np.ndarray) -> tuple[float, str]:
    """Find the factor to microvolts and, where it is certain not to be 1, the unit's name.

    Takes shape (n_times, n_channels). Amplitude is the median channel's change in 0.1 s: offsets
    and drifts matter little in so short a time, and mains of 50 and 60 Hz end where they began.
    """
    lag, step = SAMPLING_RATE // 10, max(1, len(eeg) // 500)
    with np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of channels without a value
        change = np.abs(eeg[lag::step] - eeg[:-lag:step])
        median = np.nanmedian if np.isnan(change).any() else np.median  # ten times as fast
        change = median(change, axis=0)
    change = change[change > 0]
    if len(change):
        typical = 1.4826 * np.median(change)  # the standard deviation of a Gaussian
        for unit, factor in UNITS.items():
            if PLAUSIBLE[0] <= typical * factor < PLAUSIBLE[1]:
                return factor, unit
    return 1.0, ""


def other_rate(rows: int, seconds: int) -> int | None:
    """Find the sampling rate (Hz) of a recorder at which so many rows are so many seconds."""
    return next((rate for rate in OTHER_RATES if rows == seconds * rate), None)


def fill_gaps(eeg: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate values that are not finite, so that the filter does not spread them.

    Takes float32, shape (n_times, n_channels); returns the filled EEG, in which a channel
    without a finite sample is zero, and where values were filled in, bool, both of that shape.
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
    """Zero-phase Butterworth band-pass, computed by FFT.

    The spectrum is multiplied by the filter's squared magnitude, which is what filtering forward
    and backward does. Each end is extended by odd padding (3 s) and then by a constant until the
    filter's response has decayed: within 1e-3 of the largest value (2e-5 on real EEGs) this is
    `sosfiltfilt` of the recording so extended. Plain `sosfiltfilt` starts its backward pass from
    an approximation and differs in the last seconds of a recording. The mean is removed first:
    amplifier offsets of ±120 µV would ring at the edges.

    Takes finite microvolts at 200 Hz, shape (n_times, n_channels); returns the same, float32.
    On the edges of forward–backward filtering see Gustafsson (1996), doi:10.1109/78.492552.
    """
    n, channels = eeg.shape
    padding = min(MIRRORED_SECONDS * SAMPLING_RATE, n - 1)
    begin = padding + int(2.5 / band[0] * SAMPLING_RATE)
    end = begin + n
    length = fft.next_fast_len(begin + n + begin, real=True)
    # scipy transforms four channels at a time: a multiple of four is faster
    x = np.zeros((-(-channels // 4) * 4, length), np.float32)
    np.subtract(eeg.T, eeg.mean(axis=0)[:, None], out=x[:channels, begin:end])
    x[:, begin - padding : begin] = 2 * x[:, begin, None] - x[:, begin + padding : begin : -1]
    x[:, end : end + padding] = 2 * x[:, end - 1, None] - x[:, end - 2 : end - 2 - padding : -1]
    x[:, : begin - padding] = x[:, begin - padding, None]
    x[:, end + padding :] = x[:, end + padding - 1, None]
    spectrum = fft.rfft(x, axis=1, workers=1)
    spectrum *= _squared_magnitude(length, band)
    return fft.irfft(spectrum, length, axis=1, workers=1)[:channels, begin:end].T


@lru_cache(maxsize=64)
def _squared_magnitude(length: int, band: tuple[float, float]) -> np.ndarray:
    """Squared magnitude of the digital Butterworth band-pass at the frequencies of an rfft.

    It is that of the analogue filter at tan(ω/2), because `scipy.signal.butter` designs by the
    bilinear transform. Recordings have many lengths: from this formula each takes a twentieth of
    the time that `sosfreqz` needs.
    """
    low, high = np.tan(np.pi * np.array(band) / SAMPLING_RATE)
    frequencies = np.tan(np.pi * fft.rfftfreq(length)[1:])
    power = (frequencies - low * high / frequencies) ** 2 / (high - low) ** 2
    response = 1 / (1 + power**FILTER_ORDER)
    return np.concatenate([[0], response]).astype(np.float32)


def clean_eeg(
    eeg: np.ndarray, band: tuple[float, float], clip: float
) -> tuple[np.ndarray, np.ndarray]:
    """Apply all preprocessing of an EEG, as it is stored and predicted.

    Takes float32 microvolts, shape (n_times, n_channels), that may hold NaN; ``band`` in Hz;
    amplitudes beyond ±``clip`` microvolts are cut. Returns float16 microvolts (which resolve half
    a microvolt at 1,024) and where values were missing, bool, both of that shape.
    """
    filled, missing = fill_gaps(eeg)
    cleaned = bandpass(filled, band)
    np.clip(cleaned, -clip, clip, out=cleaned)
    return cleaned.astype(np.float16, order="C"), missing


def log_power(power: np.ndarray) -> np.ndarray:
    """Natural logarithm of linear power, as it is stored: float16, same shape.

    NaN stays NaN and infinities become NaN: the view decides how a gap looks.
    """
    with np.errstate(invalid="ignore"):
        log = np.log(np.maximum(power, LOG_FLOOR))
    log[~np.isfinite(log)] = np.nan
    return log.astype(np.float16)
