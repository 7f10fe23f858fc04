"""Watching a fold while it trains: scores, history, the best epoch, and what goes wrong."""

import json
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from hbac_utils.data.dataset import TrainingWindows, evaluation_dataset
from hbac_utils.data.store import Store
from hbac_utils.labels import RELIABLE_VOTES, VOTE_COLUMNS
from hbac_utils.metric import both_scores
from hbac_utils.training.runs import STOP, read_history
from hbac_utils.training.state import Workbench
from hbac_utils.utils.backend import keras, tf
from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.files import replacing

EVALUATION_BATCH = 64
SHOWN = 8  # label ids in a message

CURVES = ("loss", "kl_all", "kl_reliable", "learning_rate")
"""Columns of the history that TensorBoard shows, too."""


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


class Watch(keras.callbacks.Callback):
    """Scores the held-out windows after each epoch and keeps all that a fold needs to go on.

    Parameters
    ----------
    bench : Workbench
    store : Store
    rows : array of int
        Positions of the held-out evaluation windows.
    fold : int
    folder : Path
        Of the fold: ``history.csv`` and ``progress.npz`` are rewritten after each epoch,
        ``tensorboard`` holds the same curves for TensorBoard.
    deadline : float, optional
        Time of `time.monotonic` after which no further epoch is begun that might not end.
    on_epoch : callable, optional
        Called after each epoch with the histories of all the run's folds so far.
    """

    def __init__(
        self,
        bench: Workbench,
        store: Store,
        rows: np.ndarray,
        fold: int,
        folder: Path,
        deadline: float | None = None,
        on_epoch: Callable[[pd.DataFrame], None] | None = None,
    ):
        super().__init__()
        self.bench, self.recipe, self.store = bench, bench.recipe, store
        self.rows, self.fold, self.folder, self.deadline = rows, fold, folder, deadline
        self.on_epoch = on_epoch
        self.votes = store.windows[list(VOTE_COLUMNS)].to_numpy()[rows]
        self.dataset = evaluation_dataset(store, rows, self.recipe.inputs, EVALUATION_BATCH)
        self.records: list[dict] = []
        self.best_score = np.inf
        self.best_weights: list[np.ndarray] = []
        self.best_prediction = self.last_prediction = np.zeros((0, 0))
        self.out_of_time = False
        self._board = Board(folder / "tensorboard")

    @property
    def history(self) -> pd.DataFrame:
        """A row per epoch so far."""
        return pd.DataFrame(self.records)

    def begin_stage(self, windows: TrainingWindows) -> None:
        """Say which stage the coming epochs belong to."""
        self.stage, self.windows = windows.stage_index, windows

    def on_epoch_begin(self, epoch, logs=None):
        """Start the clock."""
        self.epoch, self.begun = epoch, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        """Stop at the first loss that is not a number, naming the windows."""
        if not np.isfinite(logs["loss"]):
            size = self.windows.stage.batch_size
            rows = self.windows.rows_of_epoch(self.epoch)[batch * size : (batch + 1) * size]
            ids = self.store.windows["label_id"].to_numpy()[rows]
            more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
            raise InputError(
                f"fold {self.fold}, stage {self.stage}, epoch {self.epoch}, step {batch}: the loss "
                f"is {logs['loss']}; lower the learning rate, or look at the windows with label_id "
                f"{', '.join(map(str, ids[:SHOWN]))}{more}"
            )

    def on_epoch_end(self, epoch, logs=None):
        """Predict, score, remember, report."""
        trained = time.monotonic() - self.begun
        scores = self._evaluate()
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
                "seconds": time.monotonic() - self.begun,
            }
        )
        self.save()
        self._report()
        if self.on_epoch:
            self.on_epoch(read_history(self.folder.parent))
        if (self.folder.parent / STOP).exists():
            self.out_of_time = self.model.stop_training = True
        slowest = max(record["seconds"] for record in self.records)
        if self.deadline is not None and time.monotonic() + slowest > self.deadline:
            self.out_of_time = self.model.stop_training = True

    def _evaluate(self) -> dict[str, float | None]:
        with self.bench.averaged():
            self.last_prediction = self.model.predict(self.dataset, verbose=0)
            if not np.isfinite(self.last_prediction).all():
                raise InputError(
                    f"fold {self.fold}, stage {self.stage}, epoch {self.epoch}: predictions are no "
                    "longer finite; lower the learning rate"
                )
            scores = both_scores(self.votes, self.last_prediction)
            # with few or no reliable windows in the fold, all of them have to do
            score = scores["kl_all"] if scores["kl_reliable"] is None else scores["kl_reliable"]
            if score < self.best_score:
                self.best_score = score
                self.best_weights = self.model.get_weights()
                self.best_prediction = self.last_prediction
        return scores

    def save(self) -> None:
        """Write the history, and all that is needed to go on from here after a kill."""
        with replacing(self.folder / "history.csv") as file:
            self.history.to_csv(file, index=False)
        arrays = {f"state{i}": array for i, array in enumerate(self.bench.state())}
        arrays |= {f"weight{i}": array for i, array in enumerate(self.best_weights)}
        records = json.dumps({"records": self.records, "best_score": self.best_score})
        with replacing(self.folder / "progress.npz") as file:
            np.savez(
                file,
                records=np.array(records),
                best_prediction=self.best_prediction,
                last_prediction=self.last_prediction,
                **arrays,
            )
        self._board.add(len(self.records), {name: self.records[-1][name] for name in CURVES})

    def resume(self) -> list[np.ndarray] | None:
        """Take up what `save` wrote.

        Returns
        -------
        list of array or None
            The state for `Workbench.restore`; None if nothing was saved.
        """
        path = self.folder / "progress.npz"
        if not path.is_file():
            return None
        with undamaged(path), np.load(path, allow_pickle=False) as saved:
            kept = json.loads(str(saved["records"]))
            self.records, self.best_score = kept["records"], kept["best_score"]
            self.best_prediction = saved["best_prediction"]
            self.last_prediction = saved["last_prediction"]
            self.best_weights = _numbered(saved, "weight")
            return _numbered(saved, "state")

    def finish(self) -> None:
        """Remove what was kept for going on: the fold is complete."""
        (self.folder / "progress.npz").unlink(missing_ok=True)

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


@contextmanager
def undamaged(path: Path) -> Iterator[None]:
    """Read a file that a fold has kept to go on from.

    Raises
    ------
    InputError
        In the place of what numpy says of a damaged one.
    """
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: damaged ({one_line(error)}); remove {path.parent} to train the fold anew"
        ) from None


def _numbered(saved: np.lib.npyio.NpzFile, name: str) -> list[np.ndarray]:
    count = sum(key.startswith(name) for key in saved.files)
    return [saved[f"{name}{i}"] for i in range(count)]


class Board:
    """Writes scalars for TensorBoard; where it cannot, it says so once and writes no more.

    Parameters
    ----------
    folder : Path
        For the files of events.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer = self._tried(lambda: tf.summary.create_file_writer(str(folder)))

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Write the values of a step, except those that are None."""
        if self._writer is None or not self._tried(lambda: self._write(step, values)):
            self._writer = None

    def _write(self, step: int, values: Mapping[str, float | None]) -> bool:
        with self._writer.as_default():
            for name, value in values.items():
                if value is not None:
                    tf.summary.scalar(name, value, step=step)
        self._writer.flush()
        return True

    def _tried(self, action):
        try:
            return action()
        except tf.errors.OpError as error:  # a full disk, for one
            reason = error.message.partition("\n")[0]
            print(f"no curves for TensorBoard in {self._folder}: {reason}", file=sys.stderr)
            return None
