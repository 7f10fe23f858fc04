"""What is in an EEG and does not come from the brain.

Every artifact is drawn per recording session: most are absent from most sessions, and how
much is there varies over orders of magnitude, as in intensive care.

References
----------
Tatum et al. (2011), J Clin Neurophysiol 28:252: kinds of artifact.
Goncharova et al. (2003), Clin Neurophysiol 114:1580, doi:10.1016/S1388-2457(03)00093-2:
spectrum and topography of muscle activity.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import oaconvolve

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import ELECTRODES
from hbac_utils.synthetic import forward_model as head
from hbac_utils.synthetic import noise as sources
from hbac_utils.synthetic.signal import MARGIN, SLOW_RATE, Canvas

OFFSET = 120.0  # µV, the largest offset of an amplifier
LINE = 60.0  # Hz
MUSCULAR = ("Fp1", "Fp2", "F7", "F8", "T3", "T4", "T5", "T6")

_EACH = np.eye(len(ELECTRODES))  # the fields of single electrodes
_PLACES = np.stack([head.positions()[name] for name in ELECTRODES])


def contaminate(canvas: Canvas, rng: np.random.Generator) -> list[np.ndarray]:
    """Add artifacts to a session.

    Parameters
    ----------
    canvas : Canvas
        Changed.
    rng : Generator

    Returns
    -------
    list of array of float32, shape (n_times,), microvolts
        The EKG of the canvas' stretches, at 200 Hz.
    """
    ekg = _paint_heart(canvas, rng)
    for artifact, chance in PRESENT.items():
        if rng.random() < chance:
            artifact(canvas, rng)
    canvas.add_noise(rng, rng.uniform(0.3, 2.0) * _EACH, sources.flat())
    return ekg


def _paint_heart(canvas: Canvas, rng: np.random.Generator) -> list[np.ndarray]:
    # adds what leaks into the EEG, returns the EKG of the stretches
    beats = heart(rng, round(canvas.seconds * SAMPLING_RATE))
    if rng.random() < 0.6:
        # the heart is far away: over the head its field is nearly a slope
        slope = (_PLACES @ rng.normal(0, 1, 3) + rng.normal()) / 2
        canvas.add(-MARGIN, _log_uniform(rng, 0.5, 15) * slope[None], beats[None])
    present = rng.random() > 0.12  # or a lead is off, and there is noise alone
    size = _log_uniform(rng, 20, 4000) if present else _log_uniform(rng, 5, 12_000)
    noise = rng.uniform(0.01, 0.3) if present else 1
    ekg = []
    for start, seconds in canvas.stretches:
        begin = (start + MARGIN) * SAMPLING_RATE
        own = beats[begin : begin + seconds * SAMPLING_RATE]
        drift = sources.wander(rng, len(own), 2) + 0.3 * rng.standard_normal(len(own))
        ekg.append((size * (present * own + noise * drift)).astype(np.float32))
    return ekg


def heart(rng: np.random.Generator, n_times: int) -> np.ndarray:
    """Simulate heart beats.

    Returns
    -------
    array of float32, shape (n_times,), 200 Hz
        R waves of about one.
    """
    interval = 60 / rng.uniform(45, 140)
    variability = rng.uniform(0.01, 0.2 if rng.random() < 0.15 else 0.05)  # high: fibrillation
    n = int(n_times / SAMPLING_RATE / interval * 1.5) + 10
    onsets = np.cumsum(interval * np.maximum(0.4, 1 + variability * rng.standard_normal(n)))
    at = (onsets * SAMPLING_RATE).astype(np.int64)
    impulses = np.zeros(n_times, dtype=np.float32)
    impulses[at[at < n_times]] = rng.choice((-1, 1), p=(0.2, 0.8))
    # place, width (seconds), size of P, Q, R, S and T
    waves = [(-0.16, 0.025, 0.12), (-0.03, 0.01, -0.15), (0, 0.012, 1), (0.03, 0.012, -0.3)]
    waves.append((min(0.28, 0.4 * interval), 0.05, rng.uniform(0.05, 0.45)))
    x = np.arange(0, 1, 1 / SAMPLING_RATE) - 0.4
    beat = sum(size * np.exp(-0.5 * ((x - place) / width) ** 2) for place, width, size in waves)
    return oaconvolve(impulses, beat.astype(np.float32))[:n_times]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _events(rng: np.random.Generator, canvas: Canvas, per_minute: float) -> np.ndarray:
    # begins, seconds
    return rng.uniform(-MARGIN, canvas.seconds, rng.poisson(per_minute * canvas.seconds / 60))


def _some(rng: np.random.Generator, most: int) -> np.ndarray:
    # one to ``most`` electrodes, as fields
    return _EACH[rng.choice(len(_EACH), rng.integers(1, most + 1), replace=False)]


def _eye(side: int) -> np.ndarray:
    angle = np.rad2deg(np.arccos(np.clip(_PLACES @ head.direction(108, 24 * side), -1, 1)))
    return np.exp(1 - angle / 22)


def blinks(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add blinks: positive half-waves at Fp1 and Fp2, as the eyes roll up."""
    field, size = _eye(-1) + _eye(1), rng.uniform(20, 150)
    for begin in _events(rng, canvas, _log_uniform(rng, 1, 25)):
        n = int(SAMPLING_RATE * rng.uniform(0.2, 0.5))
        course = np.sin(np.pi * np.arange(n) / n) ** 2
        course = np.concatenate([course, -0.2 * course])
        canvas.add(begin, size * rng.uniform(0.6, 1.2) * field[None], course[None])


def eye_movements(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add lateral eye movements: deflections of opposite sign at F7 and F8, fast or roving."""
    field, size, roving = _eye(1) - _eye(-1), rng.uniform(20, 120), rng.random() < 0.4
    for begin in _events(rng, canvas, _log_uniform(rng, 1, 20)):
        x = np.arange(0, rng.uniform(0.6, 3), 1 / SAMPLING_RATE)
        rise = rng.uniform(0.3, 0.8) if roving else 0.04
        course = (1 - np.exp(-x / rise)) * np.exp(-x / 0.7) * np.clip((x[-1] - x) / 0.2, 0, 1)
        canvas.add(begin, rng.choice((-1, 1)) * size * field[None], course[None])


def muscle(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add muscle activity, without a break or in bursts, temporal and frontal first."""
    size, spectrum = _log_uniform(rng, 3, 80), _muscular_spectrum(rng)
    if rng.random() < 0.35:
        tension = sources.wander(rng, len(canvas.times), _log_uniform(rng, 1, 60), SLOW_RATE)
        canvas.add_noise(rng, _muscles(rng, size), spectrum, np.exp(0.6 * tension))
        return
    for begin in _events(rng, canvas, _log_uniform(rng, 0.5, 8)):
        n, fields = int(SAMPLING_RATE * _log_uniform(rng, 0.5, 15)), _muscles(rng, size)
        courses = sources.noise(rng, spectrum, len(fields), n)
        canvas.add(begin, fields, courses * np.exp(0.5 * sources.wander(rng, n, 0.5)))


def strain(canvas: Canvas, rng: np.random.Generator, begin: float, end: float, size: float) -> None:
    """Add the muscle activity of a seizure, waxing and waning between two times.

    Parameters
    ----------
    canvas : Canvas
    rng : Generator
    begin, end : float, seconds
    size : float, µV
    """
    ramp = rng.uniform(1, 10)
    held = sources.switch(canvas.times, begin + rng.uniform(0, 5), end, ramp)
    bursts = sources.wander(rng, len(canvas.times), _log_uniform(rng, 0.3, 10), SLOW_RATE)
    envelope = held * np.exp(rng.uniform(0.2, 1) * bursts)
    canvas.add_noise(rng, _muscles(rng, size), _muscular_spectrum(rng), envelope)


def _muscles(rng: np.random.Generator, size: float) -> np.ndarray:
    # fields of some electrodes, most of them temporal and frontal
    weight = np.array([3.0 if name in MUSCULAR else 1.0 for name in ELECTRODES])
    count = rng.integers(1, 9)
    which = rng.choice(len(_EACH), count, replace=False, p=weight / weight.sum())
    return size * rng.uniform(0.2, 1.2, (count, 1)) * _EACH[which]


def _muscular_spectrum(rng: np.random.Generator) -> Callable:
    return sources.bump(rng.uniform(35, 60), rng.uniform(15, 30))


def chewing(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add chewing: volleys of temporal muscle at 1 to 2 Hz, a slow wave of the tongue."""
    which = [ELECTRODES.index(name) for name in ("F7", "F8", "T3", "T4")]
    slow = head.patch(head.direction(90, 0), 50)[None, : len(ELECTRODES)]
    for begin in _events(rng, canvas, rng.uniform(0.2, 1.5)):
        x = np.arange(0, rng.uniform(3, 20), 1 / SAMPLING_RATE)
        pace = rng.uniform(0.8, 2) * (1 + 0.15 * sources.wander(rng, len(x), 1))
        swing = np.sin(np.pi * np.cumsum(pace) / SAMPLING_RATE)
        courses = sources.noise(rng, sources.bump(45, 20), len(which), len(x)) * swing**8
        canvas.add(begin, rng.uniform(20, 120) * _EACH[which], courses)
        canvas.add(begin, rng.uniform(5, 60) * slow, swing[None] ** 2)


def pops(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add electrode pops: steps at one electrode that decay."""
    fields = _some(rng, 2)
    for begin in _events(rng, canvas, _log_uniform(rng, 0.5, 12)):
        x = np.arange(0, 4, 1 / SAMPLING_RATE)
        course = rng.choice((-1, 1)) * np.exp(-x / rng.uniform(0.05, 0.8))
        canvas.add(begin, _log_uniform(rng, 30, 600) * rng.permutation(fields)[:1], course[None])


def loose_electrode(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add the slow noise of one or two loose electrodes, now and then."""
    n = len(canvas.times)
    contact = np.clip(sources.wander(rng, n, _log_uniform(rng, 3, 60), SLOW_RATE) + 0.7, 0, 1)
    spectrum = sources.aperiodic(rng.uniform(0.5, 3), 0.5)
    canvas.add_noise(rng, _log_uniform(rng, 10, 2000) * _some(rng, 2), spectrum, contact)


def sweat(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add drifts below 0.5 Hz at several electrodes."""
    canvas.add_noise(rng, rng.uniform(10, 120) * _some(rng, 12), sources.bump(0.2, 0.1))


def mains(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add 60 Hz, unequal at the electrodes, and much of it where the contact is bad.

    The spectrogram ends at 20 Hz, so that only the stretches need it.
    """
    sizes = np.exp(rng.normal(np.log(_log_uniform(rng, 0.2, 8)), 1.0, len(ELECTRODES)))
    if rng.random() < 0.25:
        sizes[rng.choice(len(sizes), rng.integers(1, 6), replace=False)] *= rng.uniform(5, 60)
    phases = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5, len(ELECTRODES))
    fields = sizes * np.stack([np.cos(phases), np.sin(phases)])
    frequency = LINE + rng.uniform(-0.02, 0.02)
    for start, seconds in canvas.stretches:
        angle = 2 * np.pi * frequency * np.arange(seconds * SAMPLING_RATE) / SAMPLING_RATE
        canvas.add(start, fields, np.stack([np.cos(angle), np.sin(angle)]))


def movement(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add movements of head and cables: large slow swings at many electrodes."""
    typical = _log_uniform(rng, 30, 400)
    for begin in _events(rng, canvas, _log_uniform(rng, 0.1, 2)):
        n = int(SAMPLING_RATE * rng.uniform(1, 8))
        sizes = np.exp(rng.normal(np.log(typical), 0.7, (len(_EACH), 1)))
        swings = sources.noise(rng, sources.aperiodic(2.5, 0.7), len(_EACH), n)
        canvas.add(begin, sizes * _EACH, swings * np.sin(np.pi * np.arange(n) / n))


def breathing(canvas: Canvas, rng: np.random.Generator) -> None:
    """Add the slow rhythm of a ventilator at a few electrodes."""
    times = np.arange(0, canvas.seconds, 1 / SAMPLING_RATE)
    angle = 2 * np.pi * rng.uniform(10, 26) / 60 * times
    course = np.sin(angle) + 0.5 * np.sin(2 * angle + rng.uniform(0, 6))
    field = rng.uniform(5, 60) * _some(rng, 5).sum(axis=0)
    canvas.add(-MARGIN, field[None], course[None])


def offsets(rng: np.random.Generator) -> np.ndarray:
    """Draw the amplifiers' DC offsets, shape (19, 1), microvolts."""
    size = rng.uniform(1, OFFSET)
    return (size * rng.uniform(-1, 1, (len(ELECTRODES), 1))).astype(np.float32)


def bad_channel(eeg: np.ndarray, rng: np.random.Generator) -> None:
    """Make one electrode of a recording, shape (19, n_times), flat or missing (NaN)."""
    eeg[rng.integers(len(eeg))] = np.nan if rng.random() < 0.3 else 0.0


PRESENT = {
    blinks: 0.35,
    eye_movements: 0.25,
    muscle: 0.45,
    chewing: 0.04,
    pops: 0.12,
    loose_electrode: 0.08,
    sweat: 0.12,
    mains: 0.75,
    movement: 0.20,
    breathing: 0.08,
}
"""Shares of the sessions in which each artifact occurs."""
