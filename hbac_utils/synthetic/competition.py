"""A synthetic competition as a folder in Kaggle's layout, and its truth beside it."""

import os
import shutil
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import SPECTROGRAM_COLUMNS, SPECTROGRAM_STEP
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS
from hbac_utils.montage import CHANNELS
from hbac_utils.synthetic.plan import Plan, Scene, make_plan
from hbac_utils.synthetic.render import render_scene
from hbac_utils.synthetic.sessions import PATIENT_IDS
from hbac_utils.utils.errors import InputError

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
    clarity: float = 1.0,
    even: bool = False,
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
    clarity : float
        How far the patterns stand out: at 1 as in reality, at 5 so plainly that a few hundred
        EEGs suffice to learn them.
    even : bool
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
    if clarity <= 0:
        raise InputError(f"clarity is {clarity}; it is above zero")
    plan = make_plan(eegs, patients, test_eegs, seed, clarity, even)
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
