"""Rhythmic and periodic patterns and seizures, as one family with continuous parameters.

A pattern is a train of cycles. Each cycle is a blend of a rhythmic wave that fills it and a
discharge that stands alone in it; frequency, sharpness, field, sides and evolution vary
continuously, so that what lies between two terms of the terminology can be simulated as
well as what is typical of one.

References
----------
Hirsch et al. (2021), J Clin Neurophysiol 38:1, doi:10.1097/WNP.0000000000000806: terms,
modifiers, frequencies, phases, sharpness, lag, evolution.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.stats import norm

from hbac_utils.data.competition import SAMPLING_RATE
from hbac_utils.synthetic import head, raters, sources

SILENT = -15.0  # dB of contrast below which a pattern is not drawn at all


@dataclass(frozen=True)
class Episode:
    """One stretch of one pattern; the first six are what the experts judge.

    Parameters
    ----------
    contrast, irregularity, frequency, evolution, periodicity, laterality : float
        See `raters.evidence`.
    side : int
        −1 for left, 1 for right: where it begins and is larger.
    inclination, azimuth, width : float, degrees
        Of the patch of cortex, see `head.direction` and `head.patch`.
    tilt : tuple of 3 float
        Tangential part of its moment.
    sharpness : float, seconds
        Width of the main component of the discharge: 0.02 is a spike, 0.12 is blunt.
    lobes : int
        Components of the discharge.
    slow_wave : float
        Size of the slow wave after it.
    polarity : int
        −1 where the main component is negative at the surface.
    harmonic, skew : float
        Of the rhythmic wave: a sinusoid has none, a notched or saw-tooth wave has.
    roughness : float, 0 to 1
        Share of narrow-band noise in the rhythmic wave.
    lag, travel : float, seconds
        Delay of the other hemisphere; delay of the surroundings, an anterior–posterior lag.
    reach : float, degrees
        How far behind the focus its surroundings are centred.
    variation : float
        Standard deviation of the log amplitude from cycle to cycle.
    waxing, waxing_seconds : float
        Slow change of the log amplitude and its time.
    fast : float
        Size of overlaid fast activity ("+F").
    fast_frequency : float, Hz
    trend : float
        Octaves of frequency in a minute.
    growth : float
        Octaves of amplitude in a minute.
    recruitment : float, 0 to 1
        How much of the other field joins only on the way.
    lead, tail : float, seconds
        How long it lasts before and after what is labelled.
    intermittency : float, 0 to 1
        Share of that time in which it pauses.
    aftermath : float, 0 to 1
        Attenuation of the background after it.
    """

    contrast: float
    irregularity: float
    frequency: float
    evolution: float
    periodicity: float
    laterality: float
    side: int
    inclination: float
    azimuth: float
    width: float
    tilt: tuple[float, float, float]
    sharpness: float
    lobes: int
    slow_wave: float
    polarity: int
    harmonic: float
    skew: float
    roughness: float
    lag: float
    travel: float
    reach: float
    variation: float
    waxing: float
    waxing_seconds: float
    fast: float
    fast_frequency: float
    trend: float
    growth: float
    recruitment: float
    lead: float
    tail: float
    intermittency: float
    aftermath: float

    @property
    def evidence(self) -> np.ndarray:
        """What the experts weigh, shape (4,); see `raters.evidence`."""
        return raters.evidence(
            self.contrast,
            self.irregularity,
            self.frequency,
            self.evolution,
            self.periodicity,
            self.laterality,
        )


def draw_episode(rng: np.random.Generator, wanted: np.ndarray) -> Episode:
    """Draw an episode with about the wanted evidence; all else comes from wide ranges.

    Parameters
    ----------
    rng : Generator
    wanted : array, shape (4,)
        For the four `raters.QUESTIONS`.

    Returns
    -------
    Episode
        Where the wanted evidence is beyond what is physiological, it is clipped.
    """
    pattern, ictal, periodic, lateral = wanted
    periodicity = _level(periodic, raters.PERIODICITY)
    laterality = _level(lateral, raters.LATERALITY)
    evolution, frequency = _pace(rng, ictal, periodicity)
    irregularity = rng.uniform(0.03, 0.28)
    contrast = raters.contrast_limit(periodicity) + raters.CONTRAST[1] * pattern
    if pattern < 1 and rng.random() < 0.35:  # strong enough, but ill-formed
        irregularity = rng.uniform(0.3, 0.75)
        excess = (irregularity - raters.REGULARITY[0]) / raters.REGULARITY[1]
        contrast += raters.CONTRAST[1] * excess
    seizing = 1 / (1 + np.exp(-2 * ictal))
    fast = rng.uniform(0.05, 0.35) if rng.random() < 0.15 + 0.3 * seizing else 0.0
    return Episode(
        contrast=float(min(contrast, 24)),
        irregularity=float(irregularity),
        frequency=frequency,
        evolution=evolution,
        periodicity=periodicity,
        laterality=laterality,
        side=int(rng.choice((-1, 1))),
        **_place(rng, laterality, periodicity),
        sharpness=float(np.exp(rng.uniform(np.log(0.015), np.log(0.12)))),
        lobes=int(rng.choice((1, 2, 3, 4, 5), p=(0.15, 0.35, 0.3, 0.12, 0.08))),
        slow_wave=float(rng.uniform(0, 1.2)),
        polarity=int(rng.choice((-1, 1), p=(0.7, 0.3))),
        harmonic=float(rng.uniform(0, 0.6)),
        skew=float(rng.uniform(-0.7, 0.7)),
        roughness=float(rng.uniform(0.1, 0.7)),
        lag=float(rng.uniform(0, 0.04)),
        travel=float(rng.uniform(0, 0.1)),
        reach=float(rng.uniform(0, 60)),
        variation=float(rng.uniform(0.05, 0.4)),
        waxing=float(rng.uniform(0.05, 0.5)),
        waxing_seconds=float(rng.uniform(1.5, 10)),
        fast=float(fast),
        fast_frequency=float(rng.uniform(12, 28)),
        trend=float(evolution * rng.uniform(0.3, 1.8) * rng.choice((-1, 1), p=(0.8, 0.2))),
        growth=float(evolution * rng.uniform(-0.5, 2.5)),
        recruitment=float(evolution * rng.uniform(0, 1)),
        lead=float(_duration(rng, seizing)),
        tail=float(_duration(rng, seizing)),
        intermittency=float(rng.uniform(0.05, 0.8) if rng.random() < 0.5 else 0),
        aftermath=float(seizing * rng.uniform(0, 0.8)),
    )


def _level(wanted: float, scale: tuple[float, float]) -> float:
    return float(np.clip(scale[0] + scale[1] * wanted, 0, 1))


def _pace(rng: np.random.Generator, ictal: float, periodicity: float) -> tuple[float, float]:
    # evolution first; the frequency then gives the rest of the wanted evidence
    centre, unit = raters.EVOLUTION
    for _ in range(20):
        evolution = rng.beta(3, 1.5) if ictal > 0 else rng.beta(1.2, 5)
        octaves = raters.PACE * (ictal - max(0, evolution - centre) / unit)
        frequency = raters.pace_limit(periodicity) * 2**octaves
        if 0.5 <= frequency <= 20:
            break
    return float(evolution), float(np.clip(frequency, 0.5, 20))


def _place(rng: np.random.Generator, laterality: float, periodicity: float) -> dict:
    tilt = tuple(float(x) for x in rng.normal(0, 0.5, 3))
    if laterality > rng.uniform(0.25, 0.55):
        inclination, azimuth, width = (45, 100), (25, 155), (16, 50)
    elif rng.random() < 0.5 + 0.4 * (1 - periodicity):  # frontal, as in most GRDA
        inclination, azimuth, width = (35, 80), (5, 40), (20, 45)
    else:
        inclination, azimuth, width = (20, 90), (10, 165), (25, 50)
    ranges = {"inclination": inclination, "azimuth": azimuth, "width": width}
    return {name: float(rng.uniform(*ends)) for name, ends in ranges.items()} | {"tilt": tilt}


def _duration(rng: np.random.Generator, seizing: float) -> float:
    # most seizures last for a minute or two, other patterns, and some seizures, for long
    low, high = (2, 90) if rng.random() < 0.75 * seizing else (8, 1500)
    return np.exp(rng.uniform(np.log(low), np.log(high)))


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
    cycle, period = _cycles(episode, rng, times, progress)
    wave = _wave(episode, rng, cycle, period)
    wave -= uniform_filter1d(wave, 4 * SAMPLING_RATE)  # amplifiers do not pass what is constant
    wave /= _peak_to_peak(wave, cycle, slice(*(int(SAMPLING_RATE * t) for t in labelled)))
    waxing = episode.waxing * sources.wander(rng, len(times), episode.waxing_seconds)
    wave *= 2 ** (episode.growth * progress) * np.exp(waxing)
    wave *= sources.switch(times, 0.5, seconds - 0.5, 1.0)
    wave *= _presence(episode, rng, times, labelled)
    joining = 1 - episode.recruitment * np.clip(0.5 - 2 * progress, 0, 1)
    own = np.exp(episode.variation * sources.wander(rng, len(times), 1))  # sides differ a little
    broad = joining * _delayed(wave, episode.travel)
    far = own * joining * _delayed(wave, episode.lag)
    return np.stack([wave, broad, far]).astype(np.float32)


def _presence(
    episode: Episode, rng: np.random.Generator, times: np.ndarray, labelled: tuple[float, float]
) -> np.ndarray:
    # it may pause, though not where it is labelled
    if not episode.intermittency:
        return np.ones(len(times))
    pauses = sources.wander(rng, len(times), rng.uniform(5, 60)) < norm.ppf(episode.intermittency)
    present = uniform_filter1d(1.0 - pauses, 2 * SAMPLING_RATE)
    return np.maximum(present, sources.switch(times, labelled[0] - 3, labelled[1] + 3, 4))


def fields(episode: Episode) -> np.ndarray:
    """Compute the fields of an episode's focus, of its surroundings, and of the other side.

    Returns
    -------
    array of float64, shape (3, n_sensors)
        See `head.patch`; their sum is the field where all three are in phase.
    """
    behind = min(episode.azimuth + episode.reach, 170)
    near, broad = (
        head.patch(head.direction(episode.inclination, episode.side * azimuth), width, episode.tilt)
        for azimuth, width in (
            (episode.azimuth, episode.width),
            (behind, min(1.7 * episode.width, 60)),
        )
    )
    balance = (1 - episode.laterality) / (1 + episode.laterality)  # far over near amplitude
    broad = 0.5 * (broad + balance * head.mirrored(broad))
    return np.stack([near, broad, balance * head.mirrored(near)])


def _cycles(
    episode: Episode, rng: np.random.Generator, times: np.ndarray, progress: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # (count of cycles so far, with its fraction; seconds that the present cycle lasts)
    octaves = episode.trend * progress + 0.5 * episode.irregularity * sources.wander(
        rng, len(times), 6
    )
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
    episode: Episode, rng: np.random.Generator, cycle: np.ndarray, period: np.ndarray
) -> np.ndarray:
    index = cycle.astype(np.int64)
    sizes = np.exp(episode.variation * rng.standard_normal(index[-1] + 2))
    x = np.clip((episode.periodicity - 0.2) / 0.6, 0, 1)
    discrete = x * x * (3 - 2 * x)
    wave = np.zeros(len(cycle))
    if discrete < 1:
        smooth_sizes = np.interp(cycle, np.arange(len(sizes)) + 0.5, sizes)
        wave += (1 - discrete) * smooth_sizes * _rhythm(episode, rng, cycle)
    if discrete > 0:
        wave += discrete * sizes[index] * _discharges(episode, rng, cycle - index, period, index)
    if episode.fast:
        band = sources.noise(rng, sources.bump(episode.fast_frequency, 2), 1, len(cycle))[0]
        wave += episode.fast * band * 0.5 * (1 + wave)
    return wave


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
        sizes = size * (1 + 0.25 * rng.standard_normal(index[-1] + 1))
        wave += sizes[index] * np.exp(-0.5 * ((x - place) / width) ** 2)
    return episode.polarity * wave


def _peak_to_peak(wave: np.ndarray, cycle: np.ndarray, labelled: slice) -> float:
    wave, index = wave[labelled], cycle[labelled].astype(np.int64)
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    ranges = np.maximum.reduceat(wave, starts) - np.minimum.reduceat(wave, starts)
    return max(float(np.median(ranges)), 1e-3)


def _delayed(course: np.ndarray, seconds: float) -> np.ndarray:
    n = round(seconds * SAMPLING_RATE)
    return np.concatenate([np.zeros(n, course.dtype), course[: len(course) - n]])
