"""The background EEG of one patient in intensive care, drawn once and kept over hours.

References
----------
Hirsch et al. (2021), doi:10.1097/WNP.0000000000000806: continuity, voltage, symmetry, the
anterior–posterior gradient; voltages below 10 µV are suppressed, below 20 µV low.
Donoghue et al. (2020), doi:10.1038/s41593-020-00744-x: aperiodic exponents.
Colombo et al. (2019), NeuroImage 189:631, doi:10.1016/j.neuroimage.2019.01.024: steeper
spectra (exponents to 3 and more) in sedation and coma.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.synthetic import forward_model as head
from hbac_utils.synthetic import noise as sources
from hbac_utils.synthetic.signal import MARGIN, SLOW_RATE, Canvas

PATCHES = 14  # independent aperiodic generators


@dataclass(frozen=True)
class Background:
    """What a patient's EEG is like without a pattern; amplitudes are RMS at the electrodes.

    Parameters
    ----------
    amplitude : float, µV
        Of the aperiodic activity.
    exponent, knee : float
        See `sources.aperiodic`; the knee in Hz.
    delta, theta, alpha, beta : float
        Amplitudes relative to ``amplitude``; zero where the rhythm is absent.
    delta_frequency, theta_frequency, alpha_frequency, beta_frequency : float, Hz
    asymmetry : float, −1 to 1
        Share of slow activity that one hemisphere (negative: the left) has in excess.
    suppression : float, 0 to 1
        Share of the time that is attenuated; 0 is continuous, above 0.5 burst suppression.
    floor : float
        What is left of the amplitude while it is attenuated.
    spindles : float, per minute
    transients : float, per minute
        Waves that stand alone: sporadic discharges, vertex waves, K complexes.
    reactivity : float
        Standard deviation of the slow change of the log amplitude.
    """

    amplitude: float
    exponent: float
    knee: float
    delta: float
    delta_frequency: float
    theta: float
    theta_frequency: float
    alpha: float
    alpha_frequency: float
    beta: float
    beta_frequency: float
    asymmetry: float
    suppression: float
    floor: float
    spindles: float
    transients: float
    reactivity: float


def session_background(patient: np.random.Generator, session: np.random.Generator) -> Background:
    """Draw a patient's background as it is in one session.

    Parameters
    ----------
    patient, session : Generator
        Half of the parameters are the patient's own, half are of the day: sedation, sleep,
        the course of the illness. The first generator is to be the same in all sessions.
    """
    own, of_day = asdict(draw_background(patient)), asdict(draw_background(session))
    return Background(**{name: (own if session.random() < 0.5 else of_day)[name] for name in own})


def draw_background(rng: np.random.Generator) -> Background:
    """Draw a background from wide ranges."""

    def sometimes(chance: float, low: float, high: float) -> float:
        value = rng.uniform(low, high)
        return float(value) if rng.random() < chance else 0.0

    return Background(
        amplitude=float(np.exp(rng.normal(np.log(12), 0.6)).clip(2, 60)),
        exponent=float(rng.uniform(1.0, 3.4)),
        knee=float(np.exp(rng.uniform(np.log(0.3), np.log(4)))),
        delta=sometimes(0.75, 0.3, 2.2),
        delta_frequency=float(rng.uniform(0.7, 2.8)),
        theta=sometimes(0.6, 0.2, 1.2),
        theta_frequency=float(rng.uniform(4, 7.5)),
        alpha=sometimes(0.3, 0.1, 1.2),
        alpha_frequency=float(rng.uniform(7.5, 11.5)),
        beta=sometimes(0.5, 0.1, 0.8),
        beta_frequency=float(rng.uniform(14, 26)),
        asymmetry=sometimes(0.45, 0.2, 0.9) * float(rng.choice((-1, 1))),
        suppression=sometimes(0.18, 0.1, 0.85),
        floor=float(rng.uniform(0.05, 0.5)),
        spindles=sometimes(0.2, 1, 8),
        transients=sometimes(0.3, 0.5, 12),
        reactivity=float(rng.uniform(0.05, 0.45)),
    )


def paint_background(
    background: Background, canvas: Canvas, reference: str, rng: np.random.Generator
) -> None:
    """Add the background of a session to its canvas.

    Parameters
    ----------
    background : Background
    canvas : Canvas
    reference : str
        See `head.referenced`.
    rng : Generator
    """
    b = background
    width = rng.uniform((0.6, 0.4, 1.5), (2.0, 1.2, 4.0))  # Hz, of theta, alpha and beta
    parts = [
        (
            1.0,
            lambda pace: sources.aperiodic(b.exponent, pace * b.knee),
            _scattered(rng, PATCHES, 0),
        ),
        (b.delta, _rhythm(b.delta_frequency, 0.6), _scattered(rng, 6, b.asymmetry)),
        (b.theta, _rhythm(b.theta_frequency, width[0]), _scattered(rng, 4, b.asymmetry / 2)),
        (b.alpha, _rhythm(b.alpha_frequency, width[1]), _posterior(rng)),
        (b.beta, _rhythm(b.beta_frequency, width[2]), _scattered(rng, 4, -b.asymmetry / 2)),
    ]
    n = len(canvas.times)
    common = np.exp(b.reactivity * sources.wander(rng, n, rng.uniform(60, 240), SLOW_RATE))
    if b.suppression:
        common = common * _continuity(rng, b, canvas)
    for relative, spectrum, fields in parts:
        if relative:
            fields = head.referenced(fields, reference)
            size = b.amplitude * relative / np.sqrt((fields**2).sum(axis=0).mean())
            half = len(fields) // 2
            for some in (fields[:half], fields[half:]):
                waxing = sources.wander(rng, n, rng.uniform(1, 8), SLOW_RATE)
                # generators of one rhythm differ a little in pace
                canvas.add_noise(
                    rng,
                    size * some,
                    spectrum(rng.uniform(0.88, 1.12)),
                    common * np.exp(0.35 * waxing),
                )
    for _ in range(rng.poisson(b.spindles * canvas.seconds / 60)):
        _paint_spindle(b, canvas, reference, rng)
    if b.transients:
        _paint_transients(b, canvas, reference, rng)


def _rhythm(frequency: float, width: float) -> Callable:
    return lambda pace: sources.bump(pace * frequency, width)


def _scattered(rng: np.random.Generator, count: int, asymmetry: float) -> np.ndarray:
    # half of the places on each side, the right ones stronger where asymmetry is positive
    sides = np.where(np.arange(count) % 2, 1, -1)
    inclinations, azimuths = rng.uniform(20, 100, count), rng.uniform(15, 165, count)
    fields = [
        head.patch(head.direction(i, s * a), rng.uniform(12, 40), rng.normal(0, 0.8, 3))
        for i, a, s in zip(inclinations, azimuths, sides, strict=True)
    ]
    # a share of each is coherent over both hemispheres, more in some patients
    share = rng.uniform(0, 0.6) * rng.uniform(0, 1, count)
    fields = np.stack([f + s * head.mirrored(f) for f, s in zip(fields, share, strict=True)])
    return fields * np.maximum(1 + asymmetry * sides, 0.05)[:, None]


def _posterior(rng: np.random.Generator) -> np.ndarray:
    inclination, azimuth, width = rng.uniform(80, 105), rng.uniform(148, 170), rng.uniform(12, 28)
    places = [head.direction(inclination, side * azimuth) for side in (-1, 1)]
    left, right = (head.patch(place, width) for place in places)
    # the two hemispheres' alpha is coherent in part
    return np.stack([left, right, 0.7 * (left + right)])


def _paint_spindle(
    background: Background, canvas: Canvas, reference: str, rng: np.random.Generator
) -> None:
    seconds, frequency = rng.uniform(0.5, 1.8), rng.uniform(11, 15)
    x = np.arange(0, seconds, 1 / SAMPLING_RATE)
    course = np.sin(np.pi * x / seconds) ** 2 * np.sin(2 * np.pi * frequency * x)
    field = head.referenced(head.patch(head.direction(rng.uniform(20, 50), 0), 25), reference)
    size = background.amplitude * rng.uniform(0.7, 2.5)
    canvas.add(rng.uniform(0, canvas.seconds), size * field[None], course[None])


def _paint_transients(
    background: Background, canvas: Canvas, reference: str, rng: np.random.Generator
) -> None:
    # one or two kinds, each with a place and a form, that come at irregular times
    x = np.arange(0, 1.2, 1 / SAMPLING_RATE) - 0.4
    for share in rng.dirichlet((1, 1)):
        side, midline = rng.choice((-1, 1)), rng.random() < 0.35
        place = head.direction(rng.uniform(5, 100), 0 if midline else side * rng.uniform(15, 165))
        field = head.patch(place, rng.uniform(12, 40), rng.normal(0, 0.5, 3))[None]
        width, slow = np.exp(rng.uniform(np.log(0.015), np.log(0.12))), rng.uniform(0.06, 0.16)
        form = np.exp(-0.5 * (x / width) ** 2)
        form = form - rng.uniform(0, 1) * np.exp(-0.5 * ((x - 2 * width - slow) / slow) ** 2)
        size = background.amplitude * rng.uniform(2, 8) * rng.choice((-1, 1), p=(0.7, 0.3))
        for _ in range(rng.poisson(share * background.transients * canvas.seconds / 60)):
            sizes = size * rng.lognormal(0, 0.35) * head.referenced(field, reference)
            canvas.add(rng.uniform(0, canvas.seconds), sizes, form[None])


def _continuity(rng: np.random.Generator, background: Background, canvas: Canvas) -> np.ndarray:
    # bursts of 1 to 6 s between suppressions whose mean length gives the wanted share
    burst = rng.uniform(1, 6)
    gap = burst * background.suppression / (1 - background.suppression)
    n = int(canvas.seconds / (burst + gap)) * 2 + 8
    bursts, gaps = (mean * rng.gamma(4, 0.25, n) for mean in (burst, gap))
    edges = np.stack([bursts, gaps], axis=1).ravel().cumsum()
    ramp = 0.15
    knots = np.stack([edges - ramp, edges + ramp], axis=1).ravel()
    levels = np.tile([1, background.floor, background.floor, 1], n)
    return np.interp(canvas.times + MARGIN, np.maximum.accumulate(knots), levels)
