"""Background EEG of a patient in intensive care.

Terms: Hirsch et al. (2021), doi:10.1097/WNP.0000000000000806. Aperiodic exponents: Donoghue et al.
(2020), doi:10.1038/s41593-020-00744-x; steeper in sedation and coma: Colombo et al. (2019),
doi:10.1016/j.neuroimage.2019.01.024.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.synthetic.forward_model import apply_reference, mirror_fields, patch_field
from hbac_utils.synthetic.signals import (
    MARGIN,
    SLOW_RATE,
    SessionSignal,
    aperiodic,
    fluctuation,
    log_uniform,
    rhythm,
)

RAMP = 0.15  # seconds from a burst to a suppression and back


@dataclass(frozen=True)
class Background:
    """Parameters of the background EEG; frequencies in Hz, a rhythm of amplitude 0 is absent."""

    amplitude: float  # µV RMS of the aperiodic activity at the electrodes
    exponent: float  # see `signals.aperiodic`
    knee: float
    delta: float  # RMS relative to ``amplitude``, as that of the other rhythms
    delta_frequency: float
    theta: float
    theta_frequency: float
    alpha: float
    alpha_frequency: float
    beta: float
    beta_frequency: float
    asymmetry: float  # −1 to 1: excess of slow activity on one side (negative: left)
    suppression: float  # share of time that is attenuated; above 0.5 is burst suppression
    floor: float  # relative amplitude while attenuated
    spindles: float  # per minute
    transients: float  # per minute: sporadic discharges, vertex waves, K complexes
    reactivity: float  # standard deviation of slow changes of the log amplitude


def draw_background(rng: Generator) -> Background:
    """Draw a background from wide ranges."""
    uniform = rng.uniform

    def sometimes(chance: float, low: float, high: float) -> float:
        value = uniform(low, high)
        return value if rng.random() < chance else 0.0

    return Background(
        amplitude=float(np.exp(rng.normal(np.log(12), 0.6)).clip(2, 60)),
        exponent=uniform(1.0, 3.4), knee=log_uniform(rng, 0.3, 4),
        delta=sometimes(0.75, 0.3, 2.2), delta_frequency=uniform(0.7, 2.8),
        theta=sometimes(0.6, 0.2, 1.2), theta_frequency=uniform(4, 7.5),
        alpha=sometimes(0.3, 0.1, 1.2), alpha_frequency=uniform(7.5, 11.5),
        beta=sometimes(0.5, 0.1, 0.8), beta_frequency=uniform(14, 26),
        asymmetry=sometimes(0.45, 0.2, 0.9) * float(rng.choice((-1, 1))),
        suppression=sometimes(0.18, 0.1, 0.85), floor=uniform(0.05, 0.5),
        spindles=sometimes(0.2, 1, 8), transients=sometimes(0.3, 0.5, 12),
        reactivity=uniform(0.05, 0.45),
    )  # fmt: skip


def draw_session_background(patient: Generator, session: Generator) -> Background:
    """Draw half of the parameters from the patient, half (sedation, sleep) from the session."""
    own, of_day = vars(draw_background(patient)), vars(draw_background(session))
    return Background(**{name: (own if session.random() < 0.5 else of_day)[name] for name in own})


def add_background(
    signal: SessionSignal, background: Background, reference: str, rng: Generator,
    patient: Generator | None = None,
) -> None:  # fmt: skip
    """Add a background to a session's signal; for ``reference`` see `apply_reference`.

    Fields and forms of the sources are drawn from ``patient`` (default: ``rng``), so that parts of
    one recording have the same sources.
    """
    b, half, patient = background, background.asymmetry / 2, patient or rng
    theta, alpha, beta = patient.uniform((0.6, 0.4, 1.5), (2.0, 1.2, 4.0))  # Hz, widths
    generators = [  # relative amplitude, spectrum with frequency and shape, fields
        (1.0, aperiodic, b.knee, b.exponent, _scattered_fields(patient, 14, 0)),
        (b.delta, rhythm, b.delta_frequency, 0.6, _scattered_fields(patient, 6, b.asymmetry)),
        (b.theta, rhythm, b.theta_frequency, theta, _scattered_fields(patient, 4, half)),
        (b.alpha, rhythm, b.alpha_frequency, alpha, _posterior_fields(patient)),
        (b.beta, rhythm, b.beta_frequency, beta, _scattered_fields(patient, 4, -half)),
    ]

    def waxing(seconds: float) -> np.ndarray:
        return fluctuation(rng, len(signal.times), seconds, SLOW_RATE)

    common = np.exp(b.reactivity * waxing(rng.uniform(60, 240)))
    if b.suppression:
        common = common * _continuity(signal, b, rng)
    for relative, spectrum, frequency, shape, fields in generators:
        if relative:
            fields = apply_reference(fields, reference)
            size = b.amplitude * relative / np.sqrt((fields**2).sum(axis=0).mean())
            for part in np.split(fields, [len(fields) // 2]):
                envelope = common * np.exp(0.35 * waxing(rng.uniform(1, 8)))
                own = patient.uniform(0.88, 1.12) * frequency  # a little different for each part
                signal.add_noise(rng, size * part, spectrum(own, shape), envelope)
        elif patient is not rng:
            patient.random(2)  # so that the other sources are the same in all parts
    for _ in range(rng.poisson(b.spindles * signal.seconds / 60)):
        seconds, frequency = rng.uniform(0.5, 1.8), rng.uniform(11, 15)
        x = np.arange(0, seconds, 1 / SAMPLING_RATE)
        spindle = np.sin(np.pi * x / seconds) ** 2 * np.sin(2 * np.pi * frequency * x)
        field = apply_reference(patch_field(rng.uniform(20, 50), 0, 25), reference)
        size = b.amplitude * rng.uniform(0.7, 2.5)
        signal.add(rng.uniform(0, signal.seconds), size * field[None], spindle[None])
    if b.transients:
        _add_transients(signal, b, reference, rng, patient)


def _scattered_fields(rng: Generator, count: int, asymmetry: float) -> np.ndarray:
    # half of the patches on each side, the right ones larger where asymmetry is positive
    sides = np.where(np.arange(count) % 2, 1, -1)
    inclinations, azimuths = rng.uniform(20, 100, count), rng.uniform(15, 165, count)
    fields = [
        patch_field(inclination, azimuth, rng.uniform(12, 40), rng.normal(0, 0.8, 3))
        for inclination, azimuth in zip(inclinations, sides * azimuths, strict=True)
    ]
    # part of each is coherent over both hemispheres, more in some patients
    share = rng.uniform(0, 0.6) * rng.uniform(0, 1, count)
    fields = np.stack([f + s * mirror_fields(f) for f, s in zip(fields, share, strict=True)])
    return fields * np.maximum(1 + asymmetry * sides, 0.05)[:, None]


def _posterior_fields(rng: Generator) -> np.ndarray:
    inclination, azimuth, width = rng.uniform(80, 105), rng.uniform(148, 170), rng.uniform(12, 28)
    left, right = (patch_field(inclination, side * azimuth, width) for side in (-1, 1))
    # the alpha rhythms of the hemispheres are coherent in part
    return np.stack([left, right, 0.7 * (left + right)])


def _add_transients(
    signal: SessionSignal, b: Background, reference: str, rng: Generator, patient: Generator
) -> None:
    # two kinds, each with its place and form, at irregular times
    x = np.arange(0, 1.2, 1 / SAMPLING_RATE) - 0.4
    for share in patient.dirichlet((1, 1)):
        side, midline = patient.choice((-1, 1)), patient.random() < 0.35
        inclination = patient.uniform(5, 100)
        azimuth = 0 if midline else side * patient.uniform(15, 165)
        width, tilt = patient.uniform(12, 40), patient.normal(0, 0.5, 3)
        field = patch_field(inclination, azimuth, width, tilt)
        width, slow = log_uniform(patient, 0.015, 0.12), patient.uniform(0.06, 0.16)
        wave = patient.uniform(0, 1) * np.exp(-0.5 * ((x - 2 * width - slow) / slow) ** 2)
        wave = np.exp(-0.5 * (x / width) ** 2) - wave
        size = b.amplitude * patient.uniform(2, 8) * patient.choice((-1, 1), p=(0.7, 0.3))
        for _ in range(rng.poisson(share * b.transients * signal.seconds / 60)):
            sizes = size * rng.lognormal(0, 0.35) * apply_reference(field, reference)
            signal.add(rng.uniform(0, signal.seconds), sizes[None], wave[None])


def _continuity(signal: SessionSignal, b: Background, rng: Generator) -> np.ndarray:
    # bursts of 1 to 6 s, suppressions of the mean length that gives the stated share
    burst = rng.uniform(1, 6)
    gap = burst * b.suppression / (1 - b.suppression)
    n = int(signal.seconds / (burst + gap)) * 2 + 8
    bursts, gaps = (mean * rng.gamma(4, 0.25, n) for mean in (burst, gap))
    edges = np.stack([bursts, gaps], axis=1).ravel().cumsum()
    knots = np.stack([edges - RAMP, edges + RAMP], axis=1).ravel()
    levels = np.tile([1, b.floor, b.floor, 1], n)
    return np.interp(signal.times + MARGIN, np.maximum.accumulate(knots), levels)
