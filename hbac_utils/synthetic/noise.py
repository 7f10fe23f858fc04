"""Random signals: Gaussian noise with a given spectrum, slow fluctuations, and gates.

A spectrum is a function that maps frequencies (Hz, shape (n,)) to the square root of the one-sided
power spectral density. Signals are float32.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy import fft

from hbac_utils.data.layout import SAMPLING_RATE

Spectrum = Callable[[np.ndarray], np.ndarray]

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


def white(f: np.ndarray) -> np.ndarray:
    """Evaluate the spectrum of white noise with unit variance at 200 Hz."""
    return np.full(np.shape(f), np.sqrt(2 / SAMPLING_RATE))


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
