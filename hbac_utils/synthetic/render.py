"""One session: a patient's background, what happens in it, and how it was recorded."""

from dataclasses import dataclass

import numpy as np

from hbac_utils.data.layout import SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.montage import DOUBLE_BANANA, derivation_matrix
from hbac_utils.synthetic import artifacts, patterns, spectra
from hbac_utils.synthetic import forward_model as head
from hbac_utils.synthetic import noise as sources
from hbac_utils.synthetic import waveforms as courses
from hbac_utils.synthetic.background import paint_background
from hbac_utils.synthetic.plan import Scene, Stretch
from hbac_utils.synthetic.sessions import Recording
from hbac_utils.synthetic.signal import Canvas

LARGEST = 800.0  # µV peak to peak: where a pattern is larger, all of the session is made smaller
LABEL = (WINDOW_SECONDS - SEGMENT_SECONDS) // 2  # seconds from a window's begin to its label
REFERENCES = {"CPz": 0.6, "ears": 0.25, "average": 0.15}
AFTERMATH = 60  # seconds: how long the background is attenuated and slow after a seizure
BAD_CHANNEL = 0.06  # of the recordings
GAPS = ((np.nan, 0.08), (0.0, 0.05))  # rows that are missing, or dead: in so many spectrograms

_BIPOLAR = derivation_matrix(DOUBLE_BANANA)


@dataclass(frozen=True)
class _Placed:
    # an episode in the session's time, seconds
    episode: patterns.Episode
    begin: float
    end: float
    labelled: tuple[float, float]
    quiet_until: float  # the end of what it leaves behind


def render_scene(scene: Scene, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
    """Simulate a spectrogram and the EEGs that belong to it.

    Parameters
    ----------
    scene : Scene
    rng : Generator

    Returns
    -------
    eegs : list of array of float32, shape (n_times, 20), microvolts
        In the order of the session's recordings.
    spectrogram : array of float32, shape (n_rows, 400), µV²/Hz
    """
    session = scene.session
    canvas = Canvas(session.seconds, [(r.start, r.seconds) for r in session.recordings])
    reference = str(rng.choice(list(REFERENCES), p=list(REFERENCES.values())))
    paint_background(scene.background, canvas, reference, rng)
    _paint_episodes(_placed(scene), canvas, reference, rng)
    ekgs = artifacts.contaminate(canvas, rng)
    slow, fast = canvas.finish()
    power = spectra.spectrogram(slow)
    _lose_rows(power, rng)
    offsets, eegs = artifacts.offsets(rng), []
    for eeg, ekg in zip(fast, ekgs, strict=True):
        eeg += offsets
        if rng.random() < BAD_CHANNEL:
            artifacts.bad_channel(eeg, rng)
        eegs.append(np.vstack([eeg, ekg]).T)
    return eegs, power


def _placed(scene: Scene) -> list[_Placed]:
    placed, recordings = [], scene.session.recordings
    begins = [r.start for r in recordings]
    ends = [r.start + r.seconds for r in recordings]
    # between two recordings, the one's episode ends and the other's begins halfway
    halfway = [(end + begin) / 2 for end, begin in zip(ends[:-1], begins[1:], strict=True)]
    borders = [0, *halfway, scene.session.seconds]
    for i, (recording, stretches) in enumerate(zip(recordings, scene.stretches, strict=True)):
        placed += _placed_in(recording, stretches, borders[i], borders[i + 1])
    return placed


def _placed_in(
    recording: Recording, stretches: tuple[Stretch, ...], earliest: float, latest: float
) -> list[_Placed]:
    placed, since = [], LABEL
    for i, stretch in enumerate(stretches):
        first, last = i == 0, i + 1 == len(stretches)
        until = recording.seconds - LABEL if last else stretch.until
        labelled = (recording.start + since, recording.start + until)
        begin = max(labelled[0] - stretch.episode.lead, earliest) if first else labelled[0]
        end = min(labelled[1] + stretch.episode.tail, latest) if last else labelled[1]
        quiet_until = min(end + AFTERMATH, latest) if last else end
        placed.append(_Placed(stretch.episode, begin, end, labelled, quiet_until))
        since = until
    return placed


def _paint_episodes(
    placed: list[_Placed], canvas: Canvas, reference: str, rng: np.random.Generator
) -> None:
    placed = [one for one in placed if one.episode.contrast > patterns.SILENT]
    all_fields = [head.referenced(patterns.fields(one.episode), reference) for one in placed]
    # sizes are relative to the background alone, hence they come before the first pattern
    sizes = [_size(canvas, one, fields) for one, fields in zip(placed, all_fields, strict=True)]
    shrink = min([1.0, *(LARGEST / swing for _, swing in sizes)])
    canvas.scale(np.full(len(canvas.times), shrink))
    scaled = [shrink * size * f for (size, _), f in zip(sizes, all_fields, strict=True)]
    for one, fields in zip(placed, scaled, strict=True):
        if one.episode.aftermath:
            _paint_aftermath(one, fields, canvas, rng)
    for one, fields in zip(placed, scaled, strict=True):
        labelled = tuple(t - one.begin for t in one.labelled)
        waves = courses.render_episode(one.episode, rng, one.end - one.begin, labelled)
        canvas.add(one.begin, fields, waves)
        if one.episode.tension:
            artifacts.strain(canvas, rng, one.begin, one.end, one.episode.tension)


def _paint_aftermath(
    placed: _Placed, fields: np.ndarray, canvas: Canvas, rng: np.random.Generator
) -> None:
    # the background is attenuated, and slow waves take the place of the seizure
    size = placed.episode.aftermath
    after = sources.switch(canvas.times, placed.end + 1, placed.quiet_until - 1, 2)
    canvas.scale(1 - size * after)
    slow = sources.bump(rng.uniform(0.8, 2), 0.5)
    canvas.add_noise(rng, size * rng.uniform(0, 0.25) * fields[:2], slow, after)


def _size(canvas: Canvas, placed: _Placed, fields: np.ndarray) -> tuple[float, float]:
    # (µV at the electrodes, µV peak to peak in the largest derivation) for the wanted contrast
    bipolar = np.abs(fields.sum(axis=0) @ _BIPOLAR)
    best = int(np.argmax(bipolar))
    rms = canvas.spread(_BIPOLAR[:, best], *placed.labelled)
    swing = 4 * rms * 10 ** (placed.episode.contrast / 20)
    return swing / bipolar[best], swing


def _lose_rows(power: np.ndarray, rng: np.random.Generator) -> None:
    for value, chance in GAPS:
        if rng.random() < chance:
            begin = rng.integers(len(power))
            power[begin : begin + rng.integers(1, 60)] = value
