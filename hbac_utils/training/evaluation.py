"""What a run is worth, window by window: beside the prior, and the truth where it is known."""

from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition, read_table
from hbac_utils.data.splits import KINDS, agreement, vote_groups
from hbac_utils.data.store import Store
from hbac_utils.eda.examples import Window, read_stored_windows
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import SubmissionError, aligned, both_scores, kl_by_class, kl_divergence
from hbac_utils.training.runs import (
    prior_predictions,
    read_history,
    read_metrics,
    read_oof,
    read_recipe,
)
from hbac_utils.utils.errors import InputError


def find_truth(competition: Competition) -> Path | None:
    """Find the truth beside a synthetic competition; a real one has none."""
    path = competition.path.resolve()
    truth = path.with_name(f"{path.name}_truth") / "truth.parquet"
    return truth if truth.is_file() else None


class RunResult:
    """A finished run's out-of-fold predictions.

    Parameters
    ----------
    run : str or Path
    store : Store
        That the run was trained on.
    truth : Path, optional
        ``truth.parquet`` of a synthetic competition: its true probabilities are scored as the
        prediction ``oracle``. The number of votes is finite, so even they do not score zero.

    Attributes
    ----------
    truth, probabilities : arrays, shape (n, 6)
        The votes' fractions and the predictions of the windows that are scored.
    kl : dict of str to array, shape (n,), nats
        Each window's score: of the ``model``, of the ``prior`` (mean of the other folds' votes),
        and of the ``oracle``, if the truth is known.

    Raises
    ------
    InputError
        If the folder is no finished run, or store or truth are of another competition.
    """

    def __init__(self, run: str | Path, store: Store, truth: Path | None = None):
        self.run, self.store = Path(run), store
        self.metrics = read_metrics(run)
        oof = read_oof(run)
        evaluation = store.windows.iloc[store.evaluation_windows()].set_index("label_id")
        self.windows = _rows_of(evaluation, oof["label_id"], store.path).reset_index()
        self.votes = self.windows[list(VOTE_COLUMNS)].to_numpy()
        self.truth = vote_fractions(self.votes)
        self.probabilities = oof[list(VOTE_COLUMNS)].to_numpy()
        predictions = {
            "model": self.probabilities,
            "prior": prior_predictions(evaluation, oof, "kl_all"),
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
        """All folds' histories, a row per fold and epoch."""
        return read_history(self.run)

    @property
    def agreement(self) -> pd.Categorical:
        """How the experts agreed on each window."""
        return pd.Categorical(agreement(self.votes), KINDS, ordered=True)

    @property
    def vote_groups(self) -> pd.Categorical:
        """How many experts voted on each window, in groups."""
        return vote_groups(self.votes.sum(axis=1))

    @property
    def scores(self) -> dict[str, dict[str, float | None]]:
        """The run's scores beside the constant predictions' and the oracle's, nats.

        ``model`` is the epoch that the recipe selects; the other one, ``last epoch`` or
        ``best epoch``, stands beside it.
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

    def worst(self, n: int) -> tuple[list[Window], np.ndarray]:
        """Read the windows with the highest scores, no two of one patient.

        Returns
        -------
        windows : list of Window, at most n
        probabilities : array, shape (len(windows), 6)
            The predictions of them.
        """
        order = np.argsort(-self.kl["model"], kind="stable")
        return self._read(order, "patient_id", n)

    def best(self, n: int) -> tuple[list[Window], np.ndarray]:
        """Read the windows with the lowest scores, no two of one class, ≥ 10 votes first.

        Returns
        -------
        windows, probabilities
            As `worst` returns them.
        """
        few = self.votes.sum(axis=1) < RELIABLE_VOTES
        return self._read(np.lexsort([self.kl["model"], few]), "expert_consensus", n)

    def _read(self, order: np.ndarray, once: str, n: int) -> tuple[list[Window], np.ndarray]:
        rows = self.windows.iloc[order].drop_duplicates(once).head(n)
        kl = pd.Series(self.kl["model"][rows.index], rows.index).map("KL {:.2f}".format)
        title = kl + " · " + rows["expert_consensus"] + " · EEG " + rows["eeg_id"].astype(str)
        windows = read_stored_windows(self.store, rows.assign(title=title))
        return windows, self.probabilities[rows.index]


def true_probabilities(path: Path, label_ids: pd.Series) -> np.ndarray:
    """Look training windows up in a synthetic competition's ``truth.parquet``.

    Returns
    -------
    array of float, shape (len(label_ids), 6)

    Raises
    ------
    InputError
        If it is another competition's.
    """
    truth = pd.read_parquet(path, columns=["split", "label_id", *VOTE_COLUMNS])
    truth = truth[truth["split"] == "train"].set_index("label_id")[list(VOTE_COLUMNS)]
    return _rows_of(truth, label_ids, path).to_numpy()


def _rows_of(table: pd.DataFrame, label_ids: pd.Series, path: Path) -> pd.DataFrame:
    absent = label_ids[~label_ids.isin(table.index)]
    if len(absent):
        raise InputError(
            f"{path}: not of the competition that the run was trained on (label_id "
            f"{absent.iloc[0]} is missing); name the right one, or move it away"
        )
    return table.loc[label_ids]


def score(
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
