"""One session: a patient's background, what happens in it, and how it was recorded."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import (
    SEGMENT_SECONDS,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_STEP,
    WINDOW_SECONDS,
)
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS
from hbac_utils.montage import CHANNELS, DOUBLE_BANANA, derivation_matrix
from hbac_utils.synthetic import artifacts, patterns, spectra
from hbac_utils.synthetic import forward_model as head
from hbac_utils.synthetic import noise as sources
from hbac_utils.synthetic import waveforms as courses
from hbac_utils.synthetic.background import paint_background
from hbac_utils.synthetic.plan import Plan, Scene, Stretch, make_plan
from hbac_utils.synthetic.sessions import PATIENT_IDS, Recording
from hbac_utils.synthetic.signal import Canvas
from hbac_utils.utils.errors import InputError

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


EEGS_PER_PATIENT = 17_089 / 1_950
TEST_SHARE = 10  # one test EEG for so many of training
FEWEST_TESTS = 8

FOLDERS = ("train_eegs", "train_spectrograms", "test_eegs", "test_spectrograms")


def truth_folder(path: Path) -> Path:
    """Name the folder of the truth, which stands beside the competition's, never inside."""
    return path.with_name(f"{path.name}_truth")


def synthesize(
    out: Path,
    *,
    eegs: int,
    patients: int | None = None,
    test_eegs: int | None = None,
    seed: int = 0,
    evidence: float = 1.0,
    balanced: bool = False,
    jobs: int = -1,
    progress: bool = True,
) -> Competition:
    """Write a competition folder with known truth.

    Beside ``out``, ``<name>_truth`` gets ``truth.parquet`` (a row per window of both splits:
    ids, true probabilities under the names of the vote columns, drawn parameters) and
    ``solution.csv`` (the votes of the test windows).

    Parameters
    ----------
    out : Path
        A folder that does not exist yet or is empty.
    eegs : int
        EEG files of the training part.
    patients : int, optional
        Patients of the training part; as many as in the real competition for so many EEGs.
    test_eegs : int, optional
        A tenth of ``eegs``, and eight at least.
    seed : int
        The same seed gives the same bytes, whatever ``jobs``.
    evidence : float
        How far the patterns stand out: at 1 as in reality, at 5 so plainly that a few hundred
        EEGs suffice to learn them.
    balanced : bool
        Whether the six classes are equally frequent, or as in the real competition.
    jobs : int
        Processes; −1 takes all cores.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Competition

    Raises
    ------
    InputError
        If ``out`` is not empty, or a count makes no sense.
    """
    out = Path(out).resolve()
    patients = max(1, round(eegs / EEGS_PER_PATIENT)) if patients is None else patients
    test_eegs = max(FEWEST_TESTS, eegs // TEST_SHARE) if test_eegs is None else test_eegs
    _check(out, eegs, patients, test_eegs, seed, jobs)
    if evidence <= 0:
        raise InputError(f"evidence is {evidence}; it is above zero")
    plan = make_plan(eegs, patients, test_eegs, seed, evidence, balanced)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        for name in FOLDERS:
            (draft / "competition" / name).mkdir(parents=True)
        (draft / "truth").mkdir()
        _write_tables(plan, draft)
        _render(plan, draft / "competition", seed, jobs, progress)
        if out.is_dir():
            out.rmdir()
        (draft / "truth").rename(truth_folder(out))
        (draft / "competition").rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Competition(out)


def _check(out: Path, eegs: int, patients: int, test_eegs: int, seed: int, jobs: int) -> None:
    for name, value in (("eegs", eegs), ("patients", patients), ("test_eegs", test_eegs)):
        if value < 1:
            raise InputError(f"{name} is {value}; it takes one at least")
    if patients > eegs:
        raise InputError(f"patients is {patients} and eegs only {eegs}; every patient has an EEG")
    if patients + test_eegs > PATIENT_IDS:
        raise InputError(f"{patients} patients and {test_eegs} test EEGs; ids end at {PATIENT_IDS}")
    if seed < 0:
        raise InputError(f"seed is {seed}; it may not be negative")
    if jobs == 0:
        raise InputError("jobs is 0; name a number of processes, or -1 for all cores")
    for path in (out, truth_folder(out)):
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: exists and is not empty; name a new folder or remove it")


def _write_tables(plan: Plan, draft: Path) -> None:
    folder = draft / "competition"
    plan.train.to_csv(folder / "train.csv", index=False)
    plan.test.to_csv(folder / "test.csv", index=False)
    sample = plan.test[["eeg_id"]].assign(**dict.fromkeys(VOTE_COLUMNS, 1 / N_CLASSES))
    sample.to_csv(folder / "sample_submission.csv", index=False)
    plan.solution.to_csv(draft / "truth" / "solution.csv", index=False)
    plan.truth.to_parquet(draft / "truth" / "truth.parquet", index=False)


def _render(plan: Plan, folder: Path, seed: int, jobs: int, progress: bool) -> None:
    tasks = (joblib.delayed(_write_scene)(scene, folder, seed) for scene in plan.scenes)
    done = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
    total = sum(len(scene.session.recordings) for scene in plan.scenes)
    with tqdm(total=total, unit="EEG", disable=not progress) as bar:
        for count in done:
            bar.update(count)


def _write_scene(scene: Scene, folder: Path, seed: int) -> int:
    session = scene.session
    # threads would change the order of sums, and with it the bytes
    with threadpool_limits(1):
        eegs, power = render_scene(scene, np.random.default_rng([seed, 2, session.spectrogram_id]))
    for recording, eeg in zip(session.recordings, eegs, strict=True):
        path = folder / f"{session.split}_eegs" / f"{recording.eeg_id}.parquet"
        _write_columns(path, dict(zip(CHANNELS, eeg.T, strict=True)))
    # the types are those of the real files
    time = 1 + SPECTROGRAM_STEP * np.arange(len(power))
    time = time.astype(np.int64 if session.split == "train" else np.int16)
    path = folder / f"{session.split}_spectrograms" / f"{session.spectrogram_id}.parquet"
    _write_columns(path, {"time": time} | dict(zip(SPECTROGRAM_COLUMNS, power.T, strict=True)))
    return len(session.recordings)


def _write_columns(path: Path, columns: dict[str, np.ndarray]) -> None:
    table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
    pq.write_table(table, path, use_dictionary=False, write_statistics=False)
