"""Datasets of a fold: training batches, with shift, CutMix and MixUp, and scored windows.

A training batch is a pure function of (recipe seed, stage, step), so a run can be repeated, or
resumed in the middle, with the same numbers.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from hbac_utils.data.layout import (
    SAMPLING_RATE,
    SEGMENT_SECONDS,
    SPECTROGRAM_ROWS,
    SPECTROGRAM_STEP,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
)
from hbac_utils.data.splits import patient_folds
from hbac_utils.data.store import Store
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS, posterior_mean, vote_fractions
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Recipe
from hbac_utils.utils.backend import tf
from hbac_utils.utils.errors import InputError

# shape of one window of each input: (time, electrode or frequency)
SHAPES = {"eeg": (WINDOW_SAMPLES, len(ELECTRODES)), "spectrogram": (SPECTROGRAM_ROWS, 400)}
STEP_SECONDS = {"eeg": 1 / SAMPLING_RATE, "spectrogram": SPECTROGRAM_STEP}
FULL_WEIGHT_VOTES = 20  # with ``weight: votes``, a window with so many votes has weight one
EVALUATION_BATCH = 64
ALIGNMENT = 64  # bytes, of TensorFlow's memory
PARALLEL = 2  # batches made at a time, and made ahead


class FoldData:
    """The windows of one fold and the datasets made from them.

    An epoch uses one random window of each (EEG, vote vector) group, in random order, so a long
    recording with hundreds of windows counts as often as a short one.

    ``fold`` is held out; without one, all windows are for training. Raises InputError if the
    data has fewer patients than folds, or no window has the votes that a stage requires.
    """

    def __init__(self, store: Store, recipe: Recipe, fold: int | None = None):
        self.store, self.recipe, self.fold = store, recipe, fold
        windows, middle = store.windows, store.evaluation_windows()
        held_out = np.zeros(len(windows), bool)
        if fold is not None:
            folds = patient_folds(windows, recipe.data.folds, recipe.seed)
            if fold not in range(recipe.data.folds):
                raise InputError(
                    f"fold {fold} does not exist; the recipe has 0–{recipe.data.folds - 1}"
                )
            held_out = folds == fold
        # rows of store.windows; middle windows are one of each group
        self.training = np.flatnonzero(~held_out)
        self.training_middle = middle[~held_out[middle]]
        self.evaluation = middle[held_out[middle]]  # scored
        self.votes = windows[list(VOTE_COLUMNS)].to_numpy()  # (windows of the store, 6)
        self._groups = [self._group(stage) for stage in range(len(recipe.stages))]
        self.rows_of_epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def _group(self, stage: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sort a stage's windows by group; returns rows, and each group's start and size."""
        least = self.recipe.stages[stage].min_votes
        rows = self.training[self.votes[self.training].sum(axis=1) >= least]
        if not len(rows):
            raise InputError(
                f"stages.{stage}: no training window has {least} votes or more; lower min_votes"
            )
        groups = self.store.windows["group"].to_numpy()[rows]
        order = np.argsort(groups, kind="stable")
        _, first, count = np.unique(groups[order], return_index=True, return_counts=True)
        return rows[order], first, count

    def steps_per_epoch(self, stage: int) -> int:
        """Return the number of batches in an epoch; the last one may be smaller."""
        _, first, _ = self._groups[stage]
        return -(-len(first) // self.recipe.stages[stage].batch_size)

    def windows_per_epoch(self, stage: int) -> int:
        """Return the number of windows in an epoch: one of each group."""
        return len(self._groups[stage][1])

    def _draw_epoch(self, stage: int, epoch: int) -> np.ndarray:
        rows, first, count = self._groups[stage]
        random = self._random(stage, 0, epoch)
        return random.permutation(rows[first + random.integers(count)])

    def rows_of_batch(self, stage: int, epoch: int, batch: int) -> np.ndarray:
        """Rows of the windows in a training batch."""
        size = self.recipe.stages[stage].batch_size
        return self.rows_of_epoch(stage, epoch)[batch * size : (batch + 1) * size]

    def training_dataset(
        self, stage: int, votes: np.ndarray | None = None, first_epoch: int = 0
    ) -> tf.data.Dataset:
        """Make the batches of a stage from ``first_epoch`` on.

        ``votes``, shape (windows of the store, 6), are pseudo-labels in place of the store's
        votes. Batches are (inputs, targets, weights): a dict of float16 arrays (batch, *shape of
        the input*), float32 vote fractions (batch, 6), float32 sample weights (batch,).
        """
        readers = [_Reader(self.store, name) for name in self.recipe.inputs]
        votes = self.votes if votes is None else votes
        settings, augment = self.recipe.stages[stage], self.recipe.augment
        mixup = augment.mixup if settings.augment else 0.0
        cutmix = augment.cutmix if settings.augment else 0.0
        reach = int(augment.shift * SAMPLING_RATE) if settings.augment else 0
        context = int(augment.context_shift * SAMPLING_RATE) if settings.augment else 0
        names = self.recipe.inputs
        steps = self.steps_per_epoch(stage)
        in_order, first, _ = self._groups[stage]
        prior = vote_fractions(votes[in_order[first]]).mean(axis=0)

        def load(step):
            """Gather a batch; labels and weights are mixed here, the inputs after it."""
            epoch, batch = divmod(int(step), steps)
            rows = self.rows_of_batch(stage, epoch, batch)
            shift = self._random(stage, 1, int(step)).integers(-reach, reach + 1, len(rows))
            around = self._random(stage, 5, int(step)).integers(-context, context + 1, len(rows))
            inputs = [reader.read(rows, shift + around) for reader in readers]
            if context and "eeg" in names:
                eeg = inputs[names.index("eeg")]
                for window, samples in zip(eeg, around, strict=True):
                    window[:] = np.roll(window, samples, axis=0)
            targets = posterior_mean(votes[rows], prior, settings.smoothing).astype(np.float32)
            if settings.target == "consensus":
                targets = np.eye(N_CLASSES, dtype=np.float32)[targets.argmax(axis=1)]
            weights = np.ones(len(rows), np.float32)
            if settings.weight in ("votes", "root"):
                weights = (votes[rows].sum(axis=1) / FULL_WEIGHT_VOTES).astype(np.float32)
                weights = np.sqrt(weights) if settings.weight == "root" else weights
            elif settings.weight != "none":
                weights = weights_of(settings.weight, self.votes[rows].sum(axis=1))
            if cutmix:
                begin, end, partner = self._cuts(stage, int(step), len(rows), cutmix)
                inputs = [
                    paste(values, begin, end, partner, STEP_SECONDS[reader.name])
                    for reader, values in zip(readers, inputs, strict=True)
                ]
                share = 1 - labelled_share(begin, end)
                targets = share[:, None] * targets + (1 - share)[:, None] * targets[partner]
                weights = share * weights + (1 - share) * weights[partner]
            share, partner = self._mixing(stage, int(step), len(rows), mixup)
            targets = share[:, None] * targets + (1 - share)[:, None] * targets[partner]
            weights = share * weights + (1 - share) * weights[partner]
            return [*inputs, targets, weights, share, partner]

        def make_batch(step):
            types = [tf.float16] * len(readers) + [tf.float32, tf.float32, tf.float32, tf.int64]
            *inputs, targets, weights, share, partner = tf.numpy_function(load, [step], types)
            targets.set_shape((None, N_CLASSES))
            for vector in (weights, share, partner):
                vector.set_shape((None,))
            inputs = _named(readers, inputs)
            if mixup:
                inputs = {name: mix(value, share, partner) for name, value in inputs.items()}
            return inputs, targets, weights

        numbers = tf.data.Dataset.range(first_epoch * steps, settings.epochs * steps)
        return prefetched(numbers, make_batch)

    def evaluation_dataset(self) -> tf.data.Dataset:
        """Make the batches of the held-out windows; see the function of the same name."""
        return evaluation_dataset(self.store, self.evaluation, self.recipe.inputs)

    def _random(self, stage: int, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.recipe.seed, stage, *key])

    def _mixing(self, stage: int, step: int, n: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
        """Draw each sample's own share and the sample that gives the rest (arXiv:1710.09412)."""
        if not alpha:
            return np.ones(n, np.float32), np.arange(n)
        random = self._random(stage, 2, step)
        share = random.beta(alpha, alpha, n).astype(np.float32)
        return share, random.permutation(n)

    def _cuts(
        self, stage: int, step: int, n: int, probability: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw the stretch of each sample to be replaced, and the sample that replaces it.

        Begin and end are in s from the window's middle; length and place are uniform.
        """
        random = self._random(stage, 4, step)
        length = WINDOW_SECONDS * random.random(n) * (random.random(n) < probability)
        begin = (WINDOW_SECONDS - length) * random.random(n) - WINDOW_SECONDS / 2
        return begin, begin + length, random.permutation(n)


def weights_of(table: dict[int, float], totals: np.ndarray) -> np.ndarray:
    """Look up the weights of windows by their number of votes; float32, (windows,)."""
    limits = sorted(table)
    weights = np.array([table[limit] for limit in limits], np.float32)
    return weights[np.searchsorted(limits, totals, side="right") - 1]


def paste(
    values: np.ndarray, begin: np.ndarray, end: np.ndarray, partner: np.ndarray, step: float
) -> np.ndarray:
    """Replace a stretch of each window's time by another window's (CutMix, arXiv:1905.04899).

    ``values`` is (batch, time, channels), a sample every ``step`` s. ``begin`` and ``end`` are in s
    from the window's middle, ``partner`` is the index of the other window.
    """
    middle = values.shape[1] / 2
    first, last = (np.rint(middle + edge / step).astype(int) for edge in (begin, end))
    pasted = values.copy()
    for window, other, start, stop in zip(pasted, partner, first, last, strict=True):
        window[start:stop] = values[other, start:stop]
    return pasted


def labelled_share(begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Compute the share of the labelled segment in stretches given in s from the window's middle.

    Labels are mixed by it, not by the share of the window: experts voted on the segment, so another
    context leaves their votes as they are.
    """
    half = SEGMENT_SECONDS / 2
    inside = np.clip(end, -half, half) - np.clip(begin, -half, half)
    return (inside / SEGMENT_SECONDS).astype(np.float32)


def mix(value: tf.Tensor, share: tf.Tensor, partner: tf.Tensor) -> tf.Tensor:
    """Mix each sample of a batch with another one (MixUp), in single precision.

    ``value`` is float16, (batch, time, channels); a gap, NaN, in either sample stays a gap.
    ``share`` is each sample's own share, ``partner`` the index of the sample that gives the rest.
    """
    # flat rows, or the inner loops are only as long as the channels
    mixed = _mix_rows(tf.reshape(value, (tf.shape(value)[0], -1)), share, partner)
    return tf.ensure_shape(tf.reshape(mixed, tf.shape(value)), value.shape)


# compiled, because TensorFlow's and numpy's kernels convert half precision number by number
@tf.function(jit_compile=True)
def _mix_rows(rows, share, partner):
    own = share[:, None]
    other = tf.cast(tf.gather(rows, partner), tf.float32)
    return tf.cast(own * tf.cast(rows, tf.float32) + (1 - own) * other, tf.float16)


def evaluation_dataset(
    store: Store, rows: np.ndarray, inputs: tuple[str, ...], batch_size: int = EVALUATION_BATCH
) -> tf.data.Dataset:
    """Make batches of windows in the order of ``rows``, without shift or MixUp.

    Batches are dicts of float16 arrays (batch, *shape of the input*).
    """
    readers = [_Reader(store, name) for name in inputs]

    def load(start):
        return [reader.read(rows[int(start) : int(start) + batch_size]) for reader in readers]

    def make_batch(start):
        return _named(readers, tf.numpy_function(load, [start], [tf.float16] * len(readers)))

    return prefetched(tf.data.Dataset.range(0, len(rows), batch_size), make_batch)


def example_batch(store: Store, recipe: Recipe) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
    """Make the first training batch of a recipe's first stage, from all windows."""
    inputs, targets, _ = next(iter(FoldData(store, recipe).training_dataset(0).take(1)))
    return inputs, targets


def prefetched(numbers: tf.data.Dataset, make_batch: Callable) -> tf.data.Dataset:
    """Map numbers of batches to batches, some of them at a time and ahead of their use."""
    batches = numbers.map(make_batch, num_parallel_calls=PARALLEL, deterministic=True)
    options = tf.data.Options()
    # there are no files to shard: several workers share the batches instead
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    # nothing is tuned, and the tuning thread can delay the deletion of a dataset by a minute
    options.autotune.enabled = False
    return batches.prefetch(PARALLEL).with_options(options)


def _named(readers: list["_Reader"], values: list[tf.Tensor]) -> dict[str, tf.Tensor]:
    for reader, value in zip(readers, values, strict=True):
        value.set_shape((None, *SHAPES[reader.name]))
    return {reader.name: value for reader, value in zip(readers, values, strict=True)}


def empty_aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Allocate an array as TensorFlow aligns its own: `tf.numpy_function` copies all others."""
    size, item = int(np.prod(shape)), np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNMENT // item, dtype)
    begin = -memory.ctypes.data % ALIGNMENT // item
    return memory[begin : begin + size].reshape(shape)


class _Reader:
    """Copies windows of one input from a store, a batch at a time."""

    def __init__(self, store: Store, name: str):
        table = store.windows
        self.name, self._length = name, SHAPES[name][0]
        self._array = np.asarray(getattr(store, name))  # slices of a plain array are faster
        self._start = table[f"{name}_start"].to_numpy()
        # only the EEG is shifted, so only there a window may extend beyond its recording
        self._first = table["eeg_first"].to_numpy() if name == "eeg" else self._start
        self._last = table["eeg_last"].to_numpy() if name == "eeg" else self._start + self._length

    def read(self, rows: np.ndarray, shift: np.ndarray | int = 0) -> np.ndarray:
        """Gather windows; an EEG is moved by ``shift`` samples, with zeros beyond its recording."""
        start = self._start[rows] + (shift if self.name == "eeg" else 0)
        begin = np.maximum(start, self._first[rows])
        end = np.maximum(np.minimum(start + self._length, self._last[rows]), begin)
        batch = empty_aligned((len(rows), *SHAPES[self.name]), np.float16)
        places = zip(batch, begin.tolist(), end.tolist(), (begin - start).tolist(), strict=True)
        for window, source, stop, first in places:
            last = first + stop - source
            window[:first] = 0
            window[first:last] = self._array[source:stop]
            window[last:] = 0
        return batch
