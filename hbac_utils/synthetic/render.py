"""Render the signals of simulated sessions and write a competition folder with known truth.

The competition's spectrogram grid (steps of 200/1024 Hz from 0.59 to 19.92 Hz, a row every 2 s) is
that of a multitaper estimate (Thomson 1982, doi:10.1109/PROC.1982.12433) on windows of 4 s, padded
to 1,024 samples.

While a competition is written it lies in ``.<name>.partial`` beside its path. A call with the same
arguments continues there after a kill; after a restart of the machine it starts again, because
files may not have reached the disk.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.random import Generator
from scipy.signal.windows import dpss
from threadpoolctl import threadpool_limits

from hbac_utils import __version__
from hbac_utils.data.competition import Competition
from hbac_utils.data.journal import BOOT_ID, discard, partial_folder
from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_COLUMNS, SPECTROGRAM_STEP
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS
from hbac_utils.montage import CHAINS, CHANNELS, DOUBLE_BANANA, derivation_matrix
from hbac_utils.synthetic import artifacts
from hbac_utils.synthetic.background import add_background
from hbac_utils.synthetic.forward_model import apply_reference
from hbac_utils.synthetic.patterns import episode_waveforms, pattern_fields
from hbac_utils.synthetic.plan import Plan, make_plan
from hbac_utils.synthetic.sessions import CUT_TAILS, PATIENT_IDS, REAL_TAILS, PlacedEpisode, Session
from hbac_utils.synthetic.signals import MARGIN, SLOW_RATE, SessionSignal, gate, rhythm
from hbac_utils.utils import interactive
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import DRAFT, lock, remove_drafts, writing

EEGS_PER_PATIENT = 17_089 / 1_950  # of the real competition

REFERENCES = {"CPz": 0.6, "ears": 0.25, "average": 0.15}  # shares of the sessions
MIN_CONTRAST = -15.0  # dB; weaker patterns are not rendered
MAX_AMPLITUDE = 800.0  # µV peak to peak; a session with a larger pattern is scaled down

TAPER_SAMPLES = 4 * SLOW_RATE
TAPERS = dpss(TAPER_SAMPLES, NW=2, Kmax=3)
# cosines and sines at the grid's frequencies, times each taper
_ANGLES = 2 * np.pi * FREQUENCIES * np.arange(TAPER_SAMPLES)[:, None] / SLOW_RATE
_WAVES = np.concatenate([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)
_BASIS = np.concatenate([taper[:, None] * _WAVES for taper in TAPERS], axis=1).astype(np.float32)

_BIPOLAR = derivation_matrix(DOUBLE_BANANA)
_CHAINS = derivation_matrix([name for chain in CHAINS.values() for name in chain]).T


def synthesize(
    out: Path, *, eegs: int, patients: int | None = None, test_eegs: int | None = None,
    seed: int = 0, evidence: float = 1.0, balanced: bool = False, eeg_only: bool = False,
    uncut: bool = False, jobs: int = -1, progress: bool = True,
) -> Competition:  # fmt: skip
    """Write a simulated competition folder with known truth.

    The folder ``<out>_truth`` gets ``truth.parquet`` (per window of both splits: ids, true
    probabilities in the vote columns, parameters of the simulation) and ``solution.csv`` (votes of
    the test windows). Continues if it was stopped. Raises InputError if ``out`` is not empty or a
    number is out of range, DiskError if the disk is full.

    Parameters
    ----------
    eegs, patients, test_eegs : int
        Training EEGs, their patients (default: one per 8.8 EEGs, as in the real competition) and
        test EEGs (default: a tenth of ``eegs``, at least eight).
    seed : int
        The same seed gives the same files, whatever ``jobs``.
    evidence : float
        Factor of the evidence for each pattern: 1 is realistic; at 5 the patterns are so clear that
        a few hundred EEGs suffice to learn them.
    balanced : bool
        All classes are equally frequent, instead of as in the real competition.
    eeg_only : bool
        Write no spectrograms, which takes a third of the time; the signals are then others.
    uncut : bool
        The longest recordings are as long as the real ones: 743 windows and 57 minutes of an EEG,
        hours of a spectrogram; otherwise they end at the 99th percentile.
    """
    out = Path(out).resolve()
    patients = max(1, round(eegs / EEGS_PER_PATIENT)) if patients is None else patients
    test_eegs = max(8, eegs // 10) if test_eegs is None else test_eegs
    for valid, message in (
        (eegs >= 1, f"eegs is {eegs}; it must be at least 1"),
        (1 <= patients <= eegs, f"patients is {patients}; it must be 1 to {eegs} (eegs)"),
        (1 <= test_eegs <= PATIENT_IDS - patients, f"test_eegs is {test_eegs}; out of range"),
        (seed >= 0, f"seed is {seed}; it must not be negative"),
        (0 < evidence <= 100, f"evidence is {evidence}; it must be above 0 and at most 100"),
        (jobs != 0, "jobs is 0; give a number of processes, or -1 for all cores"),
    ):
        if not valid:
            raise InputError(message)
    truth = out.with_name(f"{out.name}_truth")
    settings = [eegs, patients, test_eegs, seed, evidence, balanced, eeg_only, uncut]
    tails = REAL_TAILS if uncut else CUT_TAILS
    draft = _draft_folder(out, settings)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with lock(out):
            for path in (out, *[truth] * (not draft.exists())):
                if path.exists() and (not path.is_dir() or any(path.iterdir())):
                    raise InputError(
                        f"{path}: exists and is not empty; give a new folder or remove it"
                    )
            plan = make_plan(eegs, patients, test_eegs, seed, evidence, balanced, tails)
            if not draft.exists():
                discard(out)
            folder = draft / "competition"
            _write_tables(plan, folder, draft / "truth")
            for split, kind in product(("train", "test"), ("eegs", "spectrograms")[: 2 - eeg_only]):
                (folder / f"{split}_{kind}").mkdir(exist_ok=True)
            left = [s for s in plan.sessions if not _last_file(s, folder, eeg_only).exists()]
            write = joblib.delayed(_write_eegs if eeg_only else _write_session)
            tasks = (write(session, folder, seed) for session in left)
            done = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(tasks)
            count = len(plan.sessions)
            for _ in interactive.progress(
                done, count, "simulate", count - len(left), show=progress
            ):
                pass
            remove_drafts(folder)
            if out.is_dir():
                out.rmdir()
            shutil.rmtree(truth, ignore_errors=True)  # of a call that was killed here
            (draft / "truth").rename(truth)
            folder.rename(out)
            discard(out)
    return Competition(out)


def _draft_folder(out: Path, settings: list) -> Path:
    # its name stands for the content: a worker that survived its killed parent cannot write into
    # another competition
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
    text = json.dumps([*settings, __version__, boot])
    return partial_folder(out) / hashlib.sha256(text.encode()).hexdigest()[:8]


def _last_file(session: Session, folder: Path, eeg_only: bool) -> Path:
    # of those that a worker writes for the session
    if eeg_only:
        return folder / f"{session.split}_eegs" / f"{session.recordings[-1].eeg_id}.parquet"
    return folder / f"{session.split}_spectrograms" / f"{session.spectrogram_id}.parquet"


def _write_tables(plan: Plan, folder: Path, truth: Path) -> None:
    for path in (truth, folder):
        path.mkdir(parents=True, exist_ok=True)
    plan.train.to_csv(folder / "train.csv", index=False)
    plan.test.to_csv(folder / "test.csv", index=False)
    sample = plan.test[["eeg_id"]].assign(**dict.fromkeys(VOTE_COLUMNS, 1 / N_CLASSES))
    sample.to_csv(folder / "sample_submission.csv", index=False)
    plan.solution.to_csv(truth / "solution.csv", index=False)
    plan.truth.to_parquet(truth / "truth.parquet", index=False)


def _write_eegs(session: Session, folder: Path, seed: int, eeg_only: bool = True) -> np.ndarray:
    rng = np.random.default_rng([seed, 2, session.spectrogram_id])
    with threadpool_limits(1):  # several threads would change the order of sums, and so the bytes
        eegs, power = render_session(session, rng, eeg_only)
    for recording, eeg in zip(session.recordings, eegs, strict=True):
        path = folder / f"{session.split}_eegs" / f"{recording.eeg_id}.parquet"
        _write_columns(path, dict(zip(CHANNELS, eeg, strict=True)))
    return power


def _write_session(session: Session, folder: Path, seed: int) -> None:
    power = _write_eegs(session, folder, seed, eeg_only=False)
    time = 1 + SPECTROGRAM_STEP * np.arange(len(power))
    time = time.astype(np.int64 if session.split == "train" else np.int16)  # as the real files
    path = folder / f"{session.split}_spectrograms" / f"{session.spectrogram_id}.parquet"
    _write_columns(path, {"time": time} | dict(zip(SPECTROGRAM_COLUMNS, power.T, strict=True)))


def _write_columns(path: Path, columns: dict[str, np.ndarray]) -> None:
    table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
    draft = path.with_name(f"{DRAFT}{path.name}.{os.getpid()}")
    pq.write_table(table, draft, use_dictionary=False, write_statistics=False)
    draft.replace(path)


def render_session(
    session: Session, rng: Generator, eeg_only: bool = False
) -> tuple[list[np.ndarray], np.ndarray]:
    """Simulate a session's EEGs (20, n_times) in µV and its spectrogram (n_rows, 400) in µV²/Hz.

    With ``eeg_only`` the signal ends with the last EEG, and the spectrogram has no rows.
    """
    begin, end, last = 0, session.seconds, session.recordings[-1]
    if eeg_only:
        begin, end = session.recordings[0].start, last.start + last.seconds
    intervals = [(r.start - begin, r.seconds) for r in session.recordings]
    signal = SessionSignal(end - begin, intervals, parts_only=eeg_only)
    reference = str(rng.choice(list(REFERENCES), p=list(REFERENCES.values())))
    add_background(signal, session.background, reference, rng)  # type: ignore[arg-type]
    add_episodes(signal, [one.cut(begin, end) for one in session.episodes], reference, rng)
    ekgs = artifacts.add_artifacts(signal, rng)
    slow, fast = signal.to_arrays()
    power = np.zeros((0, len(SPECTROGRAM_COLUMNS)), np.float32)
    if not eeg_only:
        power = spectrogram(slow)
        artifacts.add_bad_rows(power, rng)
    artifacts.add_channel_faults(fast, rng)
    return [np.vstack([eeg, ekg]) for eeg, ekg in zip(fast, ekgs, strict=True)], power


def add_episodes(
    signal: SessionSignal, placed: Sequence[PlacedEpisode], reference: str, rng: Generator
) -> None:
    """Add a session's episodes to its background, with the stated contrasts."""
    episodes = [one for one in placed if one.episode.contrast > MIN_CONTRAST]
    fields = [apply_reference(pattern_fields(one.episode), reference) for one in episodes]
    # contrasts refer to the background, hence all sizes precede the first pattern
    sizes = [_pattern_size(signal, p, f) for p, f in zip(episodes, fields, strict=True)]
    shrink = min([1.0, *(MAX_AMPLITUDE / amplitude for _, amplitude in sizes)])
    signal.scale(np.full(len(signal.times), shrink))
    fields = [shrink * size * f for (size, _), f in zip(sizes, fields, strict=True)]
    for one, scaled in zip(episodes, fields, strict=True):
        # the background is attenuated after an episode, and slow waves replace a seizure
        if size := one.episode.aftermath:
            after = gate(signal.times, one.end + 1, one.quiet_until - 1, 2)
            signal.scale(1 - size * after)
            slow = rhythm(rng.uniform(0.8, 2), 0.5)
            signal.add_noise(rng, size * rng.uniform(0, 0.25) * scaled[:2], slow, after)
    for one, scaled in zip(episodes, fields, strict=True):
        begin, end, episode = one.begin, one.end, one.episode
        labelled = one.labelled[0] - begin, one.labelled[1] - begin
        signal.add(begin, scaled, episode_waveforms(episode, rng, end - begin, labelled))
        if episode.tension:
            artifacts.add_seizure_muscle(signal, rng, begin, end, episode.tension)


def _pattern_size(
    signal: SessionSignal, placed: PlacedEpisode, fields: np.ndarray
) -> tuple[float, float]:
    # (factor of the fields, µV peak to peak in the largest derivation)
    bipolar = np.abs(fields.sum(axis=0) @ _BIPOLAR)
    largest = int(np.argmax(bipolar))
    std = signal.std(_BIPOLAR[:, largest], *placed.labelled)
    amplitude = 4 * std * 10 ** (placed.episode.contrast / 20)
    return amplitude / bipolar[largest], amplitude


def spectrogram(slow: np.ndarray) -> np.ndarray:
    """Estimate the four chains' multitaper power, shape (n_rows, 400), µV²/Hz.

    ``slow`` is the 50-Hz signal of `SessionSignal`, shape (19, n), with its margins.
    """
    first, step = (MARGIN - 1) * SLOW_RATE, SPECTROGRAM_STEP * SLOW_RATE
    bipolar = _CHAINS @ slow[:, first : slow.shape[1] - first]
    windows = np.lib.stride_tricks.sliding_window_view(bipolar, TAPER_SAMPLES, axis=1)[:, ::step]
    n_rows, n_bands = windows.shape[1], len(FREQUENCIES)
    power = np.zeros((len(CHAINS), n_rows, n_bands), dtype=np.float32)
    for i, signal in enumerate(windows):
        squares = (signal @ _BASIS) ** 2
        power[i * len(CHAINS) // len(bipolar)] += squares.reshape(n_rows, -1, n_bands).sum(axis=1)
    power *= 2 / (SLOW_RATE * len(TAPERS) * len(bipolar) // len(CHAINS))
    return power.transpose(1, 0, 2).reshape(n_rows, -1)
