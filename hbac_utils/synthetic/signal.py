"""The signal of one recording session at two rates, to which sources are added.

The whole session is simulated at 50 Hz for the spectrogram, which ends at 20 Hz, and only the
intervals that become EEG files at 200 Hz. Each source is added to both.
"""

import numpy as np
from numpy.random import Generator
from scipy.signal import firwin, upfirdn

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import ELECTRODES
from hbac_utils.synthetic import noise

FACTOR = 4
SLOW_RATE = SAMPLING_RATE // FACTOR  # Hz
CROSSOVER = 22.0  # Hz; noise below is drawn at 50 Hz, noise above at 200 Hz
MARGIN = 2  # seconds before and after the session, for filters to settle

_FILTER = firwin(97, 25, width=6, fs=SAMPLING_RATE).astype(np.float32)
_HALF = len(_FILTER) // 2


class SessionSignal:
    """The 19 electrodes' signal in microvolts, zero at first; a session begins at time zero.

    ``seconds`` is the length without the margins (the attribute: with both); ``intervals`` are
    begin and length (seconds) of the parts that are simulated at 200 Hz. Envelopes are sampled at
    the 50-Hz ``times`` (seconds), from −`MARGIN` on.
    """

    def __init__(self, seconds: int, intervals: list[tuple[int, int]]):
        self.intervals = intervals
        self.times = np.arange((seconds + 2 * MARGIN) * SLOW_RATE) / SLOW_RATE - MARGIN
        self.seconds = len(self.times) / SLOW_RATE
        # slow noise exists at 50 Hz only until `to_arrays` interpolates it
        shapes = [(len(ELECTRODES), seconds * SAMPLING_RATE) for _, seconds in intervals]
        self._fast = [np.zeros(shape, dtype=np.float32) for shape in shapes]
        self._slow_noise, self._slow = np.zeros((2, len(ELECTRODES), len(self.times)), np.float32)

    def add(self, begin: float, fields: np.ndarray, waveforms: np.ndarray) -> None:
        """Add sources, n fields (n, 19) with 200-Hz waveforms (n, n_times), at ``begin`` seconds.

        The begin is rounded to the 50-Hz grid; samples outside the session are dropped.
        """
        first = round((begin + MARGIN) * SLOW_RATE)
        waveforms = waveforms[:, max(0, -first * FACTOR) :].astype(np.float32)
        first = max(first, 0)
        waveforms = waveforms[:, : max(0, (len(self.times) - first) * FACTOR)]
        if not waveforms.shape[1]:
            return
        mixing = np.asarray(fields, dtype=np.float32).T
        slow = decimate(waveforms)
        self._slow[:, first : first + slow.shape[1]] += mixing @ slow
        for (start, _), fast in zip(self.intervals, self._fast, strict=True):
            shift = first * FACTOR - (start + MARGIN) * SAMPLING_RATE
            a, b = max(shift, 0), min(shift + waveforms.shape[1], fast.shape[1])
            if a < b:
                fast[:, a:b] += mixing @ waveforms[:, a - shift : b - shift]

    def add_noise(
        self, rng: Generator, fields: np.ndarray, spectrum: noise.Spectrum, envelope=1.0
    ) -> None:
        """Add a Gaussian noise source per field (n, 19), times an envelope at `times`."""
        mixing = np.asarray(fields, dtype=np.float32).T
        envelope = np.broadcast_to(envelope, self.times.shape).astype(np.float32)
        n = mixing.shape[1]
        low = noise.gaussian(rng, spectrum, n, len(envelope), SLOW_RATE, band=(0, CROSSOVER))
        self._slow_noise += mixing @ (low * envelope)
        for (start, _), fast in zip(self.intervals, self._fast, strict=True):
            high = noise.gaussian(rng, spectrum, n, fast.shape[1], band=(CROSSOVER, np.inf))
            fast += mixing @ (high * self._upsampled(envelope, start, fast.shape[1]))

    def scale(self, envelope: np.ndarray) -> None:
        """Multiply the signal so far by an envelope at `times`, shape (n,)."""
        self._slow_noise *= envelope.astype(np.float32)
        self._slow *= envelope.astype(np.float32)
        for (start, _), fast in zip(self.intervals, self._fast, strict=True):
            fast *= self._upsampled(envelope, start, fast.shape[1])

    def std(self, weights: np.ndarray, begin: float, end: float) -> float:
        """Compute the standard deviation of a derivation, shape (19,), between two times."""
        part = slice(*(round((t + MARGIN) * SLOW_RATE) for t in (begin, end)))
        return float((weights @ (self._slow_noise[:, part] + self._slow[:, part])).std())

    def to_arrays(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the session at 50 Hz, shape (19, n), and the intervals at 200 Hz."""
        fast = [
            signal + _interpolate(self._slow_noise, start, signal.shape[1])
            for (start, _), signal in zip(self.intervals, self._fast, strict=True)
        ]
        return self._slow_noise + self._slow, fast

    def _upsampled(self, envelope: np.ndarray, start: int, n_times: int) -> np.ndarray:
        place = (start + MARGIN) * SLOW_RATE + np.arange(n_times) / FACTOR
        return np.interp(place, np.arange(len(envelope)), envelope).astype(np.float32)


def decimate(signals: np.ndarray) -> np.ndarray:
    """Low-pass float32 signals, shape (n, n_times), at 25 Hz and keep every fourth sample."""
    n = -(-signals.shape[1] // FACTOR)
    padded = np.pad(signals, ((0, 0), (0, _HALF)))
    return upfirdn(_FILTER, padded, down=FACTOR, axis=-1)[:, _HALF // FACTOR :][:, :n]


def _interpolate(slow: np.ndarray, start: int, n_times: int) -> np.ndarray:
    first, reach = (start + MARGIN) * SLOW_RATE, _HALF // FACTOR
    piece = slow[:, first - reach : first + n_times // FACTOR + reach]
    return FACTOR * upfirdn(_FILTER, piece, up=FACTOR, axis=-1)[:, 2 * _HALF :][:, :n_times]
