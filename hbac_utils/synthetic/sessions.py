"""Sessions of a simulated competition: recordings, windows, episodes and their experts.

Distributions are those of the real tables. Unless asked otherwise (`REAL_TAILS`) they are cut above
the 99th percentile: 53 windows and 320 s of an EEG, 2,600 s of a spectrogram.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.random import Generator

from hbac_utils.data import layout
from hbac_utils.data.layout import SPECTROGRAM_SECONDS, WINDOW_SECONDS
from hbac_utils.labels import CLASSES, DECISIONS, N_CLASSES
from hbac_utils.synthetic import raters
from hbac_utils.synthetic.background import Background
from hbac_utils.synthetic.patterns import Episode, draw_episode
from hbac_utils.synthetic.signals import MARGIN, log_uniform

LEVELS = (0, 0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1)  # of quantiles
EEGS_PER_PATIENT = (1, 1, 2, 3, 5, 19, 37, 94, 269)
# seconds from one window to the next, and their shares
STEPS = {2: 0.36, 4: 0.27, 6: 0.14, 8: 0.07, 10: 0.05, 12: 0.03, 14: 0.02, 18: 0.02, 24: 0.04}

# how many of the real (EEG, vote vector) groups have so many votes
FEW_VOTES = {1: 3433, 2: 2070, 3: 6238, 4: 743, 5: 1141, 6: 141, 7: 1}
MANY_VOTES = {
    10: 116, 11: 382, 12: 724, 13: 1354, 14: 638, 15: 1438, 16: 679, 17: 303, 18: 306,
    19: 73, 20: 205, 21: 49, 22: 24, 23: 10, 24: 3, 25: 5, 26: 2, 27: 1, 28: 1,
}  # fmt: skip
TEST_VOTES = (3, 20)  # range in the test set
RELIABLE = {"train": 0.33, "test": 0.9}  # share of the EEGs that many experts see

LONGEST_GAP = 400  # seconds between two EEGs of a spectrogram
TO_EEG = (SPECTROGRAM_SECONDS - WINDOW_SECONDS) // 2  # seconds from a spectrogram window's begin
TO_SEGMENT = (WINDOW_SECONDS - layout.SEGMENT_SECONDS) // 2  # seconds from an EEG window's begin

CHANGING = 0.165  # share of the EEGs with several windows whose votes change
CHANGES = {2: 0.55, 3: 0.3, 4: 0.15}  # episodes of a changing EEG
MIXED = 0.42  # share of the changing EEGs with episodes of both populations of raters
CONTINUITY = 0.7  # share of the following episodes that have the same source
SOURCE = ("side", "inclination", "azimuth", "width", "tilt", "sharpness", "lobes", "polarity")
LIKENESS = 6.0  # in classes: spread of the order in which patients get their patterns
AFTERMATH = 60  # seconds in which the background is attenuated after an episode

PATIENT_IDS, SPECTROGRAM_IDS, EEG_IDS = 66_000, 2**31, 2**32  # upper limits


@dataclass(frozen=True)
class Tails:
    """Upper ends of the distributions: quantiles at ``levels``, and the longest files."""

    levels: tuple[float, ...]
    windows_per_eeg: tuple[float, ...]
    eegs_per_spectrogram: tuple[float, ...]
    longest_eeg: int  # seconds
    longest_spectrogram: int
    drop: bool  # leave out the windows after the longest EEG's end, or move them closer together


# EEGs per spectrogram are a little above the real 1, 2, 4, 8, 107 (quantiles from 0.75 on), because
# the last spectrogram of a patient is not full
CUT_TAILS = Tails(
    LEVELS, (1, 1, 1, 3, 7, 13, 20, 52, 53), (1, 1, 1, 1, 1, 2.4, 5, 11, 40), 320, 2600, drop=True
)
# the quantile at 0.9995 makes the sum the real one: 106,800 windows
REAL_TAILS = Tails(
    (*LEVELS[:-1], 0.9995, 1), (1, 1, 1, 3, 7, 13, 20, 52, 80, 743),
    (1, 1, 1, 1, 1, 2.8, 6, 12, 70, 107), 3422, 18_232, drop=False,
)  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """An EEG file."""

    eeg_id: int
    begin: int  # seconds from the spectrogram file's begin to the first window's spectrogram
    offsets: tuple[int, ...]  # seconds, of the windows
    counts: tuple[int, ...]  # windows of each episode; they share their votes
    reliable: tuple[bool, ...]  # per episode, whether many experts see it

    @property
    def start(self) -> int:
        """Seconds from the spectrogram file's begin to the EEG file's."""
        return self.begin + TO_EEG

    @property
    def seconds(self) -> int:
        """Length of the file."""
        return WINDOW_SECONDS + self.offsets[-1]


@dataclass(frozen=True)
class PlacedEpisode:
    """An episode in the session's time (seconds)."""

    episode: Episode
    begin: float
    end: float
    labelled: tuple[float, float]
    quiet_until: float  # end of the attenuation after the episode

    def cut(self, start: float, stop: float) -> "PlacedEpisode":
        """Return what lies between two times, in seconds after the first."""
        begin, end = max(self.begin, start - MARGIN), min(self.end, stop + MARGIN)
        times = (begin, end, *self.labelled, self.quiet_until)
        begin, end, first, last, quiet = (time - start for time in times)
        return PlacedEpisode(self.episode, begin, end, (first, last), quiet)


@dataclass(frozen=True)
class Session:
    """A spectrogram file, the EEG files that are cut from the same signal, and its content."""

    split: str
    patient_id: int
    spectrogram_id: int
    recordings: tuple[Recording, ...]
    background: Background | None = None
    episodes: tuple[PlacedEpisode, ...] = ()

    @property
    def seconds(self) -> int:
        """Length of the spectrogram file."""
        return SPECTROGRAM_SECONDS + self.recordings[-1].begin + self.recordings[-1].offsets[-1]


def draw_sessions(
    rng: Generator, eegs: int, patients: int, test_eegs: int, tails: Tails
) -> list[Session]:
    """Draw the recordings: training patient by patient, then test EEGs, each of another patient."""
    counts = {PATIENT_IDS: patients, EEG_IDS: eegs, SPECTROGRAM_IDS: eegs}
    patient_ids, eeg_ids, spectrogram_ids = (
        iter(rng.choice(limit, count + test_eegs, replace=False).tolist())
        for limit, count in counts.items()
    )
    windows = iter(_stratified(rng, tails.windows_per_eeg, eegs, tails.levels))
    sessions = []

    def add(split: str, patient_id: int, windows_per_eeg: list[int]) -> None:
        # one session, or more where it would become too long
        groups, begin = [[]], 0
        for count in windows_per_eeg:
            recording = _draw_recording(rng, next(eeg_ids), begin, count, RELIABLE[split], tails)
            end = begin + recording.offsets[-1]
            if groups[-1] and end + SPECTROGRAM_SECONDS > tails.longest_spectrogram:
                groups.append([])
                recording, end = replace(recording, begin=0), recording.offsets[-1]
            groups[-1].append(recording)
            # an even number of seconds, because a spectrogram has a row every two seconds
            begin = end + WINDOW_SECONDS + 2 * int(log_uniform(rng, 1, LONGEST_GAP / 2))
        for group in groups:
            sessions.append(Session(split, patient_id, next(spectrogram_ids), tuple(group)))

    for remaining in _eegs_per_patient(rng, patients, eegs):
        patient_id = next(patient_ids)
        while remaining > 0:
            count = min(
                int(_quantile(tails.eegs_per_spectrogram, rng.random(), tails.levels)), remaining
            )
            add("train", patient_id, [next(windows) for _ in range(count)])
            remaining -= count
    for patient_id in patient_ids:
        add("test", patient_id, [1])
    return sessions


def _quantile(values: tuple, at, levels: tuple = LEVELS) -> np.ndarray:
    # geometric interpolation, because the tails are heavy
    return np.exp(np.interp(at, levels, np.log(values))).round().astype(np.int64)


def _stratified(rng: Generator, values: tuple, count: int, levels: tuple = LEVELS) -> np.ndarray:
    # a small competition has the right quantiles too
    at = (np.arange(count) + rng.random(count)) / count
    return rng.permutation(_quantile(values, at, levels))


def _eegs_per_patient(rng: Generator, patients: int, eegs: int) -> np.ndarray:
    # large patients gain or lose EEGs until the sum is right
    sizes = _stratified(rng, EEGS_PER_PATIENT, patients)
    while excess := int(sizes.sum()) - eegs:
        weight = sizes - 1.0 if excess > 0 else sizes.astype(np.float64)
        step = rng.multinomial(min(abs(excess), patients), weight / weight.sum())
        sizes = np.maximum(1, sizes - np.sign(excess) * step)
    return sizes


def _draw_recording(
    rng: Generator, eeg_id: int, begin: int, windows: int, reliable: float, tails: Tails
) -> Recording:
    steps = rng.choice(list(STEPS), windows - 1, p=list(STEPS.values()))
    longest = tails.longest_eeg - WINDOW_SECONDS
    if not tails.drop:
        for i in np.argsort(-steps):  # the longest become the shortest, until all windows fit
            steps[i] = min(STEPS) if steps.sum() > longest else steps[i]
    offsets = np.concatenate([[0], steps.cumsum()])
    offsets = offsets[offsets <= longest]
    cuts = np.array([], dtype=np.int64)
    if len(offsets) > 1 and rng.random() < CHANGING:
        parts = min(rng.choice(list(CHANGES), p=list(CHANGES.values())), len(offsets))
        cuts = np.sort(rng.choice(np.arange(1, len(offsets)), parts - 1, replace=False))
    counts = np.diff(cuts, prepend=0, append=len(offsets))
    population = np.full(len(counts), rng.random() < reliable)
    if len(counts) > 1 and rng.random() < MIXED:
        population[rng.integers(len(counts))] ^= True
    return Recording(eeg_id, begin, *(tuple(x.tolist()) for x in (offsets, counts, population)))


def draw_targets(rng: Generator, sessions: list[Session], split: str, balanced: bool) -> np.ndarray:
    """Draw the evidence of a split's episodes, one after the other, shape (n, 4).

    Each kind of episode has its exact share.
    """
    recordings = [r for session in sessions if session.split == split for r in session.recordings]
    reliable = np.array([many for recording in recordings for many in recording.reliable])
    targets = np.empty((len(reliable), len(DECISIONS)))
    for population in np.unique(reliable).tolist():
        kinds, shares = raters.episode_kinds(population, balanced)
        where = np.flatnonzero(reliable == population)
        levels = (np.arange(len(where)) + rng.random()) / len(where)
        ends = np.cumsum(shares)
        drawn = np.minimum(np.searchsorted(ends, levels), len(shares) - 1)
        positions = 1 - (ends[drawn] - levels) / shares[drawn]
        pairs = zip(drawn, positions, strict=True)
        evidence = [raters.draw_evidence(rng, kinds[k], x, population) for k, x in pairs]
        # neighbours, and so a patient's recordings, are alike more often than by chance
        order = rng.permutation(N_CLASSES)
        rank = np.array([order[CLASSES.index(kinds[kind].intended)] for kind in drawn])
        targets[where] = np.array(evidence)[np.argsort(rank + rng.normal(0, LIKENESS, len(where)))]
    return targets


def fill_session(
    rng: Generator, session: Session, targets: Iterator[np.ndarray]
) -> tuple[Session, list[raters.Panel]]:
    """Draw the episodes of a session, and the experts who vote on each."""
    # an episode lasts at most until halfway to the next recording
    halfway = [(a.start + a.seconds + b.start) / 2 for a, b in pairwise(session.recordings)]
    limits = [0, *halfway, session.seconds]
    placed, panels = [], []
    for i, recording in enumerate(session.recordings):
        episodes: list[Episode] = []
        for reliable in recording.reliable:
            episode = draw_episode(rng, next(targets))
            if episodes and rng.random() < CONTINUITY:
                episode = replace(episode, **{k: getattr(episodes[-1], k) for k in SOURCE})
            episodes.append(episode)
            panels.append(_draw_panel(rng, reliable, session.split))
        placed += _place(recording, episodes, limits[i], limits[i + 1])
    return replace(session, episodes=tuple(placed)), panels


def _place(
    recording: Recording, episodes: list[Episode], earliest: float, latest: float
) -> Iterator[PlacedEpisode]:
    # labelled parts meet halfway between the centres of two windows
    pairs = [recording.offsets[i - 1 : i + 1] for i in np.cumsum(recording.counts)[:-1]]
    borders = [TO_SEGMENT, *((sum(pair) + WINDOW_SECONDS) / 2 for pair in pairs)]
    borders = [recording.start + x for x in (*borders, recording.seconds - TO_SEGMENT)]
    for i, episode in enumerate(episodes):
        begin, end = labelled = borders[i], borders[i + 1]
        quiet_until = end
        if i == 0:
            begin = max(begin - episode.lead, earliest)
        if i + 1 == len(episodes):
            end = min(end + episode.tail, latest)
            quiet_until = min(end + AFTERMATH, latest)
        yield PlacedEpisode(episode, begin, end, labelled, quiet_until)


@cache
def _votes(reliable: bool) -> tuple[np.ndarray, np.ndarray]:
    # numbers of votes and their shares
    totals, counts = np.array(list((MANY_VOTES if reliable else FEW_VOTES).items())).T
    return totals, counts / counts.sum()


def _draw_panel(rng: Generator, reliable: bool, split: str) -> raters.Panel:
    totals, shares = _votes(reliable)
    total = rng.choice(totals, p=shares)
    if split == "test":
        total = np.clip(total, *TEST_VOTES)
    return raters.draw_panel(rng, int(total))
