"""Keras callbacks of a fold: learning rate, scores, history, best epoch, progress for resuming."""

import json
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from hbac_utils.data.dataset import FoldData
from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.metric import both_scores
from hbac_utils.recipe import Stage
from hbac_utils.training.runs import STOP, read_history
from hbac_utils.training.state import TrainingState
from hbac_utils.utils.backend import keras, tf
from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.files import replacing

LISTED = 8  # label ids in a message
CURVES = ("loss", "kl_all", "kl_reliable", "learning_rate")  # written for TensorBoard


def learning_rates(stage: Stage, steps_per_epoch: int) -> np.ndarray:
    """Compute the learning rate of each step of a stage: linear warm-up, then cosine decay.

    It reaches the final rate at the last step. The same as Keras' ``CosineDecay``, in double
    precision; shape (epochs * steps_per_epoch,).
    """
    n = stage.epochs * steps_per_epoch
    warmup = min(round(stage.warmup_epochs * steps_per_epoch), n - 1)
    peak, final = stage.peak_learning_rate, stage.final_learning_rate
    rising = np.linspace(stage.warmup_from, peak, warmup, endpoint=False)
    angle = np.linspace(0, np.pi, n - warmup)
    return np.concatenate([rising, final + (peak - final) * (1 + np.cos(angle)) / 2])


class SetLearningRate(keras.callbacks.Callback):
    """Sets the learning rate before each step from an array of rates."""

    def __init__(self, rates: np.ndarray):
        super().__init__()
        self.rates = iter(rates)

    def on_train_batch_begin(self, batch, logs=None):
        """Set the rate of the next step."""
        self.model.optimizer.learning_rate = next(self.rates)


class FoldMonitor(keras.callbacks.Callback):
    """Scores the held-out windows after each epoch and saves what is needed to resume the fold.

    ``history.csv`` and ``progress.npz`` in the fold's folder are replaced after each epoch.
    ``deadline`` is the time of `time.monotonic` after which no epoch should end; ``on_epoch`` is
    called after each epoch with the histories of all folds so far.
    """

    def __init__(
        self,
        state: TrainingState,
        data: FoldData,
        folder: Path,
        deadline: float | None = None,
        on_epoch: Callable[[pd.DataFrame], None] | None = None,
    ):
        super().__init__()
        self.state, self.data, self.folder = state, data, folder
        self.deadline, self.on_epoch = deadline, on_epoch
        self.votes = data.votes[data.evaluation]
        self.records: list[dict] = []  # the history, a row per epoch
        self.best_score = np.inf
        self.best_weights: list[np.ndarray] = []
        self.best_prediction = self.last_prediction = np.zeros((0, 0))
        self.out_of_time = False
        self.stage = 0
        self._dataset = data.evaluation_dataset()
        self._tensorboard = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.epoch, self.begun = epoch, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Stop at the first loss that is not finite, naming the windows of the batch."""
        if not np.isfinite(logs["loss"]):
            rows = self.data.rows_of_batch(self.stage, self.epoch, batch)
            ids = self.data.store.windows["label_id"].to_numpy()[rows]
            listed = ", ".join(map(str, ids[:LISTED]))
            more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
            inspect = f", or inspect the windows with label_id {listed}{more}" if listed else ""
            raise InputError(
                f"{self._place()}, step {batch}: the loss is {logs['loss']}; lower the learning "
                f"rate{inspect}"
            )

    def on_epoch_end(self, epoch, logs=None):
        """Predict, score, save, print."""
        trained = time.monotonic() - self.begun
        with self.state.averaged(self.data, self.stage):
            self.last_prediction = self.model.predict(self._dataset, verbose=0)
            if not np.isfinite(self.last_prediction).all():
                place = self._place()
                raise InputError(f"{place}: predictions are not finite; lower the learning rate")
            scores = both_scores(self.votes, self.last_prediction)
            # small folds may have no window with enough votes
            score = scores["kl_all"] if scores["kl_reliable"] is None else scores["kl_reliable"]
            if score < self.best_score:
                self.best_score = score
                self.best_weights = self.model.get_weights()
                self.best_prediction = self.last_prediction
        self.records.append(
            {
                "fold": self.data.fold,
                "stage": self.stage,
                "epoch": len(self.records),
                "learning_rate": float(self.model.optimizer.learning_rate),
                "loss": logs["loss"],
                **scores,
                "windows_per_second": self.data.windows_per_epoch(self.stage) / trained,
                "seconds": time.monotonic() - self.begun,
            }
        )
        self.save()
        self._show(self.records[-1])
        run = self.folder.parent
        if self.on_epoch:
            self.on_epoch(read_history(run))
        slowest = max(record["seconds"] for record in self.records)
        late = self.deadline is not None and time.monotonic() + slowest > self.deadline
        if late or (run / STOP).exists():
            self.out_of_time = self.model.stop_training = True

    def save(self) -> None:
        """Write the history and everything that is needed to resume after a kill."""
        with replacing(self.folder / "history.csv") as file:
            pd.DataFrame(self.records).to_csv(file, index=False)
        arrays = {f"state{i}": array for i, array in enumerate(self.state.arrays())}
        arrays |= {f"weight{i}": array for i, array in enumerate(self.best_weights)}
        records = json.dumps({"records": self.records, "best_score": self.best_score})
        arrays |= {"records": np.array(records), "best_prediction": self.best_prediction}
        with replacing(self.folder / "progress.npz") as file:
            np.savez(file, last_prediction=self.last_prediction, **arrays)

    def resume(self) -> list[np.ndarray] | None:
        """Read what `save` wrote; returns arrays for `TrainingState.restore`, or None."""
        path = self.folder / "progress.npz"
        if not path.is_file():
            return None
        with undamaged(path), np.load(path, allow_pickle=False) as saved:
            kept = json.loads(str(saved["records"]))
            self.records, self.best_score = kept["records"], kept["best_score"]
            self.best_prediction = saved["best_prediction"]
            self.last_prediction = saved["last_prediction"]
            self.best_weights = _numbered(saved, "weight")
            if len(self.last_prediction) != len(self.votes):
                raise ValueError("of other data")
            return _numbered(saved, "state")

    def _place(self) -> str:
        return f"fold {self.data.fold}, stage {self.stage}, epoch {self.epoch}"

    def _show(self, record: dict) -> None:
        """Write an epoch's curves for TensorBoard, and print a line."""
        with self._tensorboard.as_default(step=len(self.records)):
            for name in CURVES:
                if record[name] is not None:
                    tf.summary.scalar(name, record[name])
        self._tensorboard.flush()
        total = sum(stage.epochs for stage in self.data.recipe.stages)
        reliable = record["kl_reliable"]
        second = "" if reliable is None else f", ≥{RELIABLE_VOTES} votes {reliable:.3f}"
        print(
            f"fold {self.data.fold}  epoch {record['epoch'] + 1:>2}/{total}  "
            f"loss {record['loss']:.3f}  held-out KL {record['kl_all']:.3f}{second}  "
            f"{record['windows_per_second']:.0f} windows/s",
            flush=True,
        )


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Translate numpy's errors about a damaged file of a fold into an `InputError`."""
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
        remedy = f"remove {path.parent} to train the fold again"
        raise InputError(f"{path}: damaged ({one_line(error)}); {remedy}") from None


def _numbered(saved: np.lib.npyio.NpzFile, name: str) -> list[np.ndarray]:
    count = sum(key.startswith(name) for key in saved.files)
    return [saved[f"{name}{i}"] for i in range(count)]
