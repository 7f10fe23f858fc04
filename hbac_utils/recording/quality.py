"""Signal quality and power spectra of the segments of a long recording."""

import warnings

import numpy as np
from scipy.signal import welch

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import DOUBLE_BANANA, LEFT, RIGHT, derivation_matrix

UNREADABLE = ("gap", "flat", "clipped", "disconnected")
"""Defects of a segment that is not predicted."""

MUSCLE = "muscle"
FREQUENCIES = np.arange(1, 41) / 2  # Hz, of the spectra that are shown

MAX_GAP = 0.5  # share of a segment that may be missing
FLAT = 0.5  # µV, standard deviation from 1 to 40 Hz
CLIPPED_SHARE, CLIPPED_RANGE = 0.3, 500  # of the samples near the ends of a range of so many µV
MAINS = 100  # amplitude of the mains, relative to 1 to 40 Hz; less is filtered out
HUGE = 1000  # µV, standard deviation from 1 to 40 Hz
MUSCLE_SHARE, MUSCLE_SIZE = 0.3, 3  # power from 25 to 45 Hz relative to 1 to 20 Hz, and its µV
MUSCLE_DERIVATIONS = 6  # of 18

_WELCH = 2 * SAMPLING_RATE  # samples of a Welch segment: a resolution of 0.5 Hz


def find_defects(eeg: np.ndarray) -> np.ndarray:
    """Name what is wrong with each segment: one of `UNREADABLE`, ``muscle``, or ``""``.

    Takes microvolts at 200 Hz, not filtered, shape (n_segments, n_times, 19), NaN in gaps; returns
    strings, shape (n_segments,). A segment has a defect that more than half of its channels have (a
    third for muscle). A single bad electrode is left to the model, which was trained on such.
    Derivations are examined, because the mains and artifacts of the reference cancel in them;
    only clipping shows in the electrodes.
    """
    gap = np.isnan(eeg).any(axis=2).mean(axis=1) > MAX_GAP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of segments without a value
        eeg = np.nan_to_num(eeg - np.nanmean(eeg, axis=1, keepdims=True))
    low, high = eeg.min(axis=1, keepdims=True), eeg.max(axis=1, keepdims=True)
    margin = 0.01 * (high - low)
    at_ends = ((eeg < low + margin) | (eeg > high - margin)).mean(axis=1)
    power = np.moveaxis(_welch(eeg @ derivation_matrix(DOUBLE_BANANA)), -1, 0)

    def band(begin: float, end: float) -> np.ndarray:
        return power[int(2 * begin) : int(2 * end) + 1].sum(axis=0) / 2

    brain, fast = band(1, 40), band(25, 45)
    mains = np.maximum(band(49, 51), band(59, 61))
    shares = {  # of a channel with two defects the last counts
        "flat": brain < FLAT**2,
        "disconnected": (mains > MAINS**2 * brain) | (brain > HUGE**2),
        "clipped": (at_ends > CLIPPED_SHARE) & ((high - low)[:, 0] > CLIPPED_RANGE),
    }
    muscle = (fast > MUSCLE_SHARE * band(1, 20)) & (fast > MUSCLE_SIZE**2)
    found = np.where(muscle.sum(axis=1) >= MUSCLE_DERIVATIONS, MUSCLE, "").astype("U12")
    for name, bad in shares.items():
        found[bad.mean(axis=1) > 0.5] = name
    found[gap] = "gap"
    return found


def hemisphere_spectra(eeg: np.ndarray) -> np.ndarray:
    """Power spectra of the left and the right hemisphere, the median over their derivations.

    Takes microvolts at 200 Hz, shape (n_segments, n_times, 19); returns float32, shape
    (n_segments, 2, 40): dB re 1 µV²/Hz at `FREQUENCIES`, NaN for a segment with a gap (Welch's
    method, Hann windows of 2 s; Welch 1967, doi:10.1109/TAU.1967.1161901).
    """
    sides = []
    for derivations in (LEFT, RIGHT):
        power = _welch(eeg @ derivation_matrix(derivations))[..., 1 : len(FREQUENCIES) + 1]
        sides.append(np.median(power, axis=1))
    return (10 * np.log10(np.maximum(np.stack(sides, axis=1), 1e-3))).astype(np.float32)


def _welch(signals: np.ndarray) -> np.ndarray:
    """Power spectral density (µV²/Hz) every 0.5 Hz, (n, n_times, k) to (n, k, n_frequencies)."""
    length = min(_WELCH, signals.shape[1])
    signals = np.moveaxis(signals, 1, 2)
    return welch(signals, SAMPLING_RATE, nperseg=length, nfft=_WELCH)[1]
