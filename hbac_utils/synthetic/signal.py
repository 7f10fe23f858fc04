"""One session's signal at two rates, to which everything is added.

A spectrogram lasts ten minutes and ends at 20 Hz, an EEG lasts one minute and ends at
100 Hz. All of the session is therefore kept at 50 Hz, and only the stretches that become
EEG files at 200 Hz. Whatever is added goes to both, so the two are looks at one signal.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.signal import firwin, upfirdn

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import ELECTRODES
from hbac_utils.synthetic import noise as sources

FACTOR = 4
SLOW_RATE = SAMPLING_RATE // FACTOR  # Hz
BAND = 22.0  # Hz; what is below is in both, what is above in the stretches alone
MARGIN = 2  # seconds more than the spectrogram covers, at both ends, for filters to settle

_FILTER = firwin(97, 25, width=6, fs=SAMPLING_RATE).astype(np.float32)
_HALF = len(_FILTER) // 2


class Canvas:
    """The signal of the 19 electrodes, microvolts, empty at first.

    Parameters
    ----------
    seconds : int
        Of the session; time zero is its begin.
    stretches : sequence of pairs of int
        Begin and length (seconds) of the parts that are kept at 200 Hz.

    Attributes
    ----------
    stretches : tuple of pairs of int
    times : array of float64, shape (n,), seconds
        Of the 50-Hz samples, from −`MARGIN` on; envelopes have this grid.
    """

    def __init__(self, seconds: int, stretches: Sequence[tuple[int, int]]):
        shape = len(ELECTRODES), (seconds + 2 * MARGIN) * SLOW_RATE
        self.stretches = tuple(stretches)
        # noise is drawn at 50 Hz and waits there for `finish`; the rest comes at 200 Hz
        self._noise = np.zeros(shape, dtype=np.float32)
        self._rest = np.zeros(shape, dtype=np.float32)
        self._fast = [
            np.zeros((len(ELECTRODES), length * SAMPLING_RATE), dtype=np.float32)
            for _, length in stretches
        ]
        self.times = np.arange(shape[1]) / SLOW_RATE - MARGIN

    @property
    def seconds(self) -> float:
        """Length with both margins."""
        return len(self.times) / SLOW_RATE

    def add(self, begin: float, fields: np.ndarray, courses: np.ndarray) -> None:
        """Add sources that have a 200-Hz time course.

        Parameters
        ----------
        begin : float, seconds
            Rounded to the 50-Hz grid; what lies outside of the session is dropped.
        fields : array, shape (n_sources, 19)
        courses : array, shape (n_sources, n_times)
        """
        first = round((begin + MARGIN) * SLOW_RATE)
        courses = courses[:, max(0, -first * FACTOR) :].astype(np.float32)
        first = max(first, 0)
        courses = courses[:, : max(0, (len(self.times) - first) * FACTOR)]
        if not courses.shape[1]:
            return
        mixing = np.asarray(fields, dtype=np.float32).T
        slow = decimate(courses)
        self._rest[:, first : first + slow.shape[1]] += mixing @ slow
        for (start, _), fast in zip(self.stretches, self._fast, strict=True):
            shift = first * FACTOR - (start + MARGIN) * SAMPLING_RATE
            a, b = max(shift, 0), min(shift + courses.shape[1], fast.shape[1])
            if a < b:
                fast[:, a:b] += mixing @ courses[:, a - shift : b - shift]

    def add_noise(
        self,
        rng: np.random.Generator,
        fields: np.ndarray,
        amplitude: Callable,
        envelope: np.ndarray | float = 1.0,
    ) -> None:
        """Add independent sources of Gaussian noise.

        Parameters
        ----------
        rng : Generator
        fields : array, shape (n_sources, 19)
        amplitude : callable
            Spectrum, see `sources.noise`.
        envelope : array, shape (n,), or float
            Factor at `times`.
        """
        mixing = np.asarray(fields, dtype=np.float32).T
        envelope = np.broadcast_to(envelope, self.times.shape).astype(np.float32)

        def band(low: float, high: float, n_times: int, rate: int) -> np.ndarray:
            def within(f):
                return amplitude(f) * ((f >= low) & (f < high))

            return sources.noise(rng, within, mixing.shape[1], n_times, rate)

        self._noise += mixing @ (band(0, BAND, len(envelope), SLOW_RATE) * envelope)
        for (start, _), fast in zip(self.stretches, self._fast, strict=True):
            high = band(BAND, SAMPLING_RATE, fast.shape[1], SAMPLING_RATE)
            fast += mixing @ (high * self._at_fast(envelope, start, fast.shape[1]))

    def scale(self, envelope: np.ndarray) -> None:
        """Multiply what is there so far by a 50-Hz envelope, shape (n,)."""
        self._noise *= envelope.astype(np.float32)
        self._rest *= envelope.astype(np.float32)
        for (start, _), fast in zip(self.stretches, self._fast, strict=True):
            fast *= self._at_fast(envelope, start, fast.shape[1])

    def spread(self, weights: np.ndarray, begin: float, end: float) -> float:
        """Compute the standard deviation of a derivation between two times, below 20 Hz.

        Parameters
        ----------
        weights : array, shape (19,)
        begin, end : float, seconds
        """
        part = slice(*(round((t + MARGIN) * SLOW_RATE) for t in (begin, end)))
        return float((weights @ (self._noise[:, part] + self._rest[:, part])).std())

    def finish(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Give the signal.

        Returns
        -------
        slow : array of float32, shape (19, n), 50 Hz
            All of the session and `MARGIN` at both ends.
        fast : list of array of float32, shape (19, n_times), 200 Hz
            The stretches.
        """
        fast = [
            signal + _interpolate(self._noise, start, signal.shape[1])
            for (start, _), signal in zip(self.stretches, self._fast, strict=True)
        ]
        return self._noise + self._rest, fast

    def _at_fast(self, envelope: np.ndarray, start: int, n_times: int) -> np.ndarray:
        place = (start + MARGIN) * SLOW_RATE + np.arange(n_times) / FACTOR
        return np.interp(place, np.arange(len(envelope)), envelope).astype(np.float32)


def decimate(courses: np.ndarray) -> np.ndarray:
    """Low-pass at 25 Hz and keep every fourth sample.

    Parameters
    ----------
    courses : array of float32, shape (n, n_times), 200 Hz
        Zero before and after.

    Returns
    -------
    array of float32, shape (n, ceil(n_times / 4)), 50 Hz
    """
    n = -(-courses.shape[1] // FACTOR)
    padded = np.pad(courses, ((0, 0), (0, _HALF)))
    return _fir(padded, down=FACTOR)[:, _HALF // FACTOR :][:, :n]


def _interpolate(slow: np.ndarray, start: int, n_times: int) -> np.ndarray:
    # from 50 Hz to 200 Hz; both ends of a stretch lie inside of the session
    first = (start + MARGIN) * SLOW_RATE
    reach = _HALF // FACTOR
    piece = slow[:, first - reach : first + n_times // FACTOR + reach]
    return FACTOR * _fir(piece, up=FACTOR)[:, 2 * _HALF :][:, :n_times]


def _fir(signals: np.ndarray, up: int = 1, down: int = 1) -> np.ndarray:
    return upfirdn(_FILTER, signals, up=up, down=down, axis=-1)
