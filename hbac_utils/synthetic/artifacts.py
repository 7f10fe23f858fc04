"""Artifacts: eyes, muscle, electrodes, mains, movement, and the EKG.

Kinds of artifact: Tatum et al. (2011), J Clin Neurophysiol 28:252; muscle activity: Goncharova et
al. (2003), doi:10.1016/S1388-2457(03)00093-2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.signal import oaconvolve

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import ELECTRODES
from hbac_utils.synthetic.forward_model import direction, patch_field, sensor_positions
from hbac_utils.synthetic.signals import (
    MARGIN,
    SLOW_RATE,
    SessionSignal,
    Spectrum,
    aperiodic,
    fluctuation,
    gate,
    gaussian,
    log_uniform,
    rhythm,
)

N_ELECTRODES = len(ELECTRODES)
BAD_CHANNEL = 0.06  # share of the recordings with a flat or missing channel
BAD_ROWS = {np.nan: 0.08, 0.0: 0.05}  # share of the spectrograms with missing, with zero rows
MUSCLE_ELECTRODES = ("Fp1", "Fp2", "F7", "F8", "T3", "T4", "T5", "T6")

_UNIT_FIELDS = np.eye(N_ELECTRODES)  # fields of single electrodes
_POSITIONS = np.stack([sensor_positions()[name] for name in ELECTRODES])
_COSINES = np.stack([_POSITIONS @ direction(108, azimuth) for azimuth in (-24, 24)])
_LEFT_EYE, _RIGHT_EYE = np.exp(1 - np.rad2deg(np.arccos(np.clip(_COSINES, -1, 1))) / 22)


@dataclass(frozen=True)
class Heart:
    """A patient's heartbeat: when it beats, its form, and its field at the electrodes."""

    onsets: np.ndarray  # seconds
    beat: np.ndarray  # 200 Hz; R is 0.4 s after its begin
    field: np.ndarray  # (19,), µV
    connected: bool  # otherwise the EKG is noise alone
    size: float  # µV, of the EKG
    noise: float  # relative to ``size``

    def beats(self, begin: float, n_times: int) -> np.ndarray:
        """Compute the heartbeat without unit, shape (n_times,), from ``begin`` seconds on."""
        before = min(len(self.beat), max(0, round(begin * SAMPLING_RATE)))  # samples
        at = ((self.onsets - begin) * SAMPLING_RATE).astype(np.int64) + before
        impulses = np.zeros(n_times + before, dtype=np.float32)
        impulses[at[(at >= 0) & (at < len(impulses))]] = 1
        return oaconvolve(impulses, self.beat)[before : before + n_times]

    def ekg(self, beats: np.ndarray, rng: Generator) -> np.ndarray:
        """Compute the EKG in µV, with noise, from what `beats` returns."""
        drift = fluctuation(rng, len(beats), 2) + 0.3 * rng.standard_normal(len(beats))
        return (self.size * (self.connected * beats + self.noise * drift)).astype(np.float32)


def draw_heart(rng: Generator, seconds: float) -> Heart:
    """Draw a heartbeat for a signal of the given length."""
    interval = 60 / rng.uniform(45, 140)
    variability = rng.uniform(0.01, 0.2 if rng.random() < 0.15 else 0.05)  # high: fibrillation
    n = int(seconds / interval * 1.5) + 10
    onsets = np.cumsum(interval * np.maximum(0.4, 1 + variability * rng.standard_normal(n)))
    polarity = rng.choice((-1, 1), p=(0.2, 0.8))
    # place, width (seconds) and size of P, Q, R, S and T
    waves = [(-0.16, 0.025, 0.12), (-0.03, 0.01, -0.15), (0, 0.012, 1), (0.03, 0.012, -0.3)]
    waves.append((min(0.28, 0.4 * interval), 0.05, rng.uniform(0.05, 0.45)))
    x = np.arange(0, 1, 1 / SAMPLING_RATE) - 0.4
    beat = sum(size * np.exp(-0.5 * ((x - place) / width) ** 2) for place, width, size in waves)
    field = np.zeros(N_ELECTRODES)
    if rng.random() < 0.6:
        # the heart is far away: its field is nearly linear over the head
        slope = (_POSITIONS @ rng.normal(0, 1, 3) + rng.normal()) / 2
        field = log_uniform(rng, 0.5, 15) * slope
    connected = rng.random() > 0.12
    size = log_uniform(rng, 20, 4000) if connected else log_uniform(rng, 5, 12_000)
    noise = rng.uniform(0.01, 0.3) if connected else 1
    beat = (polarity * beat).astype(np.float32)
    return Heart(onsets, beat, field, bool(connected), size, noise)


def add_artifacts(signal: SessionSignal, rng: Generator) -> list[np.ndarray]:
    """Add a session's artifacts and amplifier noise; return the EKG (µV, 200 Hz) per interval."""
    heart = draw_heart(rng, signal.seconds)
    beats = heart.beats(0, round(signal.seconds * SAMPLING_RATE))
    if heart.field.any():
        signal.add(-MARGIN, heart.field[None], beats[None])
    ekg = []
    for start, seconds in signal.intervals:
        begin = (start + MARGIN) * SAMPLING_RATE
        ekg.append(heart.ekg(beats[begin : begin + seconds * SAMPLING_RATE], rng))
    add_other_artifacts(signal, rng)
    return ekg


def add_other_artifacts(signal: SessionSignal, rng: Generator) -> None:
    """Add artifacts and amplifier noise without the heartbeat."""
    for add_artifact, prevalence in ARTIFACTS.items():
        if rng.random() < prevalence:
            add_artifact(signal, rng)
    white = np.sqrt(2 / SAMPLING_RATE)  # the spectrum with unit variance
    signal.add_noise(rng, rng.uniform(0.3, 2.0) * _UNIT_FIELDS, lambda f: np.full(len(f), white))


def _event_times(rng: Generator, signal: SessionSignal, per_minute: float) -> np.ndarray:
    return rng.uniform(-MARGIN, signal.seconds, rng.poisson(per_minute * signal.seconds / 60))


def _some_electrodes(rng: Generator, most: int) -> np.ndarray:
    return _UNIT_FIELDS[rng.choice(N_ELECTRODES, rng.integers(1, most + 1), replace=False)]


def add_blinks(signal: SessionSignal, rng: Generator) -> None:
    """Add blinks: positive half-waves at Fp1 and Fp2."""
    field, size = _LEFT_EYE + _RIGHT_EYE, rng.uniform(20, 150)
    for begin in _event_times(rng, signal, log_uniform(rng, 1, 25)):
        n = int(SAMPLING_RATE * rng.uniform(0.2, 0.5))
        wave = np.outer((1, -0.2), np.sin(np.pi * np.arange(n) / n) ** 2).reshape(1, -1)
        signal.add(begin, size * rng.uniform(0.6, 1.2) * field[None], wave)


def add_eye_movements(signal: SessionSignal, rng: Generator) -> None:
    """Add lateral eye movements, saccades or roving: opposite signs at F7 and F8."""
    field, size, roving = _RIGHT_EYE - _LEFT_EYE, rng.uniform(20, 120), rng.random() < 0.4
    for begin in _event_times(rng, signal, log_uniform(rng, 1, 20)):
        x = np.arange(0, rng.uniform(0.6, 3), 1 / SAMPLING_RATE)
        rise = rng.uniform(0.3, 0.8) if roving else 0.04
        wave = (1 - np.exp(-x / rise)) * np.exp(-x / 0.7) * np.clip((x[-1] - x) / 0.2, 0, 1)
        signal.add(begin, rng.choice((-1, 1)) * size * field[None], wave[None])


def add_muscle(signal: SessionSignal, rng: Generator) -> None:
    """Add muscle activity, continuous or in bursts."""
    size, spectrum = log_uniform(rng, 3, 80), _muscle_spectrum(rng)
    if rng.random() < 0.35:
        tension = fluctuation(rng, len(signal.times), log_uniform(rng, 1, 60), SLOW_RATE)
        signal.add_noise(rng, _muscle_fields(rng, size), spectrum, np.exp(0.6 * tension))
        return
    for begin in _event_times(rng, signal, log_uniform(rng, 0.5, 8)):
        n, fields = int(SAMPLING_RATE * log_uniform(rng, 0.5, 15)), _muscle_fields(rng, size)
        waves = gaussian(rng, spectrum, len(fields), n)
        signal.add(begin, fields, waves * np.exp(0.5 * fluctuation(rng, n, 0.5)))


def add_seizure_muscle(
    signal: SessionSignal, rng: Generator, begin: float, end: float, size: float
) -> None:
    """Add a seizure's muscle activity of ``size`` µV between two times (seconds)."""
    ramp = rng.uniform(1, 10)
    held = gate(signal.times, begin + rng.uniform(0, 5), end, ramp)
    bursts = fluctuation(rng, len(signal.times), log_uniform(rng, 0.3, 10), SLOW_RATE)
    envelope = held * np.exp(rng.uniform(0.2, 1) * bursts)
    signal.add_noise(rng, _muscle_fields(rng, size), _muscle_spectrum(rng), envelope)


def _muscle_fields(rng: Generator, size: float) -> np.ndarray:
    # some electrodes, most of them temporal and frontal
    weight = np.array([3.0 if name in MUSCLE_ELECTRODES else 1.0 for name in ELECTRODES])
    count = rng.integers(1, 9)
    which = rng.choice(N_ELECTRODES, count, replace=False, p=weight / weight.sum())
    return size * rng.uniform(0.2, 1.2, (count, 1)) * _UNIT_FIELDS[which]


def _muscle_spectrum(rng: Generator) -> Spectrum:
    return rhythm(rng.uniform(35, 60), rng.uniform(15, 30))


def add_chewing(signal: SessionSignal, rng: Generator) -> None:
    """Add chewing: bursts of temporal muscle at 1 to 2 Hz with slow waves of the tongue."""
    temporal = _UNIT_FIELDS[[ELECTRODES.index(name) for name in ("F7", "F8", "T3", "T4")]]
    tongue = patch_field(90, 0, 50)[None, :N_ELECTRODES]
    for begin in _event_times(rng, signal, rng.uniform(0.2, 1.5)):
        n = len(np.arange(0, rng.uniform(3, 20), 1 / SAMPLING_RATE))
        pace = rng.uniform(0.8, 2) * (1 + 0.15 * fluctuation(rng, n, 1))
        swing = np.sin(np.pi * np.cumsum(pace) / SAMPLING_RATE)
        waves = gaussian(rng, rhythm(45, 20), len(temporal), n) * swing**8
        signal.add(begin, rng.uniform(20, 120) * temporal, waves)
        signal.add(begin, rng.uniform(5, 60) * tongue, swing[None] ** 2)


def add_electrode_pops(signal: SessionSignal, rng: Generator) -> None:
    """Add electrode pops: steps at one electrode that decay."""
    fields = _some_electrodes(rng, 2)
    for begin in _event_times(rng, signal, log_uniform(rng, 0.5, 12)):
        x = np.arange(0, 4, 1 / SAMPLING_RATE)
        wave = rng.choice((-1, 1)) * np.exp(-x / rng.uniform(0.05, 0.8))
        signal.add(begin, log_uniform(rng, 30, 600) * rng.permutation(fields)[:1], wave[None])


def add_loose_electrodes(signal: SessionSignal, rng: Generator) -> None:
    """Add the slow, intermittent noise of one or two loose electrodes."""
    contact = fluctuation(rng, len(signal.times), log_uniform(rng, 3, 60), SLOW_RATE)
    spectrum = aperiodic(0.5, rng.uniform(0.5, 3))
    fields = log_uniform(rng, 10, 2000) * _some_electrodes(rng, 2)
    signal.add_noise(rng, fields, spectrum, np.clip(contact + 0.7, 0, 1))


def add_sweat(signal: SessionSignal, rng: Generator) -> None:
    """Add drifts below 0.5 Hz at several electrodes."""
    signal.add_noise(rng, rng.uniform(10, 120) * _some_electrodes(rng, 12), rhythm(0.2, 0.1))


def add_mains(signal: SessionSignal, rng: Generator) -> None:
    """Add 60 Hz, large at electrodes with bad contact, to the 200-Hz intervals."""
    sizes = np.exp(rng.normal(np.log(log_uniform(rng, 0.2, 8)), 1.0, N_ELECTRODES))
    if rng.random() < 0.25:
        sizes[rng.choice(N_ELECTRODES, rng.integers(1, 6), replace=False)] *= rng.uniform(5, 60)
    if rng.random() < 0.05:  # the amplifier is disconnected, or not grounded
        sizes *= rng.uniform(50, 400) / sizes.mean()
    phases = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5, N_ELECTRODES)
    fields = sizes * np.stack([np.cos(phases), np.sin(phases)])
    frequency = 60.0 + rng.uniform(-0.02, 0.02)
    for start, seconds in signal.intervals:
        angle = 2 * np.pi * frequency * np.arange(seconds * SAMPLING_RATE) / SAMPLING_RATE
        signal.add(start, fields, np.stack([np.cos(angle), np.sin(angle)]))


def add_movement(signal: SessionSignal, rng: Generator) -> None:
    """Add movements of head and cables: large slow swings at many electrodes."""
    typical = log_uniform(rng, 30, 400)
    for begin in _event_times(rng, signal, log_uniform(rng, 0.1, 2)):
        n = int(SAMPLING_RATE * rng.uniform(1, 8))
        sizes = np.exp(rng.normal(np.log(typical), 0.7, (N_ELECTRODES, 1)))
        swings = gaussian(rng, aperiodic(0.7, 2.5), N_ELECTRODES, n)
        signal.add(begin, sizes * _UNIT_FIELDS, swings * np.sin(np.pi * np.arange(n) / n))


def add_breathing(signal: SessionSignal, rng: Generator) -> None:
    """Add the slow rhythm of a ventilator at a few electrodes."""
    times = np.arange(0, signal.seconds, 1 / SAMPLING_RATE)
    angle = 2 * np.pi * rng.uniform(10, 26) / 60 * times
    wave = np.sin(angle) + 0.5 * np.sin(2 * angle + rng.uniform(0, 6))
    field = rng.uniform(5, 60) * _some_electrodes(rng, 5).sum(axis=0)
    signal.add(-MARGIN, field[None], wave[None])


ARTIFACTS = {
    add_blinks: 0.35, add_eye_movements: 0.25, add_muscle: 0.45, add_chewing: 0.04,
    add_electrode_pops: 0.12, add_loose_electrodes: 0.08, add_sweat: 0.12, add_mains: 0.75,
    add_movement: 0.20, add_breathing: 0.08,
}  # fmt: skip  # share of the sessions with each artifact


def draw_offsets(rng: Generator) -> np.ndarray:
    """Draw the amplifiers' offsets, float32, shape (19, 1), µV."""
    size = rng.uniform(1, 120.0)
    return (size * rng.uniform(-1, 1, (N_ELECTRODES, 1))).astype(np.float32)


def add_channel_faults(eegs: list[np.ndarray], rng: Generator) -> None:
    """Add the amplifiers' offsets to EEGs, shape (19, n_times); spoil a channel of some."""
    offsets = draw_offsets(rng)
    for eeg in eegs:
        eeg += offsets
        if rng.random() < BAD_CHANNEL:
            eeg[rng.integers(len(eeg))] = np.nan if rng.random() < 0.3 else 0.0


def add_bad_rows(power: np.ndarray, rng: Generator) -> None:
    """Make rows of some spectrograms, shape (n_rows, 400), missing or zero."""
    for value, prevalence in BAD_ROWS.items():
        if rng.random() < prevalence:
            begin = rng.integers(len(power))
            power[begin : begin + rng.integers(1, 60)] = value
