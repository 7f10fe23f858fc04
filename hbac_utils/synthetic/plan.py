"""The plan of a competition: what happened in each session, and how experts voted on it.

Everything in the tables is drawn here, without any signal; a `Scene` is what the rendering
needs to make the signals afterwards.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd

from hbac_utils.data.layout import TEST_COLUMNS, TRAIN_COLUMNS, WINDOW_SECONDS
from hbac_utils.labels import CLASSES, N_CLASSES, VOTE_COLUMNS, consensus
from hbac_utils.synthetic import raters
from hbac_utils.synthetic.ambiguity import cells, wanted_evidence
from hbac_utils.synthetic.background import Background, session_background
from hbac_utils.synthetic.patterns import Episode, draw_episode
from hbac_utils.synthetic.sessions import EEG_IDS, Recording, Session, make_sessions

FEW_VOTES = {1: 3433, 2: 2070, 3: 6238, 4: 743, 5: 1141, 6: 141, 7: 1}
MANY_VOTES = {
    10: 116, 11: 382, 12: 724, 13: 1354, 14: 638, 15: 1438, 16: 679, 17: 303, 18: 306,
    19: 73, 20: 205, 21: 49, 22: 24, 23: 10, 24: 3, 25: 5, 26: 2, 27: 1, 28: 1,
}  # fmt: skip
"""How many of the real (EEG, vote vector) groups have so many votes."""

TEST_VOTES = (3, 20)  # fewest and most in the test set

CONTINUITY = 0.7  # of the stretches come from the same cortex as the one before
LIKENESS = 6.0  # spread, in classes, of the order in which patients get their patterns

TRUE_COLUMNS = tuple(f"true_{name}" for name in VOTE_COLUMNS)  # while votes stand beside


@dataclass(frozen=True)
class Stretch:
    """A part of a recording in which one thing happens; ``until`` in seconds from its begin."""

    episode: Episode
    until: float


@dataclass(frozen=True)
class Scene:
    """A session and what is to be seen in it: stretches for each of its recordings."""

    session: Session
    background: Background
    stretches: tuple[tuple[Stretch, ...], ...]


@dataclass(frozen=True)
class Plan:
    """All tables of a competition, and the scenes to render.

    Parameters
    ----------
    train, test : DataFrame
        As in ``train.csv`` and ``test.csv``.
    solution : DataFrame
        ``eeg_id`` and the votes of the test windows.
    truth : DataFrame
        A row per window of both splits: ids (no ``label_id`` for test windows), the true
        probabilities under the names of the vote columns, and what was drawn for the
        episode and the background.
    scenes : tuple of Scene
    """

    train: pd.DataFrame
    test: pd.DataFrame
    solution: pd.DataFrame
    truth: pd.DataFrame
    scenes: tuple[Scene, ...]


def make_plan(
    eegs: int,
    patients: int,
    test_eegs: int,
    seed: int,
    evidence: float = 1.0,
    balanced: bool = False,
) -> Plan:
    """Draw all tables.

    Parameters
    ----------
    eegs, patients : int
        Of the training part.
    test_eegs : int
    seed : int
    evidence : float
        Factor of all evidence: above one, patterns stand out more and fewer are in doubt.
    balanced : bool
        Whether the classes are to be equally frequent.

    Returns
    -------
    Plan
    """
    rng = np.random.default_rng([seed, 0])
    sessions = make_sessions(rng, eegs, patients, test_eegs)
    intents = {
        split: _intents(rng, sessions, split, evidence, balanced) for split in ("train", "test")
    }
    scenes, rows = [], []
    for session in sessions:
        patient = np.random.default_rng([seed, 1, session.patient_id])
        background = session_background(patient, rng)
        scene, of_scene = _scene(rng, session, background, intents[session.split])
        scenes.append(scene)
        rows += of_scene
    return _plan(rng, pd.DataFrame(rows), tuple(scenes))


def _intents(
    rng: np.random.Generator, sessions: list[Session], split: str, evidence: float, balanced: bool
) -> Iterator[np.ndarray]:
    # the place in the continuum of one stretch after the other, in exact shares
    recordings = [r for session in sessions if session.split == split for r in session.recordings]
    reliable = np.array([many for recording in recordings for many in recording.reliable])
    intents = np.empty((len(reliable), len(raters.QUESTIONS)))
    for population in (False, True):
        listed, shares = cells(population, balanced)
        where = np.flatnonzero(reliable == population)
        if not len(where):
            continue
        levels = (np.arange(len(where)) + rng.random()) / len(where)
        ends = np.cumsum(shares)
        drawn = np.minimum(np.searchsorted(ends, levels), len(shares) - 1)
        fractions = 1 - (ends[drawn] - levels) / shares[drawn]
        wanted = [
            evidence * wanted_evidence(rng, listed[cell], fraction, population)
            for cell, fraction in zip(drawn, fractions, strict=True)
        ]
        # neighbours, that is a patient's recordings, are alike more often than by chance
        order = rng.permutation(N_CLASSES)
        rank = np.array([order[CLASSES.index(listed[cell].intended)] for cell in drawn])
        intents[where] = np.array(wanted)[np.argsort(rank + rng.normal(0, LIKENESS, len(where)))]
    return iter(intents)


def _scene(
    rng: np.random.Generator,
    session: Session,
    background: Background,
    intents: Iterator[np.ndarray],
) -> tuple[Scene, list[dict]]:
    # the scene and its rows of the tables
    shared = {"split": session.split, "patient_id": session.patient_id}
    shared["spectrogram_id"] = session.spectrogram_id
    drawn = {f"background_{name}": value for name, value in asdict(background).items()}
    stretches, rows = [], []
    for recording in session.recordings:
        own, labels = _stretches(rng, session.split, recording, intents)
        stretches.append(own)
        for k, (offset, label) in enumerate(zip(recording.offsets, labels, strict=True)):
            place = {
                "eeg_id": recording.eeg_id,
                "eeg_sub_id": k,
                "eeg_label_offset_seconds": float(offset),
                "spectrogram_sub_id": len(rows),
                "spectrogram_label_offset_seconds": float(recording.begin + offset),
            }
            rows.append(shared | place | label | drawn)
    return Scene(session, background, tuple(stretches)), rows


def _stretches(
    rng: np.random.Generator, split: str, recording: Recording, intents: Iterator[np.ndarray]
) -> tuple[tuple[Stretch, ...], list[dict]]:
    # the stretches of a recording, and the label of each of its windows
    stretches, labels = [], []
    for count, reliable in zip(recording.counts, recording.reliable, strict=True):
        episode = draw_episode(rng, next(intents))
        if stretches and rng.random() < CONTINUITY:
            episode = _follows(stretches[-1].episode, episode)
        labels += count * [_label(rng, episode, reliable, split)]
        # halfway between the centres of two windows
        around = recording.offsets[len(labels) - 1 : len(labels) + 1]
        stretches.append(Stretch(episode, float(np.mean(around)) + WINDOW_SECONDS / 2))
    return tuple(stretches), labels


def _follows(before: Episode, episode: Episode) -> Episode:
    kept = ("side", "inclination", "azimuth", "width", "tilt", "sharpness", "lobes", "polarity")
    return replace(episode, **{name: getattr(before, name) for name in kept})


def _label(rng: np.random.Generator, episode: Episode, reliable: bool, split: str) -> dict:
    histogram = MANY_VOTES if reliable else FEW_VOTES
    chances = np.array(list(histogram.values())) / sum(histogram.values())
    total = rng.choice(list(histogram), p=chances)
    if split == "test":
        total = np.clip(total, *TEST_VOTES)
    weighed = episode.evidence
    votes = dict(zip(VOTE_COLUMNS, raters.vote(rng, weighed, int(total)), strict=True))
    truth = dict(zip(TRUE_COLUMNS, raters.probabilities(weighed), strict=True))
    return votes | truth | asdict(episode)


def _plan(rng: np.random.Generator, rows: pd.DataFrame, scenes: tuple[Scene, ...]) -> Plan:
    rows["label_id"] = rng.choice(EEG_IDS, len(rows), replace=False)
    rows["expert_consensus"] = consensus(rows[list(VOTE_COLUMNS)].to_numpy())
    is_train = rows["split"] == "train"
    train, test = rows[is_train], rows[~is_train]
    truth = rows.drop(columns=["expert_consensus", *VOTE_COLUMNS])
    truth = truth.rename(columns=dict(zip(TRUE_COLUMNS, VOTE_COLUMNS, strict=True)))
    truth["label_id"] = truth["label_id"].astype("Int64").where(is_train)
    return Plan(
        train[list(TRAIN_COLUMNS)].reset_index(drop=True),
        test[list(TEST_COLUMNS)].reset_index(drop=True),
        test[["eeg_id", *VOTE_COLUMNS]].reset_index(drop=True),
        truth,
        scenes,
    )
