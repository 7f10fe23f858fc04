"""Rhythmic patterns, periodic patterns and seizures as one family with continuous parameters.

Experts judge an episode by its *evidence* for each decision, a smooth function of six parameters.
Terms and limits: Hirsch et al. (2021), doi:10.1097/WNP.0000000000000806. Periodic discharges above
2.5 Hz, or evolution, make a seizure; rhythmic delta ends at 4 Hz.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.ndimage import uniform_filter1d
from scipy.stats import norm

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.synthetic.forward_model import mirror_fields, patch_field
from hbac_utils.synthetic.signals import fluctuation, gate, gaussian, log_uniform, rhythm

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
        return evidence(
            self.contrast, self.irregularity, self.frequency,
            self.evolution, self.periodicity, self.laterality,
        )  # fmt: skip


def evidence(contrast, irregularity, frequency, evolution, periodicity, laterality) -> np.ndarray:
    """Compute the evidence for each of `labels.DECISIONS` from an `Episode`'s parameters.

    Takes numbers or arrays of equal shape, and returns that shape and (4,); zero where half of the
    experts say yes.
    """
    disorder = np.maximum(0, irregularity - IRREGULARITY[0]) / IRREGULARITY[1]
    change = np.maximum(0, evolution - EVOLUTION[0]) / EVOLUTION[1]
    parts = (
        (contrast - _contrast_limit(periodicity)) / CONTRAST[1] - disorder,
        np.log2(frequency / frequency_limit(periodicity)) / OCTAVES + change,
        (periodicity - PERIODICITY[0]) / PERIODICITY[1],
        (laterality - LATERALITY[0]) / LATERALITY[1],
    )
    return np.stack(parts, axis=-1)


def _contrast_limit(periodicity: float) -> float:
    return CONTRAST[0] + SPARSE * periodicity


def frequency_limit(periodicity: float) -> float:
    """Frequency in Hz above which half of the experts see a seizure, without any evolution."""
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
        frequency = frequency_limit(periodicity) * 2**octaves
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
