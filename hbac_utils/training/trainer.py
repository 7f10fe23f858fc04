"""Train a recipe fold by fold; `hbac_utils.training.runs` lists the files that this writes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.dataset import FoldData
from hbac_utils.data.store import Store
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.models.classifier import load_classifier, save_weights
from hbac_utils.recipe import Recipe, save_recipe
from hbac_utils.training.callbacks import FoldMonitor, SetLearningRate, learning_rates, undamaged
from hbac_utils.training.pseudo_labels import check_runs, pseudo_labels
from hbac_utils.training.runs import (
    LAST_WEIGHTS,
    WEIGHTS,
    check_recipe,
    check_training,
    is_complete,
    summarize,
)
from hbac_utils.training.simulated import fold_data
from hbac_utils.training.state import TrainingState
from hbac_utils.training.test_time import average, predict_stored
from hbac_utils.utils.backend import tf
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock, remove_drafts, replacing, writing


def train(
    recipe: Recipe,
    store: Store,
    run: str | Path,
    folds: Sequence[int] | None = None,
    max_hours: float = 0,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> dict:
    """Train a recipe and write its run folder.

    A run that was killed or ran out of time is resumed by the same call: complete folds are
    skipped, the others continue after their last epoch, with the same numbers as without the
    interruption.

    Parameters
    ----------
    run : str or Path
        The run's folder; it may hold other folds of the same recipe.
    max_hours : float
        Stop before an epoch that might end later than this. Zero: no limit.
    on_epoch : callable, optional
        Called after each epoch with the histories of all folds so far; see `runs.read_history`.

    Returns the content of ``metrics.json``, see `runs.summarize`. Raises InputError before any
    work if recipe, store, folds and folder do not fit together; later if the loss is not finite.
    """
    run = Path(run)
    chosen = check_training(recipe, run, ",".join(map(str, folds or ())), max_hours)
    deadline = time.monotonic() + 3600 * max_hours if max_hours else None
    store.check(recipe.data, recipe.inputs)
    data = {fold: fold_data(store, recipe, fold) for fold in chosen}
    for fold in chosen:
        check_runs(data[fold])
    _check_windows(recipe, store, run)
    with writing(run):
        run.mkdir(parents=True, exist_ok=True)
        with lock(run / "training"):
            check_recipe(run, recipe)  # another process may have begun one
            save_recipe(recipe, run / "recipe.json")
            folders = {fold: run / f"fold{fold}" for fold in data}
            remaining = [fold for fold in data if not is_complete(folders[fold])]
            if done := sorted(set(data) - set(remaining)):
                print(f"complete already: fold {', '.join(map(str, done))}", flush=True)
            state = None
            for fold in remaining:
                remove_drafts(folders[fold])  # of killed processes
                state = state or TrainingState(recipe)
                if train_fold(state, data[fold], folders[fold], deadline, on_epoch).out_of_time:
                    break
            if left := sorted(fold for fold in remaining if not is_complete(folders[fold])):
                numbers = ", ".join(map(str, left))
                print(f"stopped: fold {numbers} is not complete; run the same again", flush=True)
            if recipe.tta.is_on:
                _predict_with_tta(recipe, store, run)
            return summarize(run, store)


def _check_windows(recipe: Recipe, store: Store, run: Path) -> None:
    """Refuse a run of other data: its folds hold out other windows than the store's."""
    for path in run.glob("fold*/predictions_last.parquet"):
        data = FoldData(store, recipe, int(path.parent.name.removeprefix("fold")))
        predicted = pd.read_parquet(path)["label_id"].to_numpy()
        if not np.array_equal(predicted, store.windows["label_id"].to_numpy()[data.evaluation]):
            raise InputError(
                f"{run}: holds a run on other data than {store.path}; choose another folder (RUN=…)"
            )


def train_fold(
    state: TrainingState,
    data: FoldData,
    folder: Path,
    deadline: float | None = None,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
) -> FoldMonitor:
    """Train one fold through all stages and save its weights, history and predictions.

    An interrupted training in the fold's folder is resumed. For the arguments see `FoldMonitor`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe = state.recipe
    monitor = FoldMonitor(state, data, folder, deadline, on_epoch)
    saved = monitor.resume()
    state.begin_fold()
    previous_epochs = 0
    for index, stage in enumerate(recipe.stages):
        done = min(max(len(monitor.records) - previous_epochs, 0), stage.epochs)
        previous_epochs += stage.epochs
        if len(monitor.records) > previous_epochs:  # a later stage has begun
            continue
        # before the optimizer is reset: the model has the averaged weights of earlier stages
        votes = _soft_votes(state, data, folder, index)
        state.begin_stage(stage)
        if done and saved:
            state.restore(saved)
        if done < stage.epochs:
            monitor.stage = index
            _fit(state, data, monitor, votes, done)
        state.end_stage(data, index)
        if monitor.out_of_time:
            break
    _save_fold(state, monitor, folder)
    if len(monitor.records) == sum(stage.epochs for stage in recipe.stages):
        (folder / "progress.npz").unlink(missing_ok=True)
    return monitor


def _fit(
    state: TrainingState, data: FoldData, monitor: FoldMonitor, votes: np.ndarray | None, done: int
) -> None:
    """Train the rest of a stage, of which some epochs are done."""
    index, stage = monitor.stage, state.recipe.stages[monitor.stage]
    steps = data.steps_per_epoch(index)
    rates = learning_rates(stage, steps)[done * steps :]
    try:
        state.model.fit(
            data.training_dataset(index, votes, first_epoch=done),
            initial_epoch=done,
            epochs=stage.epochs,
            steps_per_epoch=steps,
            callbacks=[SetLearningRate(rates), monitor],
            shuffle=False,  # the dataset shuffles
            verbose=0,
        )
    except tf.errors.ResourceExhaustedError:
        raise InputError(
            f"stages.{index}: batch_size {stage.batch_size} does not fit into the device's "
            "memory; lower it, or the view's size"
        ) from None


def _soft_votes(
    state: TrainingState, data: FoldData, folder: Path, index: int
) -> np.ndarray | None:
    """Make the soft labels of a stage, kept in a file so that a resumed run has the same."""
    labels = state.recipe.stages[index].pseudo_labels
    if labels is None:
        return None
    path = folder / f"labels{index}.npy"
    if not path.is_file():
        votes = pseudo_labels(data, labels, state.model)
        with replacing(path) as file:
            np.save(file, votes)
    with undamaged(path):
        return np.load(path, allow_pickle=False)


def _save_fold(state: TrainingState, monitor: FoldMonitor, folder: Path) -> None:
    _save_predictions(monitor.data, monitor.last_prediction, folder, "last")
    _save_predictions(monitor.data, monitor.best_prediction, folder, "best")
    select_last = state.recipe.select == "last"
    save_weights(state.model, folder / (WEIGHTS if select_last else LAST_WEIGHTS))
    if not select_last:
        state.model.set_weights(monitor.best_weights)
        save_weights(state.model, folder / WEIGHTS)


def _predict_with_tta(recipe: Recipe, store: Store, run: Path) -> None:
    """Predict the held-out windows of all folds again, with test-time augmentation."""
    for path in sorted(run.glob(f"fold*/{WEIGHTS}")):
        data = FoldData(store, recipe, int(path.parent.name.removeprefix("fold")))
        model = load_classifier(recipe, path)
        found = predict_stored(model, store, data.evaluation, recipe.inputs, recipe.tta)
        prediction = average(list(found.values()), recipe.tta.average)
        _save_predictions(data, prediction, path.parent, "tta")


def _save_predictions(data: FoldData, prediction: np.ndarray, folder: Path, name: str) -> None:
    windows = data.store.windows.iloc[data.evaluation]
    table = windows[["label_id", "eeg_id", "patient_id"]].assign(fold=data.fold)
    table[list(VOTE_COLUMNS)] = prediction
    with replacing(folder / f"predictions_{name}.parquet") as file:
        table.to_parquet(file, index=False)


def learning_rate_plan(recipe: Recipe, store: Store) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate time, in epochs since the start, and learning rate of each step of fold 0."""
    data, begin = fold_data(store, recipe, 0), 0
    epochs, rates = [], []
    for index, stage in enumerate(recipe.stages):
        steps = data.steps_per_epoch(index)
        rates.append(learning_rates(stage, steps))
        epochs.append(begin + np.arange(len(rates[-1])) / steps)
        begin += stage.epochs
    return np.concatenate(epochs), np.concatenate(rates)
