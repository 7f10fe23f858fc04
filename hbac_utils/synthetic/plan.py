"""Plan of a simulated competition: its tables and the sessions to render."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hbac_utils.data import layout
from hbac_utils.labels import VOTE_COLUMNS, consensus
from hbac_utils.synthetic import raters
from hbac_utils.synthetic.background import draw_session_background
from hbac_utils.synthetic.sessions import (
    CUT_TAILS,
    EEG_IDS,
    Session,
    Tails,
    draw_sessions,
    draw_targets,
    fill_session,
)

TRUE_COLUMNS = tuple(f"true_{name}" for name in VOTE_COLUMNS)  # in tables with votes


@dataclass(frozen=True)
class Plan:
    """All tables of a competition and the sessions to render."""

    train: pd.DataFrame  # as train.csv
    test: pd.DataFrame  # as test.csv
    solution: pd.DataFrame  # eeg_id and votes of the test windows
    truth: pd.DataFrame  # per window: ids, true probabilities, parameters of the simulation
    sessions: tuple[Session, ...]


def make_plan(
    eegs: int, patients: int, test_eegs: int, seed: int, evidence: float = 1,
    balanced: bool = False, tails: Tails = CUT_TAILS,
) -> Plan:  # fmt: skip
    """Draw all tables of a competition; for the parameters see `render.synthesize`."""
    rng = np.random.default_rng([seed, 0])
    sessions = draw_sessions(rng, eegs, patients, test_eegs, tails)
    targets = {
        split: iter(evidence * draw_targets(rng, sessions, split, balanced))
        for split in ("train", "test")
    }
    planned, panels = [], []
    for session in sessions:
        patient = np.random.default_rng([seed, 1, session.patient_id])
        session = replace(session, background=draw_session_background(patient, rng))
        session, drawn = fill_session(rng, session, targets[session.split])
        planned.append(session)
        panels += drawn
    table = _tabulate(planned, panels)
    table["label_id"] = rng.choice(EEG_IDS, len(table), replace=False)
    table["expert_consensus"] = consensus(table[list(VOTE_COLUMNS)].to_numpy())
    is_train = table["split"] == "train"
    train, test = (table[part].reset_index(drop=True) for part in (is_train, ~is_train))
    truth = table.drop(columns=["expert_consensus", *VOTE_COLUMNS])
    truth = truth.rename(columns=dict(zip(TRUE_COLUMNS, VOTE_COLUMNS, strict=True)))
    truth["label_id"] = truth["label_id"].astype("Int64").where(is_train)
    train, solution = train[list(layout.TRAIN_COLUMNS)], test[["eeg_id", *VOTE_COLUMNS]]
    return Plan(train, test[list(layout.TEST_COLUMNS)], solution, truth, tuple(planned))


def _tabulate(sessions: list[Session], panels: list[raters.Panel]) -> pd.DataFrame:
    # a row per window; what its session, EEG and episode have in common is computed once for each
    recordings = [recording for session in sessions for recording in session.recordings]
    per_session = [sum(len(r.offsets) for r in session.recordings) for session in sessions]
    per_recording = [len(recording.offsets) for recording in recordings]
    per_episode = [count for recording in recordings for count in recording.counts]
    offsets = np.concatenate([recording.offsets for recording in recordings])
    begins = np.repeat([recording.begin for recording in recordings], per_recording)
    windows = pd.DataFrame(
        {
            "eeg_id": np.repeat([recording.eeg_id for recording in recordings], per_recording),
            "eeg_sub_id": np.concatenate([np.arange(n) for n in per_recording]),
            "eeg_label_offset_seconds": offsets.astype(np.float64),
            "spectrogram_sub_id": np.concatenate([np.arange(n) for n in per_session]),
            "spectrogram_label_offset_seconds": (begins + offsets).astype(np.float64),
        }
    )
    names = ("split", "patient_id", "spectrogram_id")
    shared = pd.DataFrame([[getattr(one, k) for k in names] for one in sessions], columns=names)
    backgrounds = pd.DataFrame([vars(session.background) for session in sessions])
    episodes = [placed.episode for session in sessions for placed in session.episodes]
    evidence = np.stack([episode.evidence for episode in episodes])
    labels = [
        pd.DataFrame(raters.count_votes(evidence, panels), columns=list(VOTE_COLUMNS)),
        pd.DataFrame(raters.class_probabilities(evidence), columns=list(TRUE_COLUMNS)),
        pd.DataFrame([vars(episode) for episode in episodes]),
    ]

    def repeated(table: pd.DataFrame, counts: list[int]) -> pd.DataFrame:
        return table.loc[np.repeat(table.index, counts)].reset_index(drop=True)

    return pd.concat(
        [
            repeated(shared, per_session), windows, *(repeated(t, per_episode) for t in labels),
            repeated(backgrounds.add_prefix("background_"), per_session),
        ],
        axis=1,
    )  # fmt: skip
