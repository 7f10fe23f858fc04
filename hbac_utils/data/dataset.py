"""From the store to ready batches: which windows, in which order, moved and mixed how.

A training step's batch is a pure function of (recipe seed, stage, step), so a run can be
repeated, or taken up in the middle, to the same numbers.
"""

from functools import lru_cache

import numpy as np

from hbac_utils.data.layout import SAMPLING_RATE, SPECTROGRAM_ROWS, WINDOW_SAMPLES
from hbac_utils.data.store import Store
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS, vote_fractions
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Recipe
from hbac_utils.utils.backend import tf
from hbac_utils.utils.errors import InputError

SHAPES = {"eeg": (WINDOW_SAMPLES, len(ELECTRODES)), "spectrogram": (SPECTROGRAM_ROWS, 400)}
"""Shape of one window of each input: EEG (time, electrode), spectrogram (time, frequency)."""

FULL_WEIGHT_VOTES = 20
"""With ``weight: votes`` a window of this many votes has weight one."""

PARALLEL = 2  # batches made at a time, and made ahead


class TrainingWindows:
    """The batches of one stage of training.

    An epoch shows one window of each (EEG, vote vector) group, chosen anew, in a new order:
    a long recording with hundreds of windows counts as often as a short one.

    Parameters
    ----------
    store : Store
    rows : array of int
        Positions in ``store.windows`` that may be used.
    recipe : Recipe
    stage : int
        Which of the recipe's stages.
    votes : array, shape (windows of the store, 6), optional
        In the place of the store's.

    Raises
    ------
    InputError
        If no window has the votes that the stage asks for.
    """

    def __init__(
        self,
        store: Store,
        rows: np.ndarray,
        recipe: Recipe,
        stage: int,
        votes: np.ndarray | None = None,
    ):
        self.recipe, self.stage_index, self.stage = recipe, stage, recipe.stages[stage]
        table = store.windows.iloc[rows]
        enough = (table["total_votes"] >= self.stage.min_votes).to_numpy()
        if not enough.any():
            raise InputError(
                f"stages.{stage}: no training window has {self.stage.min_votes} votes or more; "
                "lower min_votes"
            )
        self.rows = np.asarray(rows)[enough]
        self._readers = [_Reader(store, name) for name in recipe.inputs]
        self._votes = store.windows[list(VOTE_COLUMNS)].to_numpy() if votes is None else votes
        # windows sorted by group, so that drawing one of each group is one gather
        groups = store.windows["group"].to_numpy()[self.rows]
        self._by_group = self.rows[np.argsort(groups, kind="stable")]
        _, self._first, self._count = np.unique(
            np.sort(groups, kind="stable"), return_index=True, return_counts=True
        )
        self.rows_of_epoch = lru_cache(maxsize=2)(self._draw_epoch)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return -(-len(self._count) // self.stage.batch_size)

    def dataset(self, first_epoch: int = 0) -> tf.data.Dataset:
        """Make the stage's batches from ``first_epoch`` on.

        Returns
        -------
        tf.data.Dataset
            Of (inputs, targets, weights): a dict of float16 arrays (batch, *shape of the
            input*), float32 vote fractions (batch, 6), float32 sample weights (batch,).
        """
        steps = tf.data.Dataset.range(
            first_epoch * self.steps_per_epoch, self.stage.epochs * self.steps_per_epoch
        )
        return _run_ahead(steps, self._batch)

    def _batch(self, step: tf.Tensor):
        types = [tf.float16] * len(self._readers) + [tf.float32, tf.float32, tf.float32, tf.int64]
        *inputs, targets, weights, share, partner = tf.numpy_function(self._load, [step], types)
        targets.set_shape((None, N_CLASSES))
        for vector in (weights, share, partner):
            vector.set_shape((None,))
        inputs = _named(self._readers, inputs)
        if self._mixup:
            inputs = {name: blend(value, share, partner) for name, value in inputs.items()}
        return inputs, targets, weights

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.recipe.seed, self.stage_index, *key])

    def _draw_epoch(self, epoch: int) -> np.ndarray:
        random = self._random(0, epoch)
        chosen = self._by_group[self._first + random.integers(self._count)]
        return random.permutation(chosen)

    def _load(self, step: np.int64) -> list[np.ndarray]:
        """Gather a batch; labels and weights are mixed already, the inputs not yet."""
        epoch, batch = divmod(int(step), self.steps_per_epoch)
        size = self.stage.batch_size
        rows = self.rows_of_epoch(epoch)[batch * size : (batch + 1) * size]
        shift = self._shifts(len(rows), int(step))
        inputs = [reader.read(rows, shift) for reader in self._readers]
        votes = self._votes[rows]
        targets = vote_fractions(votes).astype(np.float32)
        if self.stage.target == "consensus":
            targets = np.eye(N_CLASSES, dtype=np.float32)[targets.argmax(axis=1)]
        weights = np.ones(len(rows), np.float32)
        if self.stage.weight == "votes":
            weights = (votes.sum(axis=1) / FULL_WEIGHT_VOTES).astype(np.float32)
        share, partner = self._mixing(len(rows), int(step))
        own, other = share, 1 - share
        targets = own[:, None] * targets + other[:, None] * targets[partner]
        weights = own * weights + other * weights[partner]
        return [*inputs, targets, weights, share, partner]

    def _shifts(self, n: int, step: int) -> np.ndarray:
        reach = int(self.recipe.augment.shift * SAMPLING_RATE) if self.stage.augment else 0
        return self._random(1, step).integers(-reach, reach + 1, n)

    @property
    def _mixup(self) -> float:
        return self.recipe.augment.mixup if self.stage.augment else 0.0

    def _mixing(self, n: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw each sample's own share and the sample of the batch that gives the rest.

        Zhang et al. (2018), arXiv:1710.09412: shares are from Beta(α, α).
        """
        if not self._mixup:
            return np.ones(n, np.float32), np.arange(n)
        random = self._random(2, step)
        share = random.beta(self._mixup, self._mixup, n).astype(np.float32)
        return share, random.permutation(n)


def blend(value: tf.Tensor, share: tf.Tensor, partner: tf.Tensor) -> tf.Tensor:
    """Mix every sample of a batch with another one; a gap (NaN) in either stays a gap.

    Parameters
    ----------
    value : float16, shape (batch, time, channels)
    share : float32, shape (batch,)
        Each sample's own share.
    partner : int64, shape (batch,)
        Which sample gives the rest.

    Returns
    -------
    float16, shape (batch, time, channels)
        Computed in single precision.
    """
    # flat rows, or the loops are as short as there are channels
    mixed = _blend_rows(tf.reshape(value, (tf.shape(value)[0], -1)), share, partner)
    return tf.ensure_shape(tf.reshape(mixed, tf.shape(value)), value.shape)


# compiled, because the kernels of TensorFlow and numpy convert half precision number by number
@tf.function(jit_compile=True)
def _blend_rows(rows, share, partner):
    own = share[:, None]
    other = tf.cast(tf.gather(rows, partner), tf.float32)
    return tf.cast(own * tf.cast(rows, tf.float32) + (1 - own) * other, tf.float16)


def example_batch(store: Store, recipe: Recipe) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Take the first training batch of a recipe's first stage, over all windows.

    Returns
    -------
    inputs, targets
        As `TrainingWindows.dataset` gives them.
    """
    windows = TrainingWindows(store, np.arange(len(store.windows)), recipe, stage=0)
    inputs, targets, _ = next(iter(windows.dataset().take(1)))
    return inputs, targets


def evaluation_dataset(
    store: Store, rows: np.ndarray, inputs: tuple[str, ...], batch_size: int
) -> tf.data.Dataset:
    """Read the same windows every time: unmoved, unmixed, in the order of ``rows``.

    Returns
    -------
    tf.data.Dataset
        Of dicts of float16 arrays (batch, *shape of the input*).
    """
    readers = [_Reader(store, name) for name in inputs]

    def read(start):
        return [reader.read(rows[int(start) : int(start) + batch_size]) for reader in readers]

    def load(start):
        return _named(readers, tf.numpy_function(read, [start], [tf.float16] * len(readers)))

    return _run_ahead(tf.data.Dataset.range(0, len(rows), batch_size), load)


def _run_ahead(steps: tf.data.Dataset, load) -> tf.data.Dataset:
    batches = steps.map(load, num_parallel_calls=PARALLEL, deterministic=True)
    options = tf.data.Options()
    # there are no files to hand out: several workers share the batches instead
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    # nothing is left to tune, and the thread that tunes sleeps up to a minute: it may miss that
    # its dataset is let go, and who lets it go then waits until it wakes
    options.autotune.enabled = False
    return batches.prefetch(PARALLEL).with_options(options)


def _named(readers: list["_Reader"], values: list[tf.Tensor]) -> dict[str, tf.Tensor]:
    for reader, value in zip(readers, values, strict=True):
        value.set_shape((None, *SHAPES[reader.name]))
    return {reader.name: value for reader, value in zip(readers, values, strict=True)}


class _Reader:
    """Copies windows of one input out of a store, whole batches at a time."""

    def __init__(self, store: Store, name: str):
        table = store.windows
        self.name, self._length = name, SHAPES[name][0]
        self._array = np.asarray(getattr(store, name))  # a plain array is sliced faster
        self._start = table[f"{name}_start"].to_numpy()
        # only the EEG is moved, so only there a window may reach beyond its recording
        self._first = table["eeg_first"].to_numpy() if name == "eeg" else self._start
        self._last = table["eeg_last"].to_numpy() if name == "eeg" else self._start + self._length
        self._buffers = Buffers(SHAPES[name], np.float16)

    def read(self, rows: np.ndarray, shift: np.ndarray | int = 0) -> np.ndarray:
        """Gather windows, the EEG's moved by ``shift`` samples; beyond a recording is zero.

        Returns
        -------
        array of float16, shape (n_rows, *shape of the input*)
        """
        start = self._start[rows] + (shift if self.name == "eeg" else 0)
        begin = np.maximum(start, self._first[rows])
        end = np.maximum(np.minimum(start + self._length, self._last[rows]), begin)
        batch = self._buffers.take(len(rows))
        for window, source, stop, first in zip(batch, begin, end, begin - start, strict=True):
            last = first + stop - source
            window[:first] = 0
            window[first:last] = self._array[source:stop]
            window[last:] = 0
        return batch


ALIGNMENT = 64  # bytes; TensorFlow takes an array as it is only where it is so aligned
SPARE = 8  # buffers kept for later; a pipeline has about five batches in flight


class Buffers:
    """Hands out arrays of one shape but for the first axis; memory comes back by itself.

    An array's memory is used again only when nothing refers to the array any more: neither
    Python, nor a view of it, nor a tensor that TensorFlow made of it without copying.

    Parameters
    ----------
    shape : tuple of int
        Of one sample.
    dtype : numpy dtype
    """

    def __init__(self, shape: tuple[int, ...], dtype):
        self._shape, self._dtype = shape, np.dtype(dtype)
        self._sample_bytes = self._dtype.itemsize * int(np.prod(shape))
        self._spare: list[np.ndarray] = []

    def take(self, n: int) -> np.ndarray:
        """Give an array of shape (n, *shape), aligned, its content arbitrary."""
        size = n * self._sample_bytes + ALIGNMENT
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = None
        if memory is None or len(memory) < size:
            memory = np.empty(size, np.uint8)
        return np.asarray(_Lease(memory, self._spare, (n, *self._shape), self._dtype))


class _Lease:
    """Stands behind an array as its ``base`` and gives the memory back when it dies."""

    def __init__(self, memory: np.ndarray, spare: list, shape: tuple, dtype: np.dtype):
        self._memory, self._spare = memory, spare
        address = memory.ctypes.data
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (address + -address % ALIGNMENT, False),
        }

    def __del__(self):
        if len(self._spare) < SPARE:
            self._spare.append(self._memory)
