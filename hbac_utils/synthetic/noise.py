"""Time courses of sources: coloured noise, slow fluctuations, smooth switches.

All are float32, for they are large and only ever added up.
"""

from collections.abc import Callable

import numpy as np
from scipy import fft

from hbac_utils.data.layout import SAMPLING_RATE


def _normal_table(size: int = 2**16) -> np.ndarray:
    # complex normal numbers at even quantiles of the radius and (golden angle) of the phase;
    # drawing from it is ten times as fast as drawing normal numbers, which noise is made of
    i = np.arange(size)
    radius = np.sqrt(-2 * np.log((i + 0.5) / size))
    return (radius * np.exp(1j * np.pi * (3 - np.sqrt(5)) * i)).astype(np.complex64)


_NORMAL = _normal_table()


def noise(
    rng: np.random.Generator,
    amplitude: Callable,
    n_streams: int,
    n_times: int,
    rate: float = SAMPLING_RATE,
) -> np.ndarray:
    """Draw Gaussian noise with a given spectrum.

    Parameters
    ----------
    rng : Generator
    amplitude : callable
        Turns frequencies (Hz, shape (n,)) into the root of the one-sided spectral density.
    n_streams, n_times : int
    rate : float, Hz

    Returns
    -------
    array of float32, shape (n_streams, n_times)
        Independent rows whose variance is the integral of the density to half the rate.
    """
    length = fft.next_fast_len(n_times, real=True)
    shape = amplitude(fft.rfftfreq(length, 1 / rate)) * np.sqrt(rate * length / 4)
    shape[0] = 0
    # most spectra are narrow: nothing is drawn where they hold nothing
    used = np.flatnonzero(shape > 1e-4 * shape.max())
    if not len(used):
        return np.zeros((n_streams, n_times), dtype=np.float32)
    band = slice(used[0], used[-1] + 1)
    drawn = rng.integers(0, len(_NORMAL), (n_streams, band.stop - band.start), dtype=np.uint16)
    spectrum = np.zeros((n_streams, len(shape)), dtype=np.complex64)
    spectrum[:, band] = _NORMAL[drawn] * shape[band].astype(np.float32)
    return fft.irfft(spectrum, length, axis=-1)[:, :n_times]


def bump(centre: float, width: float) -> Callable:
    """Make the amplitude spectrum of a rhythm with unit variance.

    Parameters
    ----------
    centre, width : float, Hz
        Of a Gaussian peak; the width of one near 0 Hz should be small against the centre.
    """
    height = 1 / np.sqrt(width * np.sqrt(np.pi))
    return lambda f: height * np.exp(-0.5 * ((f - centre) / width) ** 2)


def flat() -> Callable:
    """Make the amplitude spectrum of white noise with unit variance at 200 Hz."""
    return lambda f: np.full(np.shape(f), np.sqrt(2 / SAMPLING_RATE))


def aperiodic(exponent: float, knee: float) -> Callable:
    """Make the amplitude spectrum of 1/f activity, as a high-pass at 0.4 Hz leaves it.

    Parameters
    ----------
    exponent : float
        Of the power's fall.
    knee : float, Hz
        Below it the power is flat.

    Returns
    -------
    callable
        With unit variance between 0 and 100 Hz.

    References
    ----------
    Donoghue et al. (2020), Nat Neurosci 23:1655, doi:10.1038/s41593-020-00744-x.
    """

    def shape(f):
        return f**2 / (f**2 + 0.4**2) / (knee**2 + f**2) ** (exponent / 4)

    grid = np.arange(1, 2000) * 0.05
    total = np.sqrt((shape(grid) ** 2).sum() * 0.05)
    return lambda f: shape(f) / total


def wander(
    rng: np.random.Generator, n_times: int, seconds: float, rate: float = SAMPLING_RATE
) -> np.ndarray:
    """Draw a slow random fluctuation.

    Parameters
    ----------
    rng : Generator
    n_times : int
    seconds : float
        About the time that it keeps its sign.
    rate : float, Hz

    Returns
    -------
    array of float32, shape (n_times,)
        Standard normal at each time.
    """
    n_knots = int(n_times / (seconds * rate)) + 3
    knots = rng.standard_normal(n_knots)
    x = np.arange(8) / 8
    # weights whose squares sum to one keep the variance constant
    weights = np.cos(np.pi / 2 * x), np.sin(np.pi / 2 * x)
    coarse = np.outer(knots[:-1], weights[0]) + np.outer(knots[1:], weights[1])
    place = np.arange(n_times) * (8 / (seconds * rate)) + 8 * rng.random()
    return np.interp(place, np.arange(coarse.size), coarse.ravel()).astype(np.float32)


def switch(times: np.ndarray, on: float, off: float, ramp: float) -> np.ndarray:
    """Rise from zero to one at ``on`` and fall again at ``off``, each over ``ramp`` seconds.

    Parameters
    ----------
    times : array, shape (n_times,), seconds
    on, off, ramp : float, seconds

    Returns
    -------
    array of float32, shape (n_times,)
    """
    return np.clip(np.minimum(times - on, off - times) / ramp + 0.5, 0, 1).astype(np.float32)
