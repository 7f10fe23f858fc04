"""A run: a recipe trained on a store, fold by fold, with out-of-fold predictions and scores.

A run's folder holds

============================ ==================================================
``recipe.json``              the recipe, every default spelled out
``fold{k}/model.keras``      the epoch that the recipe selects, view included
``fold{k}/last.keras``       the last epoch, if the recipe selects the best one
``fold{k}/history.csv``      a row per epoch: stage, learning rate, loss, both scores
``oof.parquet``              out-of-fold probabilities of the evaluation windows
``metrics.json``             scores beside the constant prior's and uniform's
============================ ==================================================
"""

import json
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
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import both_scores
from hbac_utils.models.classifier import build_classifier, compile_classifier, set_augmentation
from hbac_utils.models.schedules import learning_rate_schedule, learning_rates
from hbac_utils.recipe import Recipe, load_recipe, save_recipe

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
    for fold in wanted:
        train_fold(recipe, store, fold_of_window, fold, run / f"fold{fold}")
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
        stage_epochs, stage_rates = learning_rates(stage, steps)
        epochs.append(begun + stage_epochs)
        rates.append(stage_rates)
        begun += stage.epochs
    return np.concatenate(epochs), np.concatenate(rates)


def _claim(run: Path, recipe: Recipe) -> None:
    run.mkdir(parents=True, exist_ok=True)
    written = run / "recipe.json"
    if written.exists() and load_recipe(written) != recipe:
        raise InputError(f"{run}: holds a run of another recipe; choose another folder (RUN=…)")
    save_recipe(recipe, written)


def train_fold(
    recipe: Recipe, store: Store, fold_of_window: np.ndarray, fold: int, folder: Path
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
    model = build_classifier(recipe)
    watch = Watch(recipe, store, evaluation, fold, folder / "history.csv")
    for index, stage in enumerate(recipe.stages):
        windows = TrainingWindows(store, training, recipe, index)
        set_augmentation(model, stage.augment)
        rate = learning_rate_schedule(stage, windows.steps_per_epoch)
        compile_classifier(model, keras.optimizers.Adam(rate))
        watch.begin_stage(index, windows)
        model.fit(
            windows.dataset(),
            epochs=stage.epochs,
            steps_per_epoch=windows.steps_per_epoch,
            callbacks=[watch],
            shuffle=False,  # the windows come shuffled
            verbose=0,
        )
    _save_fold(model, watch, recipe, folder)
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


def constant_priors(votes: np.ndarray) -> dict[str, np.ndarray]:
    """Find the best constant predictions: the mean vote fractions, for either score.

    Parameters
    ----------
    votes : array, shape (n, 6)

    Returns
    -------
    dict
        ``kl_all`` and ``kl_reliable``, arrays of shape (6,); the latter is the former where no
        window has ten votes.
    """
    fractions = vote_fractions(votes)
    reliable = votes.sum(axis=1) >= RELIABLE_VOTES
    everything = fractions.mean(axis=0)
    return {
        "kl_all": everything,
        "kl_reliable": fractions[reliable].mean(axis=0) if reliable.any() else everything,
    }


def summarize(run: str | Path, store: Store) -> dict:
    """Collect the folds of a run: write ``oof.parquet`` and ``metrics.json``.

    The constant prior's score is out of fold too: each fold is predicted by the mean of the
    other folds' votes.

    Returns
    -------
    dict
        ``scores`` (of the selected epochs ``model``, of the ``last`` and the ``best`` ones,
        of ``prior`` and ``uniform``), ``prior`` (six numbers, for what cannot be predicted),
        ``folds``, ``windows``. The best epoch was chosen by the score that it reports, so its
        figure is a little too good; the last one's is not.
    """
    run = Path(run)
    recipe = load_recipe(run / "recipe.json")
    predictions = {
        name: pd.concat(
            pd.read_parquet(path) for path in sorted(run.glob(f"fold*/predictions_{name}.parquet"))
        )
        for name in ("last", "best")
    }
    oof = predictions[recipe.select].reset_index(drop=True)
    oof.to_parquet(run / "oof.parquet", index=False)
    evaluation = store.windows.iloc[store.evaluation_windows()].set_index("label_id")
    votes = evaluation.loc[oof["label_id"], list(VOTE_COLUMNS)].to_numpy()
    columns = list(VOTE_COLUMNS)
    scores = {"model": both_scores(votes, oof[columns].to_numpy())}
    for name, table in predictions.items():
        scores[name] = both_scores(votes, table[columns].to_numpy())
    scores["prior"] = _prior_scores(evaluation, oof, votes)
    scores["uniform"] = both_scores(votes, np.full(N_CLASSES, 1 / N_CLASSES))
    metrics = {
        "recipe": recipe.name,
        "folds": sorted(int(fold) for fold in oof["fold"].unique()),
        "windows": len(oof),
        "reliable_windows": int((votes.sum(axis=1) >= RELIABLE_VOTES).sum()),
        "scores": scores,
        "prior": constant_priors(evaluation[columns].to_numpy())["kl_reliable"].tolist(),
    }
    (run / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def _prior_scores(evaluation: pd.DataFrame, oof: pd.DataFrame, votes: np.ndarray) -> dict:
    scores = {}
    columns = list(VOTE_COLUMNS)
    for score in ("kl_all", "kl_reliable"):
        prediction = np.empty(votes.shape)
        for _, part in oof.groupby("fold"):
            others = evaluation.drop(index=part["label_id"])
            prediction[part.index] = constant_priors(others[columns].to_numpy())[score]
        scores[score] = both_scores(votes, prediction)[score]
    return scores


class RunResult:
    """A finished run's tables, for looking at them.

    Parameters
    ----------
    run : str or Path
    store : Store
        That the run was trained on.
    """

    def __init__(self, run: str | Path, store: Store):
        self.run = Path(run)
        self.metrics = json.loads((self.run / "metrics.json").read_text())
        self.oof = pd.read_parquet(self.run / "oof.parquet")
        votes = store.windows.set_index("label_id").loc[self.oof["label_id"], list(VOTE_COLUMNS)]
        self.truth = vote_fractions(votes.to_numpy())
        self.probabilities = self.oof[list(VOTE_COLUMNS)].to_numpy()

    @property
    def history(self) -> pd.DataFrame:
        """All folds' histories, a row per fold and epoch."""
        paths = sorted(self.run.glob("fold*/history.csv"))
        return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)

    @property
    def scores(self) -> pd.DataFrame:
        """The run's scores beside the constant predictions', nats."""
        return pd.DataFrame(self.metrics["scores"]).T.round(4)
