"""Rhythmic and periodic patterns and seizures, as one family with continuous parameters.

Frequency, form, sharpness, field, sides and evolution vary continuously, so that what lies
between two terms of the terminology can be simulated as well as what is typical of one. What
an episode looks like over time is made in `hbac_utils.synthetic.waveforms`.

References
----------
Hirsch et al. (2021), J Clin Neurophysiol 38:1, doi:10.1097/WNP.0000000000000806: terms,
modifiers, frequencies, phases, sharpness, lag, evolution.
"""

from dataclasses import dataclass

import numpy as np

from hbac_utils.synthetic import forward_model as head
from hbac_utils.synthetic import raters

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
    deformation : float
        The same of the sizes and widths of a discharge's components.
    accord : float, 0 to 1
        Share of the form that the two hemispheres have in common.
    waxing, waxing_seconds : float
        Slow change of the log amplitude and its time.
    fast : float
        Size of overlaid fast activity ("+F").
    fast_frequency : float, Hz
    trend : float
        Octaves of frequency in a minute.
    growth : float
        Octaves of amplitude in a minute.
    wobble : float
        Standard deviation of frequency and amplitude, in octaves, about that straight course.
    ripening : float
        Change of periodicity in a minute: a rhythm that becomes spikes and waves.
    recruitment : float, 0 to 1
        How much of the other field joins only on the way.
    lead, tail : float, seconds
        How long it lasts before and after what is labelled.
    intermittency : float, 0 to 1
        Share of that time in which it pauses.
    aftermath : float, 0 to 1
        Attenuation of the background after it.
    tension : float, µV
        RMS of the muscle activity that goes with it.
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
    deformation: float
    accord: float
    waxing: float
    waxing_seconds: float
    fast: float
    fast_frequency: float
    trend: float
    growth: float
    wobble: float
    ripening: float
    recruitment: float
    lead: float
    tail: float
    intermittency: float
    aftermath: float
    tension: float

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
        deformation=float(rng.uniform(0.02, 0.4)),
        accord=float(rng.uniform(0.3, 1)),
        waxing=float(rng.uniform(0.05, 0.5)),
        waxing_seconds=float(rng.uniform(1.5, 10)),
        fast=float(fast),
        fast_frequency=float(rng.uniform(12, 28)),
        trend=float(evolution * rng.uniform(0.3, 1.8) * rng.choice((-1, 1), p=(0.8, 0.2))),
        growth=float(evolution * rng.uniform(-0.5, 2.5)),
        wobble=float(evolution * rng.uniform(0, 0.5)),
        ripening=float(evolution * rng.uniform(-0.2, 0.6)),
        recruitment=float(evolution * rng.uniform(0, 1)),
        lead=float(_duration(rng, seizing)),
        tail=float(_duration(rng, seizing)),
        intermittency=float(rng.uniform(0.05, 0.8) if rng.random() < 0.5 else 0),
        aftermath=float(seizing * rng.uniform(0, 0.8)),
        tension=float(np.exp(rng.uniform(1, 4)) if rng.random() < 0.4 * seizing else 0),
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
