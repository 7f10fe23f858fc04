"""Evaluation of runs and submission files, compared with the prior and the true probabilities."""

from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition, read_table
from hbac_utils.data.splits import KINDS, agreement, vote_groups
from hbac_utils.data.store import Store
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import (
    aligned,
    both_scores,
    expert_yardstick,
    kl_by_class,
    kl_divergence,
    worth_in_experts,
)
from hbac_utils.training.runs import (
    prior_predictions,
    read_history,
    read_metrics,
    read_oof,
    read_recipe,
    scored_windows,
)
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


def find_truth(competition: Competition) -> Path | None:
    """Find the true probabilities of a simulated competition; None for real data."""
    path = competition.path.resolve()
    truth = path.with_name(f"{path.name}_truth") / "truth.parquet"
    return truth if truth.is_file() else None


class RunResult:
    """Out-of-fold predictions and scores of a finished run.

    The true probabilities of a simulated competition, ``truth.parquet``, are scored as the
    prediction ``oracle``, which is not zero, because the number of votes is finite. Raises
    InputError if the run is not finished, or store or truth belong to another competition.

    Attributes
    ----------
    windows : DataFrame
        The scored windows; rows of ``store.windows``, indexed from 0.
    truth, probabilities : arrays, shape (n, 6)
        Vote fractions and predictions of the scored windows.
    kl : dict of str to array, shape (n,), nats
        Score of each window, for the ``model``, the ``prior`` (mean votes of the other folds) and,
        if known, the ``oracle``.
    """

    def __init__(self, run: str | Path, store: Store, truth: Path | None = None):
        self.run, self.store = Path(run), store
        self.metrics = read_metrics(run)
        oof = read_oof(run)
        scored = scored_windows(store)
        self.windows = _rows_of(scored, oof["label_id"], store.path).reset_index()
        self.votes = self.windows[COLUMNS].to_numpy()
        self.truth = vote_fractions(self.votes)
        self.probabilities = oof[COLUMNS].to_numpy()
        predictions = {
            "model": self.probabilities,
            "prior": prior_predictions(scored, oof, "kl_all"),
        }
        self._oracle = None
        if truth is not None:
            predictions["oracle"] = self._oracle = true_probabilities(truth, oof["label_id"])
        self.kl = {
            name: kl_by_class(self.truth, prediction).sum(axis=1)
            for name, prediction in predictions.items()
        }

    @property
    def history(self) -> pd.DataFrame:
        """The histories of all folds, a row per fold and epoch."""
        return read_history(self.run)

    @property
    def experts(self) -> dict[str, float]:
        """Expert yardstick on the windows with ten votes or more, nats, by number of experts."""
        return expert_yardstick(self.votes)

    @property
    def agreement(self) -> pd.Categorical:
        """Kind of agreement between the experts, of each window."""
        return pd.Categorical(agreement(self.votes), KINDS, ordered=True)

    @property
    def vote_groups(self) -> pd.Categorical:
        """Number of votes of each window, in groups."""
        return vote_groups(self.votes.sum(axis=1))

    @property
    def scores(self) -> dict[str, dict[str, float | None]]:
        """Both scores of the model, constant predictions and the oracle, nats.

        ``model`` is the epoch that the recipe selects; the other one is listed as ``last epoch``
        or ``best epoch``.
        """
        known = self.metrics["scores"]
        other = "best" if read_recipe(self.run).select == "last" else "last"
        scores = {
            "model": known["model"],
            f"{other} epoch": known[other],
            "prior": known["prior"],
            "uniform": known["uniform"],
        }
        if self._oracle is not None:
            scores["oracle"] = both_scores(self.votes, self._oracle)
        return scores

    def worst(self, n: int) -> tuple[pd.DataFrame, np.ndarray]:
        """Select the n windows with the highest scores, at most one of each patient.

        Returns rows of `windows`, with a ``title``, and their probabilities, (len(rows), 6).
        """
        return self._select(np.argsort(-self.kl["model"], kind="stable"), "patient_id", n)

    def best(self, n: int) -> tuple[pd.DataFrame, np.ndarray]:
        """Select n windows with the lowest scores, one of each class, ≥ 10 votes first."""
        few = self.votes.sum(axis=1) < RELIABLE_VOTES
        return self._select(np.lexsort([self.kl["model"], few]), "expert_consensus", n)

    def _select(self, order: np.ndarray, once: str, n: int) -> tuple[pd.DataFrame, np.ndarray]:
        rows = self.windows.iloc[order].drop_duplicates(once).head(n)
        kl = pd.Series(self.kl["model"][rows.index], rows.index).map("KL {:.2f}".format)
        title = kl + " · " + rows["expert_consensus"] + " · EEG " + rows["eeg_id"].astype(str)
        return rows.assign(title=title), self.probabilities[rows.index]


def true_probabilities(path: Path, ids: pd.Series, split: str = "train") -> np.ndarray:
    """Look up windows in a simulated competition's ``truth.parquet``: shape (len(ids), 6).

    ``ids`` are ``label_id`` of training windows, or ``eeg_id`` if ``split`` is "test".
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    column = "label_id" if split == "train" else "eeg_id"
    truth = pd.read_parquet(path, columns=["split", column, *COLUMNS])
    return _rows_of(truth[truth["split"] == split].set_index(column)[COLUMNS], ids, path).to_numpy()


def _rows_of(table: pd.DataFrame, ids: pd.Series, path: Path) -> pd.DataFrame:
    absent = ids[~ids.isin(table.index)]
    if len(absent):
        raise InputError(
            f"{path}: belongs to another competition ({ids.name} {absent.iloc[0]} is missing); "
            "choose the right one"
        )
    return table.loc[ids]


def score(
    submission: Path, solution: Path, run: Path | None = None, truth: Path | None = None
) -> pd.Series:
    """Score a submission file as the competition does.

    Parameters
    ----------
    submission, solution : Path
        Csv files with ``eeg_id`` and six probabilities, or six votes or vote fractions.
    run : Path, optional
        Its training prior is scored as a constant prediction.
    truth : Path, optional
        ``truth.parquet`` of a simulated competition: the score of the true probabilities is the
        lowest that can be expected, and ``excess`` is the difference from it.

    Returns ``submission``, ``uniform``, and if given ``prior``, ``oracle`` and ``excess``, nats. If
    the solution has votes, the scores on windows with ten votes or more follow: of the submission,
    and of experts (`metric.expert_yardstick`), with the submission's ``worth`` in experts.
    Raises SubmissionError with the competition's reason if the submission is not valid.
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
        known = true_probabilities(truth, votes["eeg_id"], "test")
        scores["oracle"] = kl_divergence(fractions, known)
        scores["excess"] = scores["submission"] - scores["oracle"]
    rounded: dict[str, float | str] = {name: round(kl, 4) for name, kl in scores.items()}
    counts = votes[COLUMNS].to_numpy()
    if experts := expert_yardstick(counts):
        reliable = both_scores(counts, prediction)["kl_reliable"]
        rounded[f"submission, ≥ {RELIABLE_VOTES} votes"] = round(reliable or 0, 4)
        rounded |= {name: round(kl, 4) for name, kl in experts.items()}
        rounded["worth"] = worth_in_experts(reliable, experts)
    return pd.Series(rounded)
