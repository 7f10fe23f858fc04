"""Who was recorded when, and which windows were labelled: the structure of the tables.

The distributions are the real tables', given by their quantiles. What lies above the 99th
percentile is cut (53 windows and 320 s of an EEG, 2,600 s of a spectrogram): one recording
in a hundred would otherwise take a third of the time to simulate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from hbac_utils.data.layout import SPECTROGRAM_SECONDS, WINDOW_SECONDS

LEVELS = (0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)
EEGS_PER_PATIENT = (1, 1, 2, 3, 5, 19, 37, 94, 269)
WINDOWS_PER_EEG = (1, 1, 1, 3, 7, 13, 20, 52, 53)
# a little above the real 1, 2, 4, 8, 107, because a patient's EEGs end before some are full
EEGS_PER_SPECTROGRAM = (1, 1, 1, 1, 1, 2.4, 5, 11, 40)
STEPS = {2: 0.36, 4: 0.27, 6: 0.14, 8: 0.07, 10: 0.05, 12: 0.03, 14: 0.02, 18: 0.02, 24: 0.04}
"""Seconds from one window to the next, and how often."""

LONGEST_GAP = 400  # seconds between two EEGs of a spectrogram
LONGEST_EEG = 320  # seconds
LONGEST_SPECTROGRAM = 2600  # seconds
LEAD_IN = (SPECTROGRAM_SECONDS - WINDOW_SECONDS) // 2
"""Seconds from the begin of a spectrogram's window to the begin of the EEG's: one centre."""

CHANGING = 0.165  # of the EEGs with two windows or more: their votes change
CHANGES = {2: 0.55, 3: 0.3, 4: 0.15}  # stretches of a changing EEG
MIXED = 0.42  # of the changing EEGs have stretches of both populations
RELIABLE = {"train": 0.33, "test": 0.9}  # share of the EEGs that many experts saw

PATIENT_IDS, SPECTROGRAM_IDS, EEG_IDS = 66_000, 2**31, 2**32  # ids are below


@dataclass(frozen=True)
class Recording:
    """An EEG file.

    Parameters
    ----------
    eeg_id : int
    begin : int, seconds
        From the begin of its first spectrogram window to that of the spectrogram file.
    offsets : tuple of int, seconds
        Of its windows.
    counts : tuple of int
        Windows in each stretch; all windows of a stretch have the same votes.
    reliable : tuple of bool
        Whether many experts saw the stretch.
    """

    eeg_id: int
    begin: int
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    reliable: tuple[bool, ...]

    @property
    def start(self) -> int:
        """Seconds from the spectrogram file's begin to this one's."""
        return self.begin + LEAD_IN

    @property
    def seconds(self) -> int:
        """Length of the file."""
        return WINDOW_SECONDS + self.offsets[-1]


@dataclass(frozen=True)
class Session:
    """A spectrogram file and the EEG files that are cut from the same signal."""

    split: str
    patient_id: int
    spectrogram_id: int
    recordings: tuple[Recording, ...]

    @property
    def seconds(self) -> int:
        """Length of the spectrogram file."""
        last = self.recordings[-1]
        return SPECTROGRAM_SECONDS + last.begin + last.offsets[-1]


def make_sessions(
    rng: np.random.Generator, eegs: int, patients: int, test_eegs: int
) -> list[Session]:
    """Draw the structure of a competition.

    Parameters
    ----------
    rng : Generator
    eegs, patients : int
        Of the training part.
    test_eegs : int
        Each from another patient and of one window.

    Returns
    -------
    list of Session
        Training first, patient by patient.
    """
    patient_ids = _ids(rng, PATIENT_IDS, patients + test_eegs)
    eeg_ids = iter(_ids(rng, EEG_IDS, eegs + test_eegs))
    spectrogram_ids = iter(_ids(rng, SPECTROGRAM_IDS, eegs + test_eegs))
    windows = iter(_stratified(rng, WINDOWS_PER_EEG, eegs))
    sessions = []
    for patient_id, size in zip(patient_ids[:patients], _sizes(rng, patients, eegs), strict=True):
        for part in _parts(rng, size):
            counts = [next(windows) for _ in range(part)]
            sessions += _sessions(rng, "train", patient_id, counts, eeg_ids, spectrogram_ids)
    for patient_id in patient_ids[patients:]:
        sessions += _sessions(rng, "test", patient_id, [1], eeg_ids, spectrogram_ids)
    return sessions


def _ids(rng: np.random.Generator, below: int, count: int) -> list[int]:
    return [int(i) for i in rng.choice(below, count, replace=False)]


def _quantile(values: tuple, levels) -> np.ndarray:
    # geometric interpolation, because the tails are heavy
    return np.exp(np.interp(levels, LEVELS, np.log(values))).round().astype(np.int64)


def _stratified(rng: np.random.Generator, values: tuple, count: int) -> np.ndarray:
    # so that a small competition has the right quantiles too
    return rng.permutation(_quantile(values, (np.arange(count) + rng.random(count)) / count))


def _sizes(rng: np.random.Generator, patients: int, eegs: int) -> np.ndarray:
    # EEGs of each patient; the large ones give or take until the sum is right
    sizes = _stratified(rng, EEGS_PER_PATIENT, patients)
    while excess := int(sizes.sum()) - eegs:
        weight = sizes - 1.0 if excess > 0 else sizes.astype(np.float64)
        step = rng.multinomial(min(abs(excess), patients), weight / weight.sum())
        sizes = np.maximum(1, sizes - np.sign(excess) * step)
    return sizes


def _parts(rng: np.random.Generator, size: int) -> Iterator[int]:
    # EEGs of a patient's spectrograms
    while size > 0:
        part = min(int(_quantile(EEGS_PER_SPECTROGRAM, rng.random())), size)
        yield part
        size -= part


def _sessions(
    rng: np.random.Generator,
    split: str,
    patient_id: int,
    windows: list[int],
    eeg_ids: Iterator[int],
    spectrogram_ids: Iterator[int],
) -> list[Session]:
    # one session, or more where it would become too long
    groups, begin = [[]], 0
    for count in windows:
        recording = _recording(rng, next(eeg_ids), begin, count, RELIABLE[split])
        end = begin + recording.offsets[-1]
        if groups[-1] and end + SPECTROGRAM_SECONDS > LONGEST_SPECTROGRAM:
            groups.append([])
            recording, end = replace(recording, begin=0), recording.offsets[-1]
        groups[-1].append(recording)
        # even, because a spectrogram has a row every two seconds
        begin = end + WINDOW_SECONDS + 2 * int(np.exp(rng.uniform(0, np.log(LONGEST_GAP / 2))))
    return [Session(split, patient_id, next(spectrogram_ids), tuple(group)) for group in groups]


def _recording(
    rng: np.random.Generator, eeg_id: int, begin: int, windows: int, reliable: float
) -> Recording:
    steps = rng.choice(list(STEPS), windows - 1, p=list(STEPS.values()))
    offsets = np.concatenate([[0], steps.cumsum()])
    offsets = offsets[offsets <= LONGEST_EEG - WINDOW_SECONDS]
    cuts = np.array([], dtype=np.int64)
    if len(offsets) > 1 and rng.random() < CHANGING:
        parts = min(rng.choice(list(CHANGES), p=list(CHANGES.values())), len(offsets))
        cuts = np.sort(rng.choice(np.arange(1, len(offsets)), parts - 1, replace=False))
    counts = np.diff(cuts, prepend=0, append=len(offsets))
    population = np.full(len(counts), rng.random() < reliable)
    if len(counts) > 1 and rng.random() < MIXED:
        population[rng.integers(len(counts))] ^= True
    return Recording(
        eeg_id,
        begin,
        tuple(int(offset) for offset in offsets),
        tuple(int(count) for count in counts),
        tuple(bool(many) for many in population),
    )
