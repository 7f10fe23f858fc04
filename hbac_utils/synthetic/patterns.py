"""Rhythmic patterns, periodic patterns and seizures as one family with continuous parameters.

Experts judge an episode by its *evidence* for each decision, a smooth function of six parameters.
Terms and limits: Hirsch et al. (2021), doi:10.1097/WNP.0000000000000806. Periodic discharges above
2.5 Hz, or evolution, make a seizure; rhythmic delta ends at 4 Hz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from hbac_utils.synthetic.forward_model import mirror_fields, patch_field
from hbac_utils.synthetic.noise import log_uniform

# evidence: (value at which half of the experts say yes, change per unit of evidence)
CONTRAST = (0.0, 3.0)  # dB, of a rhythmic pattern
SPARSE = 6.0  # dB more for discharges, which are near their peak for a short time only
IRREGULARITY = (0.28, 0.08)  # only what is above counts, against the pattern
EVOLUTION = (0.35, 0.20)  # only what is above counts, for a seizure
OCTAVES = 0.45  # of frequency per unit of evidence for a seizure
FREQUENCIES = (4.0, 2.5)  # Hz, upper limits of rhythmic delta and of periodic discharges
PERIODICITY = (0.50, 0.11)
LATERALITY = (0.40, 0.11)


@dataclass(frozen=True)
class Episode:
    """Parameters of one episode of one pattern; the first six give its evidence."""

    contrast: float  # dB, peak-to-peak over 4 std of the background, in the largest derivation
    irregularity: float  # coefficient of variation of the period
    frequency: float  # Hz
    evolution: float  # 0 to 1, change of frequency, amplitude and field
    periodicity: float  # 0 to 1, share of silence in a cycle: from a sinusoid to a spike train
    laterality: float  # 0 to 1, (near − far) / (near + far) of the hemispheres' amplitudes
    side: int  # −1 left, 1 right: where the pattern begins and is larger
    inclination: float  # degrees, see `forward_model.direction`
    azimuth: float
    width: float  # degrees, see `forward_model.patch_field`
    tilt: tuple[float, float, float]
    sharpness: float  # seconds, width of a discharge's main component: 0.02 spike, 0.12 blunt
    lobes: int  # components of a discharge
    slow_wave: float  # relative size of the slow wave after a discharge
    polarity: int  # −1 if the main component is negative at the surface
    harmonic: float  # of the rhythmic wave: 0 is a sinusoid
    skew: float  # of the rhythmic wave: −1 to 1, saw tooth
    roughness: float  # 0 to 1, share of narrow-band noise in the rhythmic wave
    lag: float  # seconds, delay of the other hemisphere
    travel: float  # seconds, delay of the surroundings (anterior–posterior lag)
    reach: float  # degrees, distance of the surroundings' centre behind the focus
    variation: float  # standard deviation of the log amplitude between cycles
    deformation: float  # the same for the sizes and widths of a discharge's components
    accord: float  # 0 to 1, share of the form that both hemispheres have in common
    waxing: float  # standard deviation of slow changes of the log amplitude
    waxing_seconds: float  # their time scale
    fast: float  # relative size of superimposed fast activity ("+F")
    fast_frequency: float  # Hz
    trend: float  # octaves of frequency per minute
    growth: float  # octaves of amplitude per minute
    wobble: float  # octaves, deviation of frequency and amplitude from their trends
    ripening: float  # change of periodicity per minute
    recruitment: float  # 0 to 1, share of the other fields that joins in the course of the episode
    lead: float  # seconds before the labelled part
    tail: float  # seconds after the labelled part
    intermittency: float  # 0 to 1, share of lead and tail in which the pattern pauses
    aftermath: float  # 0 to 1, attenuation of the background after the episode
    tension: float  # µV RMS of the accompanying muscle activity

    @property
    def evidence(self) -> np.ndarray:
        """Evidence for each of `labels.DECISIONS`, shape (4,); zero where half say yes."""
        disorder = np.maximum(0, self.irregularity - IRREGULARITY[0]) / IRREGULARITY[1]
        change = np.maximum(0, self.evolution - EVOLUTION[0]) / EVOLUTION[1]
        return np.array([
            (self.contrast - _contrast_limit(self.periodicity)) / CONTRAST[1] - disorder,
            np.log2(self.frequency / _frequency_limit(self.periodicity)) / OCTAVES + change,
            (self.periodicity - PERIODICITY[0]) / PERIODICITY[1],
            (self.laterality - LATERALITY[0]) / LATERALITY[1],
        ])  # fmt: skip


def _contrast_limit(periodicity: float) -> float:
    return CONTRAST[0] + SPARSE * periodicity


def _frequency_limit(periodicity: float) -> float:
    rhythmic, periodic = FREQUENCIES
    return rhythmic * (periodic / rhythmic) ** periodicity


def draw_episode(rng: Generator, evidence: np.ndarray) -> Episode:
    """Draw an episode with about the given evidence, shape (4,), in physiological limits."""
    uniform = rng.uniform
    pattern, ictal, periodic, lateral = evidence
    periodicity = float(np.clip(PERIODICITY[0] + PERIODICITY[1] * periodic, 0, 1))
    laterality = float(np.clip(LATERALITY[0] + LATERALITY[1] * lateral, 0, 1))
    evolution, frequency = _draw_frequency(rng, ictal, periodicity)
    irregularity = uniform(0.03, 0.28)
    contrast = _contrast_limit(periodicity) + CONTRAST[1] * pattern
    if pattern < 1 and rng.random() < 0.35:  # large enough, but irregular
        irregularity = uniform(0.3, 0.75)
        contrast += CONTRAST[1] * ((irregularity - IRREGULARITY[0]) / IRREGULARITY[1])
    seizure = 1 / (1 + np.exp(-2 * ictal))
    fast = uniform(0.05, 0.35) if rng.random() < 0.15 + 0.3 * seizure else 0.0
    return Episode(
        contrast=float(min(contrast, 24)), irregularity=irregularity,
        frequency=frequency, evolution=evolution, periodicity=periodicity, laterality=laterality,
        side=int(rng.choice((-1, 1))), **_draw_location(rng, laterality, periodicity),
        sharpness=log_uniform(rng, 0.015, 0.12),
        lobes=int(rng.choice((1, 2, 3, 4, 5), p=(0.15, 0.35, 0.3, 0.12, 0.08))),
        slow_wave=uniform(0, 1.2), polarity=int(rng.choice((-1, 1), p=(0.7, 0.3))),
        harmonic=uniform(0, 0.6), skew=uniform(-0.7, 0.7), roughness=uniform(0.1, 0.7),
        lag=uniform(0, 0.04), travel=uniform(0, 0.1), reach=uniform(0, 60),
        variation=uniform(0.05, 0.4), deformation=uniform(0.02, 0.4), accord=uniform(0.3, 1),
        waxing=uniform(0.05, 0.5), waxing_seconds=uniform(1.5, 10),
        fast=fast, fast_frequency=uniform(12, 28),
        trend=float(evolution * uniform(0.3, 1.8) * rng.choice((-1, 1), p=(0.8, 0.2))),
        growth=evolution * uniform(-0.5, 2.5), wobble=evolution * uniform(0, 0.5),
        ripening=evolution * uniform(-0.2, 0.6), recruitment=evolution * uniform(0, 1),
        lead=_draw_duration(rng, seizure), tail=_draw_duration(rng, seizure),
        intermittency=uniform(0.05, 0.8) if rng.random() < 0.5 else 0.0,
        aftermath=float(seizure * uniform(0, 0.8)),
        tension=float(np.exp(uniform(1, 4)) if rng.random() < 0.4 * seizure else 0),
    )  # fmt: skip


def _draw_frequency(rng: Generator, ictal: float, periodicity: float) -> tuple[float, float]:
    # evolution is drawn, the frequency then gives the rest of the evidence for a seizure
    for _ in range(20):
        evolution = rng.beta(3, 1.5) if ictal > 0 else rng.beta(1.2, 5)
        octaves = OCTAVES * (ictal - max(0, evolution - EVOLUTION[0]) / EVOLUTION[1])
        frequency = _frequency_limit(periodicity) * 2**octaves
        if 0.5 <= frequency <= 20:
            break
    return float(evolution), float(np.clip(frequency, 0.5, 20))


def _draw_location(rng: Generator, laterality: float, periodicity: float) -> dict:
    tilt = tuple(float(x) for x in rng.normal(0, 0.5, 3))
    if laterality > rng.uniform(0.25, 0.55):
        inclination, azimuth, width = (45, 100), (25, 155), (16, 50)
    elif rng.random() < 0.5 + 0.4 * (1 - periodicity):  # frontal, as in most GRDA
        inclination, azimuth, width = (35, 80), (5, 40), (20, 45)
    else:
        inclination, azimuth, width = (20, 90), (10, 165), (25, 50)
    place = (rng.uniform(*ends) for ends in (inclination, azimuth, width))
    return dict(zip(("inclination", "azimuth", "width"), place, strict=True), tilt=tilt)


def _draw_duration(rng: Generator, seizure: float) -> float:
    # most seizures last for a minute or two; other patterns, and some seizures, last long
    low, high = (2, 90) if rng.random() < 0.75 * seizure else (8, 1500)
    return log_uniform(rng, low, high)


def pattern_fields(episode: Episode) -> np.ndarray:
    """Compute the fields of focus, surroundings and other hemisphere, shape (3, n_sensors)."""
    e = episode
    behind = min(e.azimuth + e.reach, 170)
    near, broad = (
        patch_field(e.inclination, e.side * azimuth, width, e.tilt)
        for azimuth, width in ((e.azimuth, e.width), (behind, min(1.7 * e.width, 60)))
    )
    balance = (1 - e.laterality) / (1 + e.laterality)  # far over near amplitude
    broad = 0.5 * (broad + balance * mirror_fields(broad))
    return np.stack([near, broad, balance * mirror_fields(near)])
