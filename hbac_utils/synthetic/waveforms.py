"""Waveforms of an episode: cycles that are a weighted sum of a rhythmic wave and a discharge."""

import numpy as np
from numpy.random import Generator
from scipy.ndimage import uniform_filter1d
from scipy.stats import norm

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.synthetic.noise import fluctuation, gate, gaussian, rhythm
from hbac_utils.synthetic.patterns import Episode


def episode_waveforms(
    e: Episode, rng: Generator, seconds: float, labelled: tuple[float, float]
) -> np.ndarray:
    """Simulate the 200-Hz waveforms of an episode's three fields, shape (3, n_times).

    In the labelled part (seconds), frequency is the stated one, and the first waveform has a
    peak-to-peak amplitude of about one.
    """
    times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    progress = np.clip((times - sum(labelled) / 2) / np.clip(seconds, 20, 60), -0.8, 0.8)
    cycle, period = _cycles(e, rng, times, _trend(e.trend, e.wobble, rng, progress))
    x = np.clip((e.periodicity + e.ripening * progress - 0.2) / 0.6, 0, 1)
    discrete = x * x * (3 - 2 * x)  # weight of the discharge
    part = slice(*(int(SAMPLING_RATE * t) for t in labelled))
    waves = (_wave(e, rng, cycle, period, discrete) for _ in range(2))
    near, other = (wave / _peak_to_peak(wave[part], cycle[part]) for wave in waves)
    waxing = e.waxing * fluctuation(rng, len(times), e.waxing_seconds)
    size = 2 ** _trend(e.growth, e.wobble, rng, progress) * np.exp(waxing)
    size *= gate(times, 0.5, seconds - 0.5, 1.0)
    if e.intermittency:  # the pattern may pause outside the labelled part
        level = fluctuation(rng, len(times), rng.uniform(5, 60))
        present = uniform_filter1d(1.0 - (level < norm.ppf(e.intermittency)), 2 * SAMPLING_RATE)
        size *= np.maximum(present, gate(times, labelled[0] - 3, labelled[1] + 3, 4))
    # the hemispheres are synchronous, but their forms differ in part
    far = e.accord * near + (1 - e.accord) * other
    far *= np.exp(e.variation * fluctuation(rng, len(times), 1))
    joining = 1 - e.recruitment * np.clip(0.5 - 2 * progress, 0, 1)
    broad, far = (
        joining * np.pad(size * wave, (round(delay * SAMPLING_RATE), 0))[: len(times)]
        for wave, delay in ((near, e.travel), (far, e.lag))
    )
    return np.stack([size * near, broad, far]).astype(np.float32)


def _trend(octaves: float, wobble: float, rng: Generator, progress: np.ndarray) -> np.ndarray:
    # linear, with a random deviation that is zero at the label's centre
    deviation = fluctuation(rng, len(progress), rng.uniform(6, 30))
    deviation -= deviation[np.argmin(np.abs(progress))]
    return octaves * progress + wobble * deviation


def _cycles(
    e: Episode, rng: Generator, times: np.ndarray, octaves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # (number of cycles so far with its fraction, seconds of the present cycle) at each time
    octaves = octaves + 0.5 * e.irregularity * fluctuation(rng, len(times), 6)
    frequency = np.clip(e.frequency * 2**octaves, 0.3, 25)
    phase = np.cumsum(frequency) / SAMPLING_RATE
    onsets = np.interp(np.arange(1, phase[-1]), phase, times)
    period = np.interp(onsets, times, 1 / frequency)
    onsets += e.irregularity / np.sqrt(2) * period * rng.standard_normal(len(onsets))
    onsets = np.concatenate([[-3], np.sort(onsets), [times[-1] + 3]])
    spacing = 0.02 * np.arange(len(onsets))  # onsets are at least 0.02 s apart
    onsets = np.maximum.accumulate(onsets - spacing) + spacing
    cycle = np.interp(times, onsets, np.arange(len(onsets)))
    return cycle, np.diff(onsets)[cycle.astype(np.int64)].clip(0.02, 2.5)


def _wave(
    e: Episode, rng: Generator, cycle: np.ndarray, period: np.ndarray, discrete: np.ndarray
) -> np.ndarray:
    index = cycle.astype(np.int64)
    sizes = np.exp(e.variation * rng.standard_normal(index[-1] + 2))
    wave = np.zeros(len(cycle))
    if discrete.min() < 1:
        smooth_sizes = np.interp(cycle, np.arange(len(sizes)) + 0.5, sizes)
        wave += (1 - discrete) * smooth_sizes * _rhythmic_wave(e, rng, cycle)
    if discrete.max() > 0:
        wave += discrete * sizes[index] * _discharges(e, rng, cycle, period)
    if e.fast:
        band = gaussian(rng, rhythm(e.fast_frequency, 2), 1, len(cycle))[0]
        wave += e.fast * band * 0.5 * (1 + wave)
    return wave - uniform_filter1d(wave, 4 * SAMPLING_RATE)  # amplifiers remove the constant part


def _rhythmic_wave(e: Episode, rng: Generator, cycle: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * cycle
    angle = angle + e.skew * np.sin(angle)
    shifts = rng.uniform(0, 2 * np.pi, 2)
    change = 1 + 0.5 * fluctuation(rng, len(cycle), 2)
    harmonics = np.sin(2 * angle + shifts[0]) + 0.4 * np.sin(3 * angle + shifts[1])
    wave = np.sin(angle) + e.harmonic * change * harmonics
    spectrum = rhythm(e.frequency, 0.35 * e.frequency)
    rough = gaussian(rng, spectrum, 1, len(cycle))[0]
    return 0.5 * ((1 - e.roughness / 2) * wave + e.roughness * rough)


def _discharges(e: Episode, rng: Generator, cycle: np.ndarray, period: np.ndarray) -> np.ndarray:
    w, index = e.sharpness, cycle.astype(np.int64)
    lobes = [(0.0, w, 1.0)]  # place and width (seconds), size
    for k in range(1, e.lobes):
        place = (k + 1) // 2 * (1.9 * w) * (1 if k % 2 else -1)
        size = (-1) ** ((k + 1) // 2) * rng.uniform(0.3, 0.9)
        lobes.append((place, w * rng.uniform(0.8, 1.4), size))
    slow = rng.uniform(0.05, 0.14)
    lobes.append((2 * w + 2 * slow, slow, e.slow_wave * rng.choice((1, -1), p=(0.7, 0.3))))
    begin, end = (f([p + s * 2 * d for p, d, _ in lobes]) for f, s in ((min, -1), (max, 1)))
    # discharges are compressed where they would fill too much of the cycle
    stretch = np.maximum(1, (end - begin) / ((0.9 - 0.5 * e.periodicity) * period))
    x = stretch * ((cycle - index) * period) + begin
    wave = np.zeros(len(cycle))
    for place, width, size in lobes:
        draws = np.exp(e.deformation * rng.standard_normal((2, index[-1] + 1)))
        sizes, widths = size * draws[0], width * np.sqrt(draws[1])
        wave += sizes[index] * np.exp(-0.5 * ((x - place) / widths[index]) ** 2)
    return e.polarity * wave


def _peak_to_peak(wave: np.ndarray, cycle: np.ndarray) -> float:
    # median over the cycles
    starts = np.flatnonzero(np.diff(cycle.astype(np.int64), prepend=-1))
    ranges = np.maximum.reduceat(wave, starts) - np.minimum.reduceat(wave, starts)
    return max(float(np.median(ranges)), 1e-3)
