"""From runs and a folder of test recordings to probabilities for every row.

What cannot be read gets the training prior and is listed, with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from hbac_utils.data.competition import Competition
from hbac_utils.data.test_loader import SIZE, Batch, read_ahead, read_batches
from hbac_utils.environment import is_rerun
from hbac_utils.inference.tta import predict_batch
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import Recipe, TestTime
from hbac_utils.training.runs import fold_models, read_metrics, read_recipe
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError, one_line

COLUMNS = list(VOTE_COLUMNS)

TOLERABLE = 0.01
"""Share of recordings with the prior above which there is a warning. Each costs about half a nat
(the prior's score is 0.85, a good model's 0.3), so one in a hundred costs 0.005 of the score: as
much as separates one good submission from the next."""


@dataclass(frozen=True)
class Run:
    """A trained run, opened for prediction; see `open_run`."""

    path: Path
    recipe: Recipe
    prior: np.ndarray
    models: dict  # of str to keras.Model


@dataclass
class Prediction:
    """What a run says of a test folder.

    Attributes
    ----------
    submission : DataFrame
        ``eeg_id`` and six probabilities, a row for each ``eeg_id`` of ``test.csv``.
    by_fold : dict of str to array, shape (n, 6)
        Each fold model's probabilities, rows as in ``submission``.
    fallbacks : dict of id to str
        The EEGs that got the prior, and why.
    mended : dict of id to str
        The EEGs that were predicted though something was wrong with them, and what.
    blend : str
        How several runs were blended; empty if all models count the same.
    runs : list of dict
        For the report, of each run that predicted: recipe, number of models, out-of-fold scores,
        and how many EEGs it could not predict.
    """

    submission: pd.DataFrame
    by_fold: dict[str, np.ndarray]
    fallbacks: dict[int | str, str] = field(default_factory=dict)
    mended: dict[int | str, str] = field(default_factory=dict)
    runs: list[dict] = field(default_factory=list)
    blend: str = ""

    def summary(self) -> pd.DataFrame:
        """Count the recordings that were predicted and those that got the prior."""
        total, lost = len(self.submission), len(self.fallbacks)
        counts = {"predicted": total - lost, "given the prior": lost, "in the submission": total}
        return pd.Series(counts, name="recordings").to_frame()

    @property
    def warning(self) -> str:
        """What to shout about: more recordings than `TOLERABLE` got the prior; empty if not."""
        total, lost = len(self.submission), len(self.fallbacks)
        if lost <= TOLERABLE * total:
            return ""
        reason = next(iter(self.fallbacks.values()))
        return (
            f"WARNING: {lost:,} of {total:,} recordings ({lost / total:.1%}) got the training "
            f"prior, not a prediction; more than {TOLERABLE:.0%} is no accident. "
            f"The first reason: {reason}"
        )

    def verdict(self) -> str:
        """Say in one line how it went: the warning, or what there is in its stead."""
        total, lost, mended = len(self.submission), len(self.fallbacks), len(self.mended)
        return self.warning or (
            f"{total - lost:,} of {total:,} recordings were predicted, {mended:,} of them mended"
        )

    def fallback_table(self) -> pd.DataFrame:
        """List the EEGs that got the prior, with the reason; empty if all went well."""
        return _listed(self.fallbacks, "reason")

    def mended_table(self) -> pd.DataFrame:
        """List the EEGs that were predicted from what could be had of them."""
        return _listed(self.mended, "what was wrong")


def _listed(by_id: dict[int | str, str], column: str) -> pd.DataFrame:
    return pd.DataFrame({"eeg_id": list(by_id), column: list(by_id.values())})


def open_run(path: str | Path) -> Run:
    """Load a run's recipe, prior and fold models.

    Raises
    ------
    InputError
        If the folder is no finished run, or recipe or a model are not those that were scored.
    """
    path = Path(path)
    recipe, prior = read_recipe(path), np.array(read_metrics(path)["prior"])  # verified first
    models = {f"fold{fold}": load_classifier(file) for fold, file in fold_models(path).items()}
    return Run(path, recipe, prior, models)


def predict(run: Run, competition: Competition, *, progress: bool = True) -> Prediction:
    """Predict every EEG of ``test.csv`` with one run, as `predict_each`."""
    return predict_each([run], competition, progress=progress)[0]


def predict_each(
    runs: Sequence[Run], competition: Competition, *, progress: bool = True
) -> list[Prediction]:
    """Predict every EEG of ``test.csv`` with each run; its fold models count the same.

    A recording is read once for all runs that treat signals alike, in a thread beside the models.

    Parameters
    ----------
    runs : sequence of Run
    competition : Competition
        With ``test.csv`` and the test recordings.
    progress : bool

    Raises
    ------
    InputError
        If no run's view can be had, as the folder has no spectrograms at all, or there is no
        ``eeg_id``. In Kaggle's hidden re-run the former is no error: nobody could mend it, and a
        notebook that fails scores nothing. Nor is a single unreadable file: see `Prediction`.
    """
    if not is_rerun():
        _check_views(runs, competition)
    test = competition.test.drop_duplicates("eeg_id").reset_index(drop=True)
    answers = [_Answers(run, test) for run in runs]
    alike: dict[tuple, list[_Answers]] = {}
    for answer in answers:
        data = answer.run.recipe.data
        alike.setdefault((data.band, data.clip), []).append(answer)
    total = len(test) * len(alike)
    with tqdm(total=total, desc="predict", unit="EEG", disable=not progress) as bar:
        for asked in alike.values():
            recipes = [answer.run.recipe for answer in asked]
            inputs = tuple(dict.fromkeys(i for recipe in recipes for i in recipe.inputs))
            for batch in read_ahead(read_batches(competition, test, recipes[0].data, inputs)):
                for answer in asked:
                    answer.take(batch)
                bar.update(len(batch.rows))
    return [answer.prediction() for answer in answers]


def _check_views(runs: Sequence[Run], competition: Competition) -> None:
    there = competition.has_spectrograms("test") and "spectrogram_id" in competition.test
    if there or not all("spectrogram" in run.recipe.inputs for run in runs):
        return
    what = "column spectrogram_id in test.csv"
    if not competition.has_spectrograms("test"):
        what = "folder test_spectrograms"
    raise InputError(
        f"{competition.path}: the recipe {runs[0].recipe.name} needs spectrograms, and there "
        f"is no {what}; use a run of a recipe with an EEG view"
    )


class _Answers:
    """What a run says of the batches that it is shown."""

    def __init__(self, run: Run, test: pd.DataFrame):
        self.run, self._column, self._ids = run, test["eeg_id"], test["eeg_id"].tolist()
        size = max(1, min(SIZE, len(test)))
        self._models = {
            name: _Model(model, run.recipe.tta, size) for name, model in run.models.items()
        }
        unknown = (len(test), N_CLASSES)
        self._by_fold = {name: np.full(unknown, np.nan) for name in run.models}
        self._fallbacks: dict[int | str, str] = {}
        self._mended: dict[int | str, str] = {}

    def take(self, batch: Batch) -> None:
        """Predict a batch; what is missing of it stays unknown."""
        inputs = self.run.recipe.inputs
        rows, signals, lost = batch.of(inputs)
        self._fallbacks |= {self._ids[row]: reason for row, reason in lost.items()}
        notes = batch.notes(inputs)
        self._mended |= {self._ids[row]: notes[row] for row in rows if row in notes}
        for name, model in self._models.items() if len(rows) else ():
            self._by_fold[name][rows] = model(signals, len(rows))

    def prediction(self) -> Prediction:
        """Average the folds that know something; where none does the prior stands in."""
        values = np.array(list(self._by_fold.values()))
        known = _are_probabilities(values)
        values[~known] = self.run.prior
        unknown = ~known.any(axis=0)
        # shape (folds, EEGs): a fold that failed at an EEG has no say in it, unless all did
        mean = np.average(values, axis=0, weights=(known | unknown)[..., None] * np.ones(N_CLASSES))
        for row in np.flatnonzero(unknown):
            self._fallbacks.setdefault(self._ids[row], self._failure())
            self._mended.pop(self._ids[row], None)
        submission = pd.DataFrame(mean / mean.sum(axis=1, keepdims=True), columns=COLUMNS)
        submission.insert(0, "eeg_id", self._column)
        by_fold = dict(zip(self._by_fold, values, strict=True))
        summary = _summary(self.run, len(self._fallbacks))
        return Prediction(submission, by_fold, self._fallbacks, self._mended, [summary])

    def _failure(self) -> str:
        failures = [model.failure for model in self._models.values() if model.failure]
        return failures[0] if failures else "the model's output is not finite"


def _are_probabilities(values: np.ndarray) -> np.ndarray:
    """Tell which rows can be averaged, whatever a model made of a recording."""
    return (np.isfinite(values) & (values >= 0)).all(axis=-1) & (values.sum(axis=-1) > 0)


class _Model:
    """A model that is asked with fewer recordings at a time when it fails, as without memory.

    Attributes
    ----------
    failure : str
        What it said when it failed with one recording alone; empty if it never did.
    """

    def __init__(self, model: keras.Model, tta: TestTime, size: int):
        self._model, self._tta, self._size = model, tta, size
        self._works = False
        self.failure = ""

    def __call__(self, signals: dict[str, np.ndarray], n: int) -> np.ndarray:
        """Predict n recordings; shape (n, 6), NaN where that could not be done."""
        found = np.full((n, N_CLASSES), np.nan)
        begin = 0
        while begin < n and not self._is_hopeless:
            end = min(begin + self._size, n)
            try:
                found[begin:end] = self._predict(signals, begin, end)
                self._works = True
            except Exception as error:
                if self._size > 1:
                    self._size //= 2
                    continue
                self.failure = f"the model failed: {type(error).__name__}: {one_line(error)[:200]}"
            begin = end
        return found

    @property
    def _is_hopeless(self) -> bool:
        return bool(self.failure) and not self._works

    def _predict(self, signals: dict[str, np.ndarray], begin: int, end: int) -> np.ndarray:
        # filled up to the full size, so that the model is traced only once
        filled = {
            name: array[np.minimum(np.arange(begin, begin + self._size), end - 1)]
            for name, array in signals.items()
        }
        return predict_batch(self._model, filled, self._tta)[: end - begin]


def _summary(run: Run, lost: int) -> dict:
    scores = read_metrics(run.path)["scores"]["model"]
    return {"recipe": run.recipe.name, "models": len(run.models), "lost": lost, **scores}
