"""Predict a test folder with one or several runs.

A recording that cannot be read or predicted gets the training prior and is listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.data.test_loader import BATCH_SIZE, Batch, read_batches
from hbac_utils.environment import is_rerun, walk_attached
from hbac_utils.inference.submission import COLUMNS, Prediction
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import SHIPPED, SHIPPED_RUNS, Recipe, TestTime
from hbac_utils.training.runs import fold_weights, read_metrics, read_recipe
from hbac_utils.training.test_time import predict_batch
from hbac_utils.utils import interactive
from hbac_utils.utils.backend import keras
from hbac_utils.utils.errors import InputError, one_line


@dataclass(frozen=True)
class Run:
    """A trained run, opened for prediction; see `open_run`."""

    path: Path
    recipe: Recipe
    prior: np.ndarray
    models: dict[str, keras.Model]


class Blend(Protocol):
    """Combination of runs, as `hbac_utils.ensembling.pooling.BlendFile`; ``str`` names it."""

    def order(self, runs: Sequence) -> list:
        """Select the members among runs or their folders, in the order of the weights."""

    def combine(self, values: np.ndarray) -> np.ndarray:
        """Combine probabilities of shape (members, n, 6) into (n, 6)."""


def find_runs(folder: Path = KAGGLE_INPUT) -> list[Path]:
    """Find the runs among a Kaggle notebook's inputs, at any depth; InputError if there is none."""
    found = [p for p, files in walk_attached(folder) if {"recipe.json", "metrics.json"} <= files]
    if not found:
        raise InputError(
            f"no run under {folder}: attach the training notebook's output, or name a run"
        )
    return found


def open_run(path: str | Path) -> Run:
    """Load a run's recipe, prior and fold models.

    ``simulated`` is the run in the package, unless there is a folder of this name. Raises
    InputError if it is not a finished run, or a file was changed after it was scored.
    """
    path = Path(path)
    if str(path) == SHIPPED and not path.exists():
        path = SHIPPED_RUNS / path
    recipe, prior = read_recipe(path), np.array(read_metrics(path)["prior"])
    files = fold_weights(path).items()
    models = {f"fold{fold}": load_classifier(recipe, file) for fold, file in files}
    return Run(path, recipe, prior, models)


def open_runs(run: str | Path | Sequence[str] = "", blend: Blend | None = None) -> list[Run]:
    """Open one run, several, or all attached ones if none is named; of a blend, its members.

    Raises InputError as `open_run` does, and before any model is loaded if a member is missing.
    """
    named = [run] if isinstance(run, str | Path) else list(run)
    paths: list = [path for path in named if str(path)] or find_runs()
    return [open_run(path) for path in (paths if blend is None else blend.order(paths))]


def describe_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """Tabulate runs and their out-of-fold scores, a column per run."""
    table = {}
    for number, run in enumerate(runs, start=1):
        metrics = read_metrics(run.path)
        scores = metrics["scores"]
        facts = {
            "folder": str(run.path),
            "recipe": run.recipe.name,
            "fold models": ", ".join(run.models),
            "reads": ", ".join(run.recipe.inputs),
            "scored out of fold": f"{metrics['windows']:,} windows",
        }
        for key, name in (("kl_reliable", f"≥ {RELIABLE_VOTES} votes"), ("kl_all", "all votes")):
            if scores["model"][key] is not None:
                kl, prior = scores["model"][key], scores["prior"][key]
                facts[f"out of fold, {name}"] = f"KL {kl:.3f} (prior {prior:.3f})"
        table[f"run {number}"] = pd.Series(facts)
    return pd.DataFrame(table).fillna("")


def mean_prior(runs: Sequence[Run]) -> np.ndarray:
    """Average the training priors of runs, weighted by their numbers of models; shape (6,)."""
    return np.average([run.prior for run in runs], axis=0, weights=[len(r.models) for r in runs])


def weighted_mean(values: np.ndarray, weights: Sequence[float] | None = None) -> np.ndarray:
    """Average predictions of several models or runs, (k, n, 6) to (n, 6), leaving out missing ones.

    A missing prediction is NaN, and so is the average where all are missing.
    """
    known = ~np.isnan(values).any(axis=-1)
    shares = known * (np.ones(len(values)) if weights is None else np.array(weights))[:, None]
    with np.errstate(invalid="ignore"):
        shares = shares / shares.sum(axis=0)
    return (shares[..., None] * np.where(known[..., None], values, 0)).sum(axis=0)


def predict(
    runs: Sequence[Run | str | Path],
    competition: Competition,
    blend: Blend | None = None,
    *,
    progress: bool = True,
) -> Prediction:
    """Predict every EEG of ``test.csv`` with all models of all runs.

    Without a blend all models count the same. An EEG that one of the blend's runs cannot predict
    gets the mean of the others.

    Raises
    ------
    InputError
        If all runs read spectrograms and the folder has none (in Kaggle's hidden re-run all EEGs
        then get the prior: a notebook that fails scores nothing); if a run of the blend is missing.
    """
    if blend is not None:
        runs = blend.order(runs)
    opened = [run if isinstance(run, Run) else open_run(run) for run in runs]
    if not is_rerun():
        _check_spectrograms(opened, competition)
    test = competition.test.drop_duplicates("eeg_id").reset_index(drop=True)
    predictors = [RunPredictor(run, len(test)) for run in opened]
    alike: dict[tuple, list[RunPredictor]] = {}  # runs with the same preprocessing
    for predictor in predictors:
        data = predictor.run.recipe.data
        alike.setdefault((data.band, data.clip), []).append(predictor)
    for group in alike.values():
        recipes = [predictor.run.recipe for predictor in group]
        inputs = tuple(dict.fromkeys(i for recipe in recipes for i in recipe.inputs))
        batches = read_batches(competition, test, recipes[0].data, inputs)
        for batch in interactive.progress(
            batches, len(test), "predict", size=lambda batch: len(batch.rows), show=progress
        ):
            for predictor in group:
                predictor.add(batch)
    return _combined(predictors, test["eeg_id"], blend)


def combine(predictors: "Sequence[RunPredictor]", blend: Blend | None = None) -> np.ndarray:
    """Average folds, then runs, or blend these; shape (n, 6), NaN where nothing is known."""
    by_run = np.array([weighted_mean(predictor.probabilities) for predictor in predictors])
    mean = weighted_mean(by_run, [len(predictor.models) for predictor in predictors])
    if blend is not None:
        complete = ~np.isnan(by_run).any(axis=(0, 2))
        mean[complete] = blend.combine(by_run[:, complete])
    return mean / mean.sum(axis=1, keepdims=True)


def _combined(predictors: "list[RunPredictor]", ids: pd.Series, blend: Blend | None) -> Prediction:
    """Combine the predictors; the prior where nothing is known."""
    runs = [predictor.run for predictor in predictors]
    mean = combine(predictors, blend)
    lost = np.isnan(mean).any(axis=1)
    prior = mean_prior(runs)
    mean[lost] = prior / prior.sum()
    submission = pd.DataFrame(mean, columns=COLUMNS)
    submission.insert(0, "eeg_id", ids)
    made = Prediction(submission, {}, blend="" if blend is None else str(blend))
    made.fallbacks = {ids[row]: predictors[0].reason(row) for row in np.flatnonzero(lost)}
    for number, (run, predictor) in enumerate(zip(runs, predictors, strict=True)):
        name = run.recipe.name
        prefix = f"{name} {number + 1}, " if len(runs) > 1 else ""
        filled = np.where(np.isnan(predictor.probabilities), run.prior, predictor.probabilities)
        made.by_fold |= {prefix + fold: p for fold, p in zip(run.models, filled, strict=True)}
        known = ~np.isnan(predictor.probabilities).any(axis=-1).all(axis=0)
        repaired = predictor.repaired.items()
        made.repaired |= {ids[row]: what for row, what in repaired if known[row]}
        scores = read_metrics(run.path)["scores"]["model"]
        missing = int((~known).sum())
        made.runs.append({"recipe": name, "models": len(run.models), "lost": missing, **scores})
    return made


def _check_spectrograms(runs: Sequence[Run], competition: Competition) -> None:
    has_folder = competition.has_spectrograms("test")
    if has_folder and "spectrogram_id" in competition.test:
        return
    if all("spectrogram" in run.recipe.inputs for run in runs):
        missing = "column spectrogram_id in test.csv" if has_folder else "folder test_spectrograms"
        raise InputError(
            f"{competition.path}: the recipe {runs[0].recipe.name} needs spectrograms, and there "
            f"is no {missing}; use a run of a recipe with an EEG view"
        )


class RunPredictor:
    """Predictions of one run, filled in batch by batch."""

    def __init__(self, run: Run, n: int):
        self.run = run
        size = max(1, min(BATCH_SIZE, n))
        self.models = [ModelPredictor(m, run.recipe.tta, size) for m in run.models.values()]
        self.probabilities = np.full((len(self.models), n, N_CLASSES), np.nan)  # NaN: no prediction
        self.errors: dict[int, str] = {}  # by row
        self.repaired: dict[int, str] = {}  # what was wrong with a row's recordings

    def add(self, batch: Batch) -> None:
        """Predict a batch with all models."""
        rows, signals, errors = batch.select(self.run.recipe.inputs)
        self.errors |= errors
        self.repaired |= batch.notes(self.run.recipe.inputs)
        if rows:
            for values, model in zip(self.probabilities, self.models, strict=True):
                values[rows] = model(signals)

    def reason(self, row: int) -> str:
        """Tell why a row has no prediction."""
        failures = [model.failure for model in self.models if model.failure]
        failure = failures[0] if failures else "the model's output is not finite"
        return self.errors.get(row, failure)


class ModelPredictor:
    """A model that predicts smaller parts of a batch after a failure, as when out of memory."""

    def __init__(self, model: keras.Model, tta: TestTime, size: int):
        self.model, self.tta, self.size = model, tta, size
        self.works = False  # has predicted something
        self.failure = ""  # the error for one recording alone

    def __call__(self, signals: dict[str, np.ndarray]) -> np.ndarray:
        """Predict n recordings; shape (n, 6), NaN where the model failed."""
        n = len(next(iter(signals.values())))
        found = np.full((n, N_CLASSES), np.nan)
        start = 0
        while start < n and (self.works or not self.failure):
            # the last part is filled up to the full size, so that the model is traced only once
            rows = np.minimum(np.arange(start, start + self.size), n - 1)
            part = {name: array[rows] for name, array in signals.items()}
            try:
                found[rows] = predict_batch(self.model, part, self.tta)
                self.works = True
            except Exception as error:  # out of memory is one of TensorFlow's many
                if self.size > 1:
                    self.size //= 2
                    continue
                self.failure = f"the model failed: {type(error).__name__}: {one_line(error)[:200]}"
            start += self.size
        valid = (np.isfinite(found) & (found >= 0)).all(axis=1) & (found.sum(axis=1) > 0)
        found[~valid] = np.nan
        return found
