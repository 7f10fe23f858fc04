"""Windows mixed from components while a model is trained, with the truth of each mixture.

A window is ``gain · (background + size · pattern) + artifacts``. The size gives the drawn contrast
against this background, in the derivation where the pattern is largest, and with it the raters'
probabilities. Half of the backgrounds turn into another one in the course of the window. No window
is ever seen twice.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.special import expit

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT, WINDOW_SAMPLES, WINDOW_SECONDS
from hbac_utils.montage import DOUBLE_BANANA, ELECTRODES, mirror_permutation
from hbac_utils.synthetic import raters
from hbac_utils.synthetic.components import PARAMETERS, SPARE_SECONDS, UNIT, Components
from hbac_utils.synthetic.patterns import evidence
from hbac_utils.synthetic.render import MAX_AMPLITUDE, MIN_CONTRAST
from hbac_utils.synthetic.signals import log_uniform

CONTRAST_SPREAD = 2.0  # dB, standard deviation of the change of a pattern's contrast
PATTERN_SHIFT = 1.5  # seconds, greatest shift of a pattern's labelled part
FADED = 0.5  # share of the backgrounds that turn into another one
FADE_SECONDS = (0.5, 200.0)  # time constant of the change; the longest is a constant mixture
GAIN = 0.6  # greatest logarithm of the gain of background and pattern
TILTED = 0.5  # share of the backgrounds whose spectrum is tilted
TILT = (-0.35, 0.5)  # x(t) − tilt · x(t − 5 ms): negative is steeper, positive flatter
UNREADABLE = 0.02  # share of the windows without any EEG, where artifacts alone are left
NO_PATTERN = -6.0  # evidence for a pattern in them
LARGE_ARTIFACTS = (1.0, 20.0)  # their factor
FAILED_ELECTRODES = 0.06  # share of the windows with one to three flat electrodes
MIRROR = mirror_permutation(ELECTRODES)
# the electrodes of each derivation
_PAIRS = np.array([[ELECTRODES.index(e) for e in name.split("-")] for name in DOUBLE_BANANA])


@dataclass(frozen=True)
class Mixed:
    """A batch of mixtures."""

    eeg: np.ndarray  # int16, (n, 10000, 19), in `components.UNIT`
    parameters: np.ndarray  # (n, 6), of the patterns: `components.PARAMETERS`
    evidence: np.ndarray  # (n, 4), for each of `labels.DECISIONS`

    @property
    def truth(self) -> np.ndarray:
        """True probabilities, float32, (n, 6)."""
        return raters.class_probabilities(self.evidence).astype(np.float32)


class Mixtures:
    """Mixes windows from components; a batch is a pure function of its random generator."""

    def __init__(self, components: Components, clip: float):
        self.components, self.clip = components, clip
        self._arrays = [
            np.asarray(a)
            for a in (components.backgrounds, components.patterns, components.artifacts)
        ]
        table = components.table
        self._parameters = table[list(PARAMETERS)].to_numpy()
        self._largest, self._size = table["largest"].to_numpy(), table["size"].to_numpy()

    def batch(self, rng: Generator, size: int) -> Mixed:
        """Mix windows."""
        chosen = rng.integers(self.components.count, size=(size, 4))
        parameters = self._parameters[chosen[:, 1]].copy()
        parameters[:, 0] += rng.normal(0, CONTRAST_SPREAD, size)
        unreadable = rng.random(size) < UNREADABLE
        eeg = np.empty((size, WINDOW_SAMPLES, len(ELECTRODES)), np.int16)
        pairs = zip(eeg, chosen, parameters[:, 0], unreadable, strict=True)
        for window, numbers, contrast, alone in pairs:
            window[:] = (
                self._artifacts(rng, numbers) if alone else self._mix(rng, numbers, contrast)
            )
        judged = evidence(*parameters.T)
        judged[unreadable, 0] = NO_PATTERN
        return Mixed(eeg, parameters, judged)

    def _artifacts(self, rng: Generator, numbers: np.ndarray) -> np.ndarray:
        begin = rng.integers(SPARE_SECONDS * SAMPLING_RATE)
        artifact = self._read(self._arrays[2], (numbers[2], begin, rng.random() < 0.5))
        artifact *= np.float32(log_uniform(rng, *LARGE_ARTIFACTS))
        return np.rint(np.clip(artifact, -self.clip / UNIT, self.clip / UNIT))

    def _mix(self, rng: Generator, numbers: np.ndarray, contrast: float) -> np.ndarray:
        middle = SPARE_SECONDS * SAMPLING_RATE // 2
        reach = int(PATTERN_SHIFT * SAMPLING_RATE)
        low, high = (0, middle - reach, 0, 0), (2 * middle, middle + reach, 2 * middle, 2 * middle)
        # all at once, because drawing one number costs as much as a hundred
        where = list(zip(numbers, rng.integers(low, high), rng.random(4) < 0.5, strict=True))
        mirrored, draws = where[1][2], rng.random(7)
        background, pattern, artifact = map(self._read, self._arrays, where[:3])
        if draws[4] < FADED:
            background = _faded(background, self._read(self._arrays[0], where[3]), *draws[5:])
        if draws[0] < TILTED:
            tilt = np.float32(np.interp(draws[0] / TILTED, (0, 1), TILT))
            background[1:] -= tilt * background[:-1]
        gain = np.exp(GAIN * (2 * draws[1] - 1))
        background *= np.float32((1 if draws[2] < 0.5 else -1) * gain)
        if contrast > MIN_CONTRAST:
            pair = _PAIRS[self._largest[numbers[1]]]
            a, b = MIRROR[pair] if mirrored else pair
            spread = float((background[SEGMENT, a] - background[SEGMENT, b]).std())
            amplitude = 4 * spread * 10 ** (contrast / 20)
            pattern *= np.float32(amplitude * UNIT / self._size[numbers[1]])
            background += pattern
            if amplitude * UNIT > MAX_AMPLITUDE:
                background *= np.float32(MAX_AMPLITUDE / (amplitude * UNIT))
        background += artifact
        if draws[3] < FAILED_ELECTRODES:
            failed = rng.choice(len(ELECTRODES), rng.integers(1, 4), replace=False)
            background[:, failed] = 0
        np.clip(background, -self.clip / UNIT, self.clip / UNIT, out=background)
        return np.rint(background, out=background)

    @staticmethod
    def _read(array: np.ndarray, where: tuple[int, int, bool]) -> np.ndarray:
        number, begin, mirrored = where
        window = array[number, begin : begin + WINDOW_SAMPLES]
        if mirrored:
            window = np.take(window, MIRROR, axis=1)
        return window.astype(np.float32)


def _faded(first: np.ndarray, second: np.ndarray, place: float, speed: float) -> np.ndarray:
    """Let a background turn into another one; ``place`` and ``speed`` are from 0 to 1."""
    constant = np.exp(np.interp(speed, (0, 1), np.log(FADE_SECONDS)))
    times = np.arange(WINDOW_SAMPLES) / SAMPLING_RATE - place * WINDOW_SECONDS
    share = expit(times / constant).astype(np.float32)[:, None]
    return np.sqrt(1 - share) * first + np.sqrt(share) * second
