"""From a run and a folder of test recordings to a submission in which no row is lost.

What cannot be read gets the training prior and is listed, with the reason, in the report.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from hbac_utils.atomic import replacing
from hbac_utils.data.batches import Batch, read_ahead, read_batches
from hbac_utils.data.competition import Competition, read_table
from hbac_utils.disk import writing
from hbac_utils.errors import InputError
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.metric import SubmissionError, check_probabilities
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import Recipe
from hbac_utils.runs import fold_models, read_metrics, read_recipe
from hbac_utils.tta import predict_batch

COLUMNS = list(VOTE_COLUMNS)


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
    fallbacks : dict of int to str
        The EEGs that got the prior, and why.
    blend : str
        How several runs were blended; empty if all models count the same.
    runs : list of dict
        For the report, of each run that predicted: recipe, number of models, out-of-fold scores,
        and how many EEGs it could not predict.
    """

    submission: pd.DataFrame
    by_fold: dict[str, np.ndarray]
    fallbacks: dict[int, str] = field(default_factory=dict)
    runs: list[dict] = field(default_factory=list)
    blend: str = ""

    def summary(self) -> pd.DataFrame:
        """Count the recordings that were predicted and those that got the prior."""
        total, lost = len(self.submission), len(self.fallbacks)
        counts = {"predicted": total - lost, "given the prior": lost, "in the submission": total}
        return pd.Series(counts, name="recordings").to_frame()

    def fallback_table(self) -> pd.DataFrame:
        """List the EEGs that got the prior, with the reason; empty if all went well."""
        return pd.DataFrame(
            {"eeg_id": list(self.fallbacks), "reason": list(self.fallbacks.values())}
        )


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
        If a view needs spectrograms and the folder has none at all, or there is no ``test.csv``
        with ``eeg_id``. A single unreadable file is no error: see `Prediction`.
    """
    for run in runs:
        if "spectrogram" in run.recipe.inputs and not competition.has_spectrograms("test"):
            raise InputError(
                f"{competition.path}: the recipe {run.recipe.name} needs spectrograms, and there "
                "is no folder test_spectrograms; use a run of a recipe with an EEG view"
            )
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


class _Answers:
    """What a run says of the batches that it is shown."""

    def __init__(self, run: Run, test: pd.DataFrame):
        self.run, self._ids = run, test["eeg_id"]
        self._by_fold = {name: np.tile(run.prior, (len(test), 1)) for name in run.models}
        self._fallbacks: dict[int, str] = {}

    def take(self, batch: Batch) -> None:
        """Predict a batch; what is missing of it keeps the prior."""
        recipe = self.run.recipe
        rows, signals, lost = batch.of(recipe.inputs)
        self._fallbacks |= {int(self._ids[row]): reason for row, reason in lost.items()}
        for name, model in self.run.models.items() if len(rows) else ():
            self._by_fold[name][rows] = predict_batch(model, signals, recipe.tta)[: len(rows)]

    def prediction(self) -> Prediction:
        """Average the folds; what is not finite gets the prior."""
        mean = np.mean(list(self._by_fold.values()), axis=0, dtype=np.float64)
        broken = ~np.isfinite(mean).all(axis=1)
        for row in np.flatnonzero(broken):
            self._fallbacks[int(self._ids[row])] = "the model's output is not finite"
        mean[broken] = self.run.prior
        submission = pd.DataFrame(mean / mean.sum(axis=1, keepdims=True), columns=COLUMNS)
        submission.insert(0, "eeg_id", self._ids)
        summary = _summary(self.run, len(self._fallbacks))
        return Prediction(submission, self._by_fold, self._fallbacks, [summary])


def _summary(run: Run, lost: int) -> dict:
    scores = read_metrics(run.path)["scores"]["model"]
    return {"recipe": run.recipe.name, "models": len(run.models), "lost": lost, **scores}


def write_submission(prediction: Prediction, out: str | Path) -> Path:
    """Write ``submission.csv`` and ``inference_report.json``; the former is validated first.

    Returns
    -------
    Path
        Of ``submission.csv``.

    Raises
    ------
    SubmissionError
        If a probability is none; nothing is written then.
    DiskError
        If the folder cannot be written to, or its disk is full.
    """
    out = Path(out)
    path = out / "submission.csv"
    check_probabilities(prediction.submission, str(path))
    report = {
        "rows": len(prediction.submission),
        "runs": prediction.runs,
        "blend": prediction.blend,
        "fallbacks": {str(eeg_id): reason for eeg_id, reason in prediction.fallbacks.items()},
    }
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            prediction.submission.to_csv(file, index=False)
        with replacing(out / "inference_report.json") as file:
            file.write(json.dumps(report, indent=2).encode() + b"\n")
    return path


def check_submission(path: Path, competition: Competition) -> pd.DataFrame:
    """Read a written submission as the competition will, and refuse it for the same reasons.

    Returns
    -------
    DataFrame of str
        What was checked and found, one column, ``found``.

    Raises
    ------
    SubmissionError
        If columns, ids, range or sums are wrong, or the ids are not those of ``test.csv``.
    """
    table = read_table(path)
    check_probabilities(table, str(path))
    given, wanted = set(table["eeg_id"]), set(competition.test["eeg_id"])
    if given != wanted:
        raise SubmissionError(
            f"{path}: {len(wanted - given)} eeg_id of test.csv are missing and "
            f"{len(given - wanted)} are not in it; predict this test folder again"
        )
    values = table[list(VOTE_COLUMNS)].to_numpy()
    found = {
        "file": str(path),
        "rows": f"{len(table):,}, one for each eeg_id of test.csv",
        "probabilities": f"from {values.min():.2g} to {values.max():.2g}, none missing",
        "row sums": f"1, to within {np.abs(values.sum(axis=1) - 1).max():.0e}",
    }
    return pd.Series(found, name="found").to_frame()
