"""From a run and a folder of test recordings to a submission in which no row is lost.

What cannot be read gets the training prior and is listed, with the reason, in the report.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from hbac_utils.data import signals
from hbac_utils.data.competition import (
    SPECTROGRAM_ROWS,
    WINDOW_SAMPLES,
    Competition,
    read_eeg,
    read_spectrogram,
    read_table,
)
from hbac_utils.errors import InputError
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.metric import SubmissionError, check_probabilities
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import Data, Recipe, load_recipe
from hbac_utils.runs import read_metrics

BATCH = 32


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
    runs : list of dict
        For the report, of each run that predicted: recipe, number of models, out-of-fold scores,
        and how many EEGs it could not predict.
    """

    submission: pd.DataFrame
    by_fold: dict[str, np.ndarray]
    fallbacks: dict[int, str] = field(default_factory=dict)
    runs: list[dict] = field(default_factory=list)

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
        If the folder is no finished run.
    """
    path = Path(path)
    prior = np.array(read_metrics(path)["prior"])
    weights = sorted(path.glob("fold*/model.keras"))
    if not weights:
        raise InputError(f"{path}: no fold*/model.keras in it; train it again")
    return Run(
        path,
        load_recipe(path / "recipe.json"),
        prior,
        {file.parent.name: load_classifier(file) for file in weights},
    )


def predict(run: Run, competition: Competition, *, progress: bool = True) -> Prediction:
    """Predict every EEG of ``test.csv``; models are averaged with equal weights.

    Parameters
    ----------
    run : Run
    competition : Competition
        With ``test.csv`` and the test recordings.
    progress : bool

    Raises
    ------
    InputError
        If the view needs spectrograms and the folder has none at all, or there is no
        ``test.csv`` with ``eeg_id``. A single unreadable file is no error: see `Prediction`.
    """
    if "spectrogram" in run.recipe.inputs and not competition.has_spectrograms("test"):
        raise InputError(
            f"{competition.path}: the recipe {run.recipe.name} needs spectrograms, and there is no "
            "folder test_spectrograms; use a run of a recipe with an EEG view"
        )
    test = competition.test.drop_duplicates("eeg_id").reset_index(drop=True)
    by_fold = {name: np.tile(run.prior, (len(test), 1)) for name in run.models}
    fallbacks: dict[int, str] = {}
    bar = tqdm(total=len(test), desc="predict", unit="EEG", disable=not progress)
    for rows, batch in _batches(competition, test, run.recipe, fallbacks):
        for name, model in run.models.items() if rows else ():
            by_fold[name][rows] = model.predict_on_batch(batch)[: len(rows)]
        bar.update(min(BATCH, len(test) - bar.n))
    bar.close()
    mean = np.mean(list(by_fold.values()), axis=0, dtype=np.float64)
    broken = ~np.isfinite(mean).all(axis=1)
    for row in np.flatnonzero(broken):
        fallbacks[int(test["eeg_id"][row])] = "the model's output is not finite"
    mean[broken] = run.prior
    submission = pd.DataFrame(mean / mean.sum(axis=1, keepdims=True), columns=list(VOTE_COLUMNS))
    submission.insert(0, "eeg_id", test["eeg_id"])
    return Prediction(submission, by_fold, fallbacks, [_summary(run, len(fallbacks))])


def _summary(run: Run, lost: int) -> dict:
    scores = read_metrics(run.path)["scores"]["model"]
    return {"recipe": run.recipe.name, "models": len(run.models), "lost": lost, **scores}


def _batches(
    competition: Competition, test: pd.DataFrame, recipe: Recipe, fallbacks: dict[int, str]
) -> Iterator[tuple[list[int], dict[str, np.ndarray]]]:
    """Yield rows of ``test`` that could be read and their inputs, a batch at a time.

    Every batch is filled up to the full size, so that each model is traced only once.
    """
    for start in range(0, len(test), BATCH):
        rows, windows = [], []
        for row in range(start, min(start + BATCH, len(test))):
            try:
                windows.append(read_window(competition, test.iloc[row], recipe))
                rows.append(row)
            except Exception as error:  # whatever is wrong with one file, the others go on
                fallbacks[int(test["eeg_id"][row])] = str(error) or type(error).__name__
        windows += windows[:1] * (BATCH - len(windows)) if rows else []
        names = recipe.inputs if rows else ()
        yield rows, {name: np.stack([window[name] for window in windows]) for name in names}


def read_window(competition: Competition, row: pd.Series, recipe: Recipe) -> dict[str, np.ndarray]:
    """Read one test recording as the model's input, treated as the store treats it.

    Returns
    -------
    dict
        What the recipe's views read: ``eeg``, float16, shape (10000, 19), microvolts;
        ``spectrogram``, float16, shape (300, 400), ln power.

    Raises
    ------
    InputError
        If the file is missing, unreadable, of the wrong length, or holds no finite value.
    """
    window = {}
    if "eeg" in recipe.inputs:
        path = competition.eeg_path("test", int(row["eeg_id"]))
        window["eeg"] = _clean(_usable(read_eeg(path), WINDOW_SAMPLES, path), recipe.data)
    if "spectrogram" in recipe.inputs:
        path = competition.spectrogram_path("test", int(row["spectrogram_id"]))
        log = signals.log_power(read_spectrogram(path))
        window["spectrogram"] = _usable(log, SPECTROGRAM_ROWS, path)
    return window


def _usable(array: np.ndarray, length: int, path: Path) -> np.ndarray:
    if len(array) != length:
        raise InputError(f"{path}: {len(array)} rows instead of {length}")
    if not np.isfinite(array).any():
        raise InputError(f"{path}: no finite value in it")
    return array


def _clean(eeg: np.ndarray, data: Data) -> np.ndarray:
    return signals.clean_eeg(eeg, data.band, data.clip)[0]


def write_submission(prediction: Prediction, out: str | Path) -> Path:
    """Write ``submission.csv`` and ``inference_report.json``; the former is validated first.

    Returns
    -------
    Path
        Of ``submission.csv``.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "submission.csv"
    check_probabilities(prediction.submission, str(path))
    prediction.submission.to_csv(path, index=False)
    report = {
        "rows": len(prediction.submission),
        "runs": prediction.runs,
        "fallbacks": {str(eeg_id): reason for eeg_id, reason in prediction.fallbacks.items()},
    }
    (out / "inference_report.json").write_text(json.dumps(report, indent=2) + "\n")
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
