"""Scoring a submission file against a solution file, beside what needs no model."""

from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import read_table
from hbac_utils.errors import InputError
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS
from hbac_utils.metric import SubmissionError, aligned, kl_divergence
from hbac_utils.runs import read_metrics


def score_files(
    submission: Path, solution: Path, run: Path | None = None, truth: Path | None = None
) -> pd.Series:
    """Score a submission as the competition does.

    Parameters
    ----------
    submission : Path
        A csv file with ``eeg_id`` and six probabilities.
    solution : Path
        A csv file with ``eeg_id`` and six columns of votes or vote fractions.
    run : Path, optional
        Its training prior is scored as a constant prediction.
    truth : Path, optional
        ``truth.parquet`` of a synthetic competition: the score of the true probabilities is
        the floor that finite votes leave, and what the model has above it its excess.

    Returns
    -------
    Series of float, nats
        ``submission``, ``uniform``, and where given ``prior``, ``oracle`` and ``excess``.

    Raises
    ------
    SubmissionError
        If the submission is not valid, with the reason that the competition would give.
    InputError
        If a file is missing or is not what it should be.
    """
    names = (str(solution), str(submission))
    votes = read_table(solution)
    fractions, prediction = aligned(votes, read_table(submission), names=names)
    scores = {
        "submission": kl_divergence(fractions, prediction),
        "uniform": kl_divergence(fractions, np.full(N_CLASSES, 1 / N_CLASSES)),
    }
    if run is not None:
        scores["prior"] = kl_divergence(fractions, np.array(read_metrics(run)["prior"]))
    if truth is not None:
        scores["oracle"] = kl_divergence(fractions, _true_probabilities(truth, votes["eeg_id"]))
        scores["excess"] = scores["submission"] - scores["oracle"]
    return pd.Series(scores).round(4)


def _true_probabilities(path: Path, eeg_ids: pd.Series) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    truth = pd.read_parquet(path, columns=["split", "eeg_id", *VOTE_COLUMNS])
    truth = truth[truth["split"] == "test"].set_index("eeg_id")[list(VOTE_COLUMNS)]
    if not eeg_ids.isin(truth.index).all():
        raise SubmissionError(f"{path}: not the truth of this solution (an eeg_id is missing)")
    return truth.loc[eeg_ids].to_numpy()
