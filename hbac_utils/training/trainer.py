"""A run: a recipe trained on a store, fold by fold, with out-of-fold predictions and scores.

What the run's folder holds is said in `hbac_utils.training.runs`, which reads it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.dataset import TrainingWindows
from hbac_utils.data.splits import patient_folds
from hbac_utils.data.store import Store
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.models.classifier import load_classifier, save_weights
from hbac_utils.models.schedules import learning_rates
from hbac_utils.models.test_time import average, predict_stored
from hbac_utils.recipe import Recipe, load_recipe, save_recipe
from hbac_utils.training.callbacks import SetLearningRate, Watch, undamaged
from hbac_utils.training.pseudo_labels import pseudo_labels
from hbac_utils.training.runs import LAST_WEIGHTS, WEIGHTS, is_complete, summarize
from hbac_utils.training.state import Workbench
from hbac_utils.utils.backend import tf
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock, replacing, writing


def train(
    recipe: Recipe,
    store: Store,
    run: str | Path,
    folds: Sequence[int] | None = None,
    max_hours: float = 0,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> dict:
    """Train a recipe and write its run folder.

    A run that was stopped, by a kill or by its time budget, goes on where it was: called again,
    complete folds are left as they are and the others continue after their last epoch, to the
    numbers that they would have had.

    Parameters
    ----------
    recipe : Recipe
    store : Store
    run : str or Path
        The run's folder; it may hold other folds of the same recipe, but not another recipe.
    folds : sequence of int, optional
        Which folds to train; all by default.
    max_hours : float
        Stop before an epoch that might end later than this; what was reached is kept. Zero: no
        limit.
    on_epoch : callable, optional
        Called after each epoch with the histories of all folds so far, as `runs.read_history`
        gives them.

    Returns
    -------
    dict
        What ``metrics.json`` holds, see `summarize`.

    Raises
    ------
    InputError
        Before any work: if the store was packed for other signals, lacks the view's input, has
        fewer patients than the recipe has folds, a fold does not exist, a stage has no windows,
        the folder holds another recipe's run, pretrained weights are missing, or a batch would
        need more memory than there is. Later: if the loss is no longer finite.
    DiskError
        If the folder cannot be written to, or its disk is full.
    """
    run = Path(run)
    deadline = time.monotonic() + 3600 * max_hours if max_hours else None
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
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        with lock(run / "training"):  # inside: Kaggle's working folder has a parent of its own
            _claim(run, recipe)
            _train_folds(recipe, store, fold_of_window, wanted, run, deadline, on_epoch)
            if recipe.tta.is_on:
                _predict_changed(run, recipe, store, fold_of_window)
            return summarize(run, store)


def _train_folds(
    recipe: Recipe,
    store: Store,
    fold_of_window: np.ndarray,
    wanted: Sequence[int],
    run: Path,
    deadline: float | None,
    on_epoch: Callable[[pd.DataFrame], None] | None,
) -> None:
    waiting = [fold for fold in wanted if not is_complete(run / f"fold{fold}")]
    done = sorted(set(wanted) - set(waiting))
    if done:
        print(f"complete already: fold {', '.join(map(str, done))}", flush=True)
    bench = Workbench(recipe) if waiting else None
    for fold in waiting:
        watch = train_fold(
            bench, store, fold_of_window, fold, run / f"fold{fold}", deadline, on_epoch
        )
        if watch.out_of_time:
            break
    left = [fold for fold in waiting if not is_complete(run / f"fold{fold}")]
    if left:
        listed = ", ".join(map(str, left))
        print(f"stopped: fold {listed} is not complete; the same call goes on", flush=True)


def _predict_changed(run: Path, recipe: Recipe, store: Store, fold_of_window: np.ndarray) -> None:
    """Predict each fold's held-out windows once more, with the recipe's test-time changes."""
    evaluation = store.evaluation_windows()
    for path in sorted(run.glob(f"fold*/{WEIGHTS}")):
        fold = int(path.parent.name.removeprefix("fold"))
        rows = evaluation[fold_of_window[evaluation] == fold]
        found = predict_stored(
            load_classifier(recipe, path), store, rows, recipe.inputs, recipe.tta
        )
        _save_predictions(
            store, rows, fold, average(list(found.values()), recipe.tta.average), path.parent, "tta"
        )


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
    written = run / "recipe.json"
    # what is changed at test time does not change what was trained
    if written.exists() and load_recipe(written).model_copy(update={"tta": recipe.tta}) != recipe:
        raise InputError(f"{run}: holds a run of another recipe; choose another folder (RUN=…)")
    save_recipe(recipe, written)


def train_fold(
    bench: Workbench,
    store: Store,
    fold_of_window: np.ndarray,
    fold: int,
    folder: Path,
    deadline: float | None = None,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> Watch:
    """Train one fold through all stages and save its weights, history and predictions.

    Parameters
    ----------
    bench : Workbench
    store : Store
    fold_of_window : array of int, shape (n_windows,)
    fold : int
    folder : Path
        What an earlier call has left there is taken up.
    deadline, on_epoch : optional
        See `Watch`.

    Returns
    -------
    Watch
        With the history, and whether the time was enough.
    """
    folder.mkdir(parents=True, exist_ok=True)
    evaluation = store.evaluation_windows()
    evaluation = evaluation[fold_of_window[evaluation] == fold]
    training = np.flatnonzero(fold_of_window != fold)
    watch = Watch(bench, store, evaluation, fold, folder, deadline, on_epoch)
    saved, past = watch.resume(), 0
    bench.begin_fold()
    for index, stage in enumerate(bench.recipe.stages):
        done = min(max(len(watch.records) - past, 0), stage.epochs)
        past += stage.epochs
        if len(watch.records) > past:  # a later stage has begun
            continue
        # before the optimizer is set back, for the weights are the earlier stages' averages still
        votes = _soft_votes(bench, store, training, fold, folder, index)
        bench.begin_stage(stage)
        if done:
            bench.restore(saved)
        if done < stage.epochs:
            _fit(bench, TrainingWindows(store, training, bench.recipe, index, votes), watch, done)
        if watch.out_of_time:
            break
        bench.end_stage()
    _save_fold(bench, watch, folder)
    if len(watch.records) == sum(stage.epochs for stage in bench.recipe.stages):
        watch.finish()
    return watch


def _soft_votes(
    bench: Workbench, store: Store, training: np.ndarray, fold: int, folder: Path, index: int
) -> np.ndarray | None:
    """Make the soft labels of a stage, kept in the folder so that a resumed run has the same."""
    labels = bench.recipe.stages[index].pseudo_labels
    if labels is None:
        return None
    kept = folder / f"labels{index}.npy"
    if not kept.is_file():
        votes = pseudo_labels(store, training, fold, labels, bench.model, bench.recipe.inputs)
        with replacing(kept) as file:
            np.save(file, votes)
    with undamaged(kept):
        return np.load(kept, allow_pickle=False)


def _fit(bench: Workbench, windows: TrainingWindows, watch: Watch, done: int) -> None:
    steps = windows.steps_per_epoch
    rates = learning_rates(windows.stage, steps)[done * steps :]
    watch.begin_stage(windows)
    try:
        bench.model.fit(
            windows.dataset(first_epoch=done),
            initial_epoch=done,
            epochs=windows.stage.epochs,
            steps_per_epoch=steps,
            callbacks=[SetLearningRate(rates), watch],
            shuffle=False,  # the windows come shuffled
            verbose=0,
        )
    except tf.errors.ResourceExhaustedError:
        size = windows.stage.batch_size
        raise InputError(
            f"stages.{windows.stage_index}: batch_size {size} does not fit into the device's "
            "memory; lower it, or the view's size"
        ) from None


def _save_fold(bench: Workbench, watch: Watch, folder: Path) -> None:
    frames = {"last": watch.last_prediction, "best": watch.best_prediction}
    for name, prediction in frames.items():
        _save_predictions(watch.store, watch.rows, watch.fold, prediction, folder, name)
    with bench.averaged():
        if bench.recipe.select == "last":
            save_weights(bench.model, folder / WEIGHTS)
            return
        save_weights(bench.model, folder / LAST_WEIGHTS)
    bench.model.set_weights(watch.best_weights)
    save_weights(bench.model, folder / WEIGHTS)


def _save_predictions(
    store: Store, rows: np.ndarray, fold: int, prediction: np.ndarray, folder: Path, name: str
) -> None:
    table = store.windows.iloc[rows][["label_id", "eeg_id", "patient_id"]].assign(fold=fold)
    table[list(VOTE_COLUMNS)] = prediction
    with replacing(folder / f"predictions_{name}.parquet") as file:
        table.to_parquet(file, index=False)
