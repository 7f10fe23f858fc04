"""A run: a recipe trained on a store, fold by fold, with out-of-fold predictions and scores.

What the run's folder holds is said in `hbac_utils.runs`, which reads it.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.backend import keras
from hbac_utils.data.splits import patient_folds
from hbac_utils.data.store import Store
from hbac_utils.data.windows import TrainingWindows, evaluation_dataset
from hbac_utils.errors import InputError
from hbac_utils.labels import RELIABLE_VOTES, VOTE_COLUMNS
from hbac_utils.metric import both_scores
from hbac_utils.models.classifier import build_classifier, compile_classifier, set_augmentation
from hbac_utils.models.schedules import learning_rates
from hbac_utils.recipe import Recipe, Stage, load_recipe, save_recipe
from hbac_utils.runs import summarize

EVALUATION_BATCH = 64


def train(
    recipe: Recipe, store: Store, run: str | Path, folds: Sequence[int] | None = None
) -> dict:
    """Train a recipe and write its run folder.

    Parameters
    ----------
    recipe : Recipe
    store : Store
    run : str or Path
        The run's folder; it may hold other folds of the same recipe, but not another recipe.
    folds : sequence of int, optional
        Which folds to train; all by default.

    Returns
    -------
    dict
        What ``metrics.json`` holds, see `summarize`.

    Raises
    ------
    InputError
        Before any work: if the store was packed for other signals, lacks the view's input, has
        fewer patients than the recipe has folds, a fold does not exist, a stage has no windows,
        or the folder holds another recipe's run.
    """
    run = Path(run)
    store.check(recipe.data, recipe.inputs)
    fold_of_window = patient_folds(store.windows, recipe.data.folds, recipe.seed)
    wanted = range(recipe.data.folds) if folds is None else list(folds)
    for fold in wanted:
        if fold not in range(recipe.data.folds):
            raise InputError(
                f"fold {fold} does not exist; the recipe has 0–{recipe.data.folds - 1}"
            )
        for stage in range(len(recipe.stages)):
            TrainingWindows(store, np.flatnonzero(fold_of_window != fold), recipe, stage)
    _claim(run, recipe)
    bench = Workbench(recipe)
    for fold in wanted:
        train_fold(bench, recipe, store, fold_of_window, fold, run / f"fold{fold}")
    return summarize(run, store)


def parse_folds(text: str) -> list[int] | None:
    """Read ``"0,2"`` as [0, 2] and an empty text as None, which means all.

    Raises
    ------
    InputError
        If it is neither.
    """
    try:
        return [int(part) for part in str(text).split(",")] if str(text).strip() else None
    except ValueError:
        raise InputError(f"folds {text!r}: write fold numbers such as 0,2, or nothing") from None


def learning_rate_plan(recipe: Recipe, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the learning rate over all stages of fold 0.

    Returns
    -------
    epochs, rates : arrays of float, shape (n_steps,)
        Time in epochs since the start, and the rate of that step.
    """
    training = np.flatnonzero(patient_folds(store.windows, recipe.data.folds, recipe.seed) != 0)
    epochs, rates, begun = [], [], 0
    for index, stage in enumerate(recipe.stages):
        steps = TrainingWindows(store, training, recipe, index).steps_per_epoch
        rates.append(learning_rates(stage, steps))
        epochs.append(begun + np.arange(len(rates[-1])) / steps)
        begun += stage.epochs
    return np.concatenate(epochs), np.concatenate(rates)


def _claim(run: Path, recipe: Recipe) -> None:
    run.mkdir(parents=True, exist_ok=True)
    written = run / "recipe.json"
    if written.exists() and load_recipe(written) != recipe:
        raise InputError(f"{run}: holds a run of another recipe; choose another folder (RUN=…)")
    save_recipe(recipe, written)


class Workbench:
    """A model and its optimizer that are set back for each fold instead of being made anew.

    Tracing a training step takes as long as dozens of steps of a small model, and a minute for a
    large one; so it is done once, and again only where a stage switches the augmentation.
    """

    def __init__(self, recipe: Recipe):
        self.model = build_classifier(recipe)
        # the variables, not the weights: the states of the random generators are among them
        self._variables = list(self.model.variables)
        self._initial = [variable.numpy() for variable in self._variables]
        self._augment: bool | None = None

    def begin_fold(self) -> None:
        """Set the model back to its first state."""
        _restore(self._variables, self._initial)

    def begin_stage(self, stage: Stage) -> None:
        """Set the optimizer back, and compile if the stage needs another training step."""
        if stage.augment != self._augment:
            self._augment = stage.augment
            set_augmentation(self.model, stage.augment)
            compile_classifier(self.model, keras.optimizers.Adam(stage.peak_learning_rate))
            self.model.optimizer.build(self.model.trainable_variables)
            self._blank = [variable.numpy() for variable in self.model.optimizer.variables]
        _restore(self.model.optimizer.variables, self._blank)


def _restore(variables: list, values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class SetLearningRate(keras.callbacks.Callback):
    """Sets the learning rate before each step from a table.

    Parameters
    ----------
    rates : array, shape (n_steps,)
    """

    def __init__(self, rates: np.ndarray):
        super().__init__()
        self.rates = iter(rates)

    def on_train_batch_begin(self, batch, logs=None):
        """Set the next step's rate."""
        self.model.optimizer.learning_rate = next(self.rates)


def train_fold(
    bench: Workbench,
    recipe: Recipe,
    store: Store,
    fold_of_window: np.ndarray,
    fold: int,
    folder: Path,
) -> pd.DataFrame:
    """Train one fold through all stages and save its models, history and predictions.

    Returns
    -------
    DataFrame
        The history, as ``history.csv`` holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = store.evaluation_windows()
    evaluation = evaluation[fold_of_window[evaluation] == fold]
    training = np.flatnonzero(fold_of_window != fold)
    watch = Watch(recipe, store, evaluation, fold, folder / "history.csv")
    bench.begin_fold()
    for index, stage in enumerate(recipe.stages):
        windows = TrainingWindows(store, training, recipe, index)
        bench.begin_stage(stage)
        watch.begin_stage(index, windows)
        bench.model.fit(
            windows.dataset(),
            epochs=stage.epochs,
            steps_per_epoch=windows.steps_per_epoch,
            callbacks=[SetLearningRate(learning_rates(stage, windows.steps_per_epoch)), watch],
            shuffle=False,  # the windows come shuffled
            verbose=0,
        )
    _save_fold(bench.model, watch, recipe, folder)
    return watch.history


def _save_fold(model: keras.Model, watch: "Watch", recipe: Recipe, folder: Path) -> None:
    windows = watch.store.windows.iloc[watch.rows]
    frames = {"last": watch.last_prediction, "best": watch.best_prediction}
    for name, prediction in frames.items():
        table = windows[["label_id", "eeg_id", "patient_id"]].assign(fold=watch.fold)
        table[list(VOTE_COLUMNS)] = prediction
        table.to_parquet(folder / f"predictions_{name}.parquet", index=False)
    if recipe.select == "best":
        model.save(folder / "last.keras")
        model.set_weights(watch.best_weights)
    model.save(folder / "model.keras")


class Watch(keras.callbacks.Callback):
    """Scores the held-out windows after each epoch, keeps the best weights and the history.

    Parameters
    ----------
    recipe : Recipe
    store : Store
    rows : array of int
        Positions of the held-out evaluation windows.
    fold : int
    path : Path
        Of ``history.csv``, rewritten after each epoch.
    """

    def __init__(self, recipe: Recipe, store: Store, rows: np.ndarray, fold: int, path: Path):
        super().__init__()
        self.recipe, self.store, self.rows, self.fold, self.path = recipe, store, rows, fold, path
        self.votes = store.windows[list(VOTE_COLUMNS)].to_numpy()[rows]
        self.dataset = evaluation_dataset(store, rows, recipe.inputs, EVALUATION_BATCH)
        self.records: list[dict] = []
        self.best_score = np.inf
        self.best_weights = self.best_prediction = self.last_prediction = None

    @property
    def history(self) -> pd.DataFrame:
        """A row per epoch so far."""
        return pd.DataFrame(self.records)

    def begin_stage(self, stage: int, windows: TrainingWindows) -> None:
        """Say which stage the coming epochs belong to."""
        self.stage, self.windows = stage, windows

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.begun = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Predict, score, remember, report."""
        trained = time.perf_counter() - self.begun
        self.last_prediction = self.model.predict(self.dataset, verbose=0)
        if not np.isfinite(self.last_prediction).all():
            raise FloatingPointError(
                f"fold {self.fold}, epoch {epoch}: predictions are no longer finite; "
                "lower the learning rate"
            )
        scores = both_scores(self.votes, self.last_prediction)
        # with few or no reliable windows in the fold, all of them have to do
        score = scores["kl_all"] if scores["kl_reliable"] is None else scores["kl_reliable"]
        if score < self.best_score:
            self.best_score = score
            self.best_weights = self.model.get_weights()
            self.best_prediction = self.last_prediction
        groups = len(self.windows.rows_of_epoch(epoch))
        self.records.append(
            {
                "fold": self.fold,
                "stage": self.stage,
                "epoch": len(self.records),
                "learning_rate": float(self.model.optimizer.learning_rate),
                "loss": logs["loss"],
                **scores,
                "windows_per_second": groups / trained,
                "seconds": time.perf_counter() - self.begun,
            }
        )
        self.history.to_csv(self.path, index=False)
        self._report()

    def _report(self) -> None:
        record = self.records[-1]
        total = sum(stage.epochs for stage in self.recipe.stages)
        reliable = record["kl_reliable"]
        shown = "" if reliable is None else f", ≥{RELIABLE_VOTES} votes {reliable:.3f}"
        print(
            f"fold {self.fold}  epoch {record['epoch'] + 1:>2}/{total}  "
            f"loss {record['loss']:.3f}  held-out KL {record['kl_all']:.3f}{shown}  "
            f"{record['windows_per_second']:.0f} windows/s",
            flush=True,
        )
