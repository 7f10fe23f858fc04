"""Random signals, and the signal of one recording session to which sources are added.

A spectrum is a function that maps frequencies (Hz, shape (n,)) to the square root of the one-sided
power spectral density. Signals are float32.

The whole session is simulated at 50 Hz for the spectrogram, which ends at 20 Hz, and only the
intervals that become EEG files at 200 Hz. Each source is added to both.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy import fft
from scipy.signal import firwin, upfirdn

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import ELECTRODES

FACTOR = 4
SLOW_RATE = SAMPLING_RATE // FACTOR  # Hz
CROSSOVER = 22.0  # Hz; noise below is drawn at 50 Hz, noise above at 200 Hz
MARGIN = 2  # seconds before and after the session, for filters to settle

Spectrum = Callable[[np.ndarray], np.ndarray]

_FILTER = firwin(97, 25, width=6, fs=SAMPLING_RATE).astype(np.float32)
_HALF = len(_FILTER) // 2

# complex normal numbers, equidistant quantiles of the radius and phases by the golden angle:
# drawing from this table is ten times as fast as drawing normal numbers
_I = np.arange(2**16)
_NORMALS = np.sqrt(-2 * np.log((_I + 0.5) / len(_I))) * np.exp(1j * np.pi * (3 - np.sqrt(5)) * _I)
_NORMALS = _NORMALS.astype(np.complex64)


def gaussian(
    rng: Generator, spectrum: Spectrum, n_signals: int, n_times: int,
    rate: float = SAMPLING_RATE, band: tuple[float, float] = (0.0, np.inf),
) -> np.ndarray:  # fmt: skip
    """Draw Gaussian noise with a spectrum in a band (Hz): signals, (n_signals, n_times)."""
    length = fft.next_fast_len(n_times, real=True)
    f = fft.rfftfreq(length, 1 / rate)
    amplitude = spectrum(f) * ((f >= band[0]) & (f < band[1])) * np.sqrt(rate * length / 4)
    amplitude[0] = 0
    # most spectra are narrow: nothing is drawn for frequencies without power
    used = np.flatnonzero(amplitude > 1e-4 * amplitude.max())
    if not len(used):
        return np.zeros((n_signals, n_times), dtype=np.float32)
    part = slice(used[0], used[-1] + 1)
    drawn = rng.integers(0, len(_NORMALS), (n_signals, part.stop - part.start), dtype=np.uint16)
    coefficients = np.zeros((n_signals, len(amplitude)), dtype=np.complex64)
    coefficients[:, part] = _NORMALS[drawn] * amplitude[part].astype(np.float32)
    return fft.irfft(coefficients, length, axis=-1)[:, :n_times]


def rhythm(centre: float, width: float) -> Spectrum:
    """Return the spectrum of a rhythm: a Gaussian peak (Hz) with unit variance."""
    height = 1 / np.sqrt(width * np.sqrt(np.pi))
    return lambda f: height * np.exp(-0.5 * ((f - centre) / width) ** 2)


def aperiodic(knee: float, exponent: float) -> Spectrum:
    """Return the spectrum of 1/f activity after a high-pass at 0.4 Hz, with unit variance.

    Power falls with ``exponent`` above the ``knee`` (Hz) and is constant below it.
    """

    def shape(f):
        return f**2 / (f**2 + 0.4**2) / (knee**2 + f**2) ** (exponent / 4)

    grid = np.arange(1, 2000) * 0.05  # up to 100 Hz
    total = np.sqrt((shape(grid) ** 2).sum() * 0.05)
    return lambda f: shape(f) / total


def fluctuation(
    rng: Generator, n_times: int, seconds: float, rate: float = SAMPLING_RATE
) -> np.ndarray:
    """Interpolate between random values ``seconds`` apart; standard normal at each time."""
    knots = rng.standard_normal(int(n_times / (seconds * rate)) + 3)
    x = np.arange(8) / 8
    # weights whose squares sum to one keep the variance constant
    weights = np.cos(np.pi / 2 * x), np.sin(np.pi / 2 * x)
    coarse = np.outer(knots[:-1], weights[0]) + np.outer(knots[1:], weights[1])
    place = np.arange(n_times) * (8 / (seconds * rate)) + 8 * rng.random()
    return np.interp(place, np.arange(coarse.size), coarse.ravel()).astype(np.float32)


def gate(times: np.ndarray, on: float, off: float, ramp: float) -> np.ndarray:
    """Return an envelope that is one between ``on`` and ``off``, with linear ramps (seconds)."""
    return np.clip(np.minimum(times - on, off - times) / ramp + 0.5, 0, 1).astype(np.float32)


def log_uniform(rng: Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniformly distributed."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


class SessionSignal:
    """The 19 electrodes' signal in microvolts, zero at first; a session begins at time zero.

    ``seconds`` is the length without the margins (the attribute: with both); ``intervals`` are
    begin and length (seconds) of the parts that are simulated at 200 Hz. Envelopes are sampled at
    the 50-Hz ``times`` (seconds), from −`MARGIN` on. With ``parts_only`` the sources of `add` are
    simulated in those parts alone.
    """

    def __init__(self, seconds: int, intervals: list[tuple[int, int]], parts_only: bool = False):
        self.intervals, self.parts_only = intervals, parts_only
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
        if not self.parts_only:
            slow = decimate(waveforms)
            self._slow[:, first : first + slow.shape[1]] += mixing @ slow
        for (start, _), fast in zip(self.intervals, self._fast, strict=True):
            shift = first * FACTOR - (start + MARGIN) * SAMPLING_RATE
            a, b = max(shift, 0), min(shift + waveforms.shape[1], fast.shape[1])
            if a < b:
                fast[:, a:b] += mixing @ waveforms[:, a - shift : b - shift]

    def add_noise(
        self, rng: Generator, fields: np.ndarray, spectrum: Spectrum, envelope=1.0
    ) -> None:
        """Add a Gaussian noise source per field (n, 19), times an envelope at `times`."""
        mixing = np.asarray(fields, dtype=np.float32).T
        envelope = np.broadcast_to(envelope, self.times.shape).astype(np.float32)
        n = mixing.shape[1]
        low = gaussian(rng, spectrum, n, len(envelope), SLOW_RATE, band=(0, CROSSOVER))
        self._slow_noise += mixing @ (low * envelope)
        for (start, _), fast in zip(self.intervals, self._fast, strict=True):
            high = gaussian(rng, spectrum, n, fast.shape[1], band=(CROSSOVER, np.inf))
            fast += mixing @ (high * self._upsampled(envelope, start, fast.shape[1]))

    def scale(self, envelope: np.ndarray) -> None:
        """Multiply the signal so far by an envelope at `times`, shape (n,)."""
        self._slow_noise *= envelope.astype(np.float32)
        self._slow *= envelope.astype(np.float32)
        for (start, _), fast in zip(self.intervals, self._fast, strict=True):
            fast *= self._upsampled(envelope, start, fast.shape[1])

    def std(self, weights: np.ndarray, begin: float, end: float) -> float:
        """Compute the standard deviation of a derivation, shape (19,), between two times.

        With ``parts_only`` the times must be in one of the intervals.
        """
        if not self.parts_only:
            part = slice(*(round((t + MARGIN) * SLOW_RATE) for t in (begin, end)))
            return float((weights @ (self._slow_noise[:, part] + self._slow[:, part])).std())
        for (start, seconds), fast in zip(self.intervals, self._fast, strict=True):
            if start <= begin and end <= start + seconds:
                noise = _interpolate((weights @ self._slow_noise)[None], start, fast.shape[1])[0]
                part = slice(*(round((t - start) * SAMPLING_RATE) for t in (begin, end)))
                return float((weights @ fast[:, part] + noise[part]).std())
        raise ValueError(f"{begin:g} to {end:g} s are in no interval")

    def to_arrays(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the session at 50 Hz, shape (19, n), and the intervals at 200 Hz.

        With ``parts_only`` the former lacks the sources of `add`.
        """
        fast = [
            signal + _interpolate(self._slow_noise, start, signal.shape[1])
            for (start, _), signal in zip(self.intervals, self._fast, strict=True)
        ]
        return self._slow_noise + self._slow, fast

    def _upsampled(self, envelope: np.ndarray, start: int, n_times: int) -> np.ndarray:
        # only the interval's part: a session of hours has a hundred intervals
        first = (start + MARGIN) * SLOW_RATE
        part = envelope[first : first + n_times // FACTOR + 2]
        times = np.arange(n_times) / FACTOR
        return np.interp(times, np.arange(len(part)), part).astype(np.float32)


def decimate(signals: np.ndarray) -> np.ndarray:
    """Low-pass float32 signals, shape (n, n_times), at 25 Hz and keep every fourth sample."""
    n = -(-signals.shape[1] // FACTOR)
    padded = np.pad(signals, ((0, 0), (0, _HALF)))
    return upfirdn(_FILTER, padded, down=FACTOR, axis=-1)[:, _HALF // FACTOR :][:, :n]


def _interpolate(slow: np.ndarray, start: int, n_times: int) -> np.ndarray:
    first, reach = (start + MARGIN) * SLOW_RATE, _HALF // FACTOR
    piece = slow[:, first - reach : first + n_times // FACTOR + reach]
    return FACTOR * upfirdn(_FILTER, piece, up=FACTOR, axis=-1)[:, 2 * _HALF :][:, :n_times]
