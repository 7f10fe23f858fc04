"""What an episode looks like over time: trains of cycles, waves and discharges.

A pattern is a train of cycles. Each cycle is a blend of a rhythmic wave that fills it and a
discharge that stands alone in it.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.stats import norm

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.synthetic import noise as sources
from hbac_utils.synthetic.patterns import Episode


def render_episode(
    episode: Episode, rng: np.random.Generator, seconds: float, labelled: tuple[float, float]
) -> np.ndarray:
    """Simulate the time courses of one episode.

    Parameters
    ----------
    episode : Episode
    rng : Generator
    seconds : float
        How long the episode lasts in all.
    labelled : tuple of 2 float, seconds
        From its begin: the stretch where frequency and amplitude are the stated ones.

    Returns
    -------
    array of float32, shape (3, n_times), 200 Hz
        For the three `fields`. The first has a peak-to-peak amplitude of about one during
        ``labelled``.
    """
    times = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    progress = np.clip((times - sum(labelled) / 2) / np.clip(seconds, 20, 60), -0.8, 0.8)
    cycle, period = _cycles(episode, rng, times, _course(episode.trend, episode, rng, progress))
    discrete = _discreteness(episode, progress)
    labelled_part = slice(*(int(SAMPLING_RATE * t) for t in labelled))
    near, other = (_wave(episode, rng, cycle, period, discrete, labelled_part) for _ in range(2))
    waxing = episode.waxing * sources.wander(rng, len(times), episode.waxing_seconds)
    size = 2 ** _course(episode.growth, episode, rng, progress) * np.exp(waxing)
    size *= sources.switch(times, 0.5, seconds - 0.5, 1.0)
    size *= _presence(episode, rng, times, labelled)
    # the hemispheres keep time with each other, but have forms of their own in part
    far = episode.accord * near + (1 - episode.accord) * other
    far *= np.exp(episode.variation * sources.wander(rng, len(times), 1))
    joining = 1 - episode.recruitment * np.clip(0.5 - 2 * progress, 0, 1)
    broad = joining * _delayed(size * near, episode.travel)
    far = joining * _delayed(size * far, episode.lag)
    return np.stack([size * near, broad, far]).astype(np.float32)


def _course(
    octaves: float, episode: Episode, rng: np.random.Generator, progress: np.ndarray
) -> np.ndarray:
    # a straight way and a winding about it, zero at the label's centre
    winding = sources.wander(rng, len(progress), rng.uniform(6, 30))
    winding -= winding[np.argmin(np.abs(progress))]
    return octaves * progress + episode.wobble * winding


def _discreteness(episode: Episode, progress: np.ndarray) -> np.ndarray:
    # share of the discharge in a cycle's form
    x = np.clip((episode.periodicity + episode.ripening * progress - 0.2) / 0.6, 0, 1)
    return x * x * (3 - 2 * x)


def _presence(
    episode: Episode, rng: np.random.Generator, times: np.ndarray, labelled: tuple[float, float]
) -> np.ndarray:
    # it may pause, though not where it is labelled
    if not episode.intermittency:
        return np.ones(len(times))
    pauses = sources.wander(rng, len(times), rng.uniform(5, 60)) < norm.ppf(episode.intermittency)
    present = uniform_filter1d(1.0 - pauses, 2 * SAMPLING_RATE)
    return np.maximum(present, sources.switch(times, labelled[0] - 3, labelled[1] + 3, 4))


def _cycles(
    episode: Episode, rng: np.random.Generator, times: np.ndarray, octaves: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # (count of cycles so far, with its fraction; seconds that the present cycle lasts)
    octaves = octaves + 0.5 * episode.irregularity * sources.wander(rng, len(times), 6)
    frequency = np.clip(episode.frequency * 2**octaves, 0.3, 25)
    phase = np.cumsum(frequency) / SAMPLING_RATE
    onsets = np.interp(np.arange(1, phase[-1]), phase, times)
    period = np.interp(onsets, times, 1 / frequency)
    onsets += episode.irregularity / np.sqrt(2) * period * rng.standard_normal(len(onsets))
    onsets = np.concatenate([[-3], np.sort(onsets), [times[-1] + 3]])
    apart = 0.02 * np.arange(len(onsets))  # seconds, the least between two
    onsets = np.maximum.accumulate(onsets - apart) + apart
    cycle = np.interp(times, onsets, np.arange(len(onsets)))
    return cycle, np.diff(onsets)[cycle.astype(np.int64)].clip(0.02, 2.5)


def _wave(
    episode: Episode,
    rng: np.random.Generator,
    cycle: np.ndarray,
    period: np.ndarray,
    discrete: np.ndarray,
    labelled: slice,
) -> np.ndarray:
    # of a peak-to-peak amplitude of one in the labelled part
    index = cycle.astype(np.int64)
    sizes = np.exp(episode.variation * rng.standard_normal(index[-1] + 2))
    wave = np.zeros(len(cycle))
    if discrete.min() < 1:
        smooth_sizes = np.interp(cycle, np.arange(len(sizes)) + 0.5, sizes)
        wave += (1 - discrete) * smooth_sizes * _rhythm(episode, rng, cycle)
    if discrete.max() > 0:
        wave += discrete * sizes[index] * _discharges(episode, rng, cycle - index, period, index)
    if episode.fast:
        band = sources.noise(rng, sources.bump(episode.fast_frequency, 2), 1, len(cycle))[0]
        wave += episode.fast * band * 0.5 * (1 + wave)
    wave -= uniform_filter1d(wave, 4 * SAMPLING_RATE)  # amplifiers do not pass what is constant
    return wave / _peak_to_peak(wave, cycle, labelled)


def _rhythm(episode: Episode, rng: np.random.Generator, cycle: np.ndarray) -> np.ndarray:
    angle = 2 * np.pi * cycle
    angle = angle + episode.skew * np.sin(angle)
    shifts = rng.uniform(0, 2 * np.pi, 2)
    change = 1 + 0.5 * sources.wander(rng, len(cycle), 2)
    wave = np.sin(angle) + episode.harmonic * change * (
        np.sin(2 * angle + shifts[0]) + 0.4 * np.sin(3 * angle + shifts[1])
    )
    f = episode.frequency
    rough = sources.noise(rng, sources.bump(f, 0.35 * f), 1, len(cycle))[0]
    return 0.5 * ((1 - episode.roughness / 2) * wave + episode.roughness * rough)


def _discharges(
    episode: Episode,
    rng: np.random.Generator,
    fraction: np.ndarray,
    period: np.ndarray,
    index: np.ndarray,
) -> np.ndarray:
    w, n = episode.sharpness, episode.lobes
    lobes = [(0.0, w, 1.0)]
    for k in range(1, n):
        place = (k + 1) // 2 * (1.9 * w) * (1 if k % 2 else -1)
        size = (-1) ** ((k + 1) // 2) * rng.uniform(0.3, 0.9)
        lobes.append((place, w * rng.uniform(0.8, 1.4), size))
    slow = rng.uniform(0.05, 0.14)
    lobes.append((2 * w + 2 * slow, slow, episode.slow_wave * rng.choice((1, -1), p=(0.7, 0.3))))
    begin, end = (f([p + s * 2 * d for p, d, _ in lobes]) for f, s in ((min, -1), (max, 1)))
    # where too little of the cycle would be left between discharges, they are compressed
    share = 0.9 - 0.5 * episode.periodicity
    stretch = np.maximum(1, (end - begin) / (share * period))
    x = stretch * (fraction * period) + begin
    wave = np.zeros(len(fraction))
    for place, width, size in lobes:
        draws = np.exp(episode.deformation * rng.standard_normal((2, index[-1] + 1)))
        sizes, widths = size * draws[0], width * np.sqrt(draws[1])
        wave += sizes[index] * np.exp(-0.5 * ((x - place) / widths[index]) ** 2)
    return episode.polarity * wave


def _peak_to_peak(wave: np.ndarray, cycle: np.ndarray, labelled: slice) -> float:
    wave, index = wave[labelled], cycle[labelled].astype(np.int64)
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    ranges = np.maximum.reduceat(wave, starts) - np.minimum.reduceat(wave, starts)
    return max(float(np.median(ranges)), 1e-3)


def _delayed(course: np.ndarray, seconds: float) -> np.ndarray:
    n = round(seconds * SAMPLING_RATE)
    return np.concatenate([np.zeros(n, course.dtype), course[: len(course) - n]])
