"""From the store to ready batches: which windows, in which order, moved and mixed how.

A training step's batch is a pure function of (recipe seed, stage, step), so a run can be
repeated, or taken up in the middle, to the same numbers.
"""

from functools import lru_cache

import numpy as np

from hbac_utils.backend import tf
from hbac_utils.data.competition import SAMPLING_RATE, SPECTROGRAM_ROWS, WINDOW_SAMPLES
from hbac_utils.data.store import Store
from hbac_utils.errors import InputError
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS, vote_fractions
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import Recipe

SHAPES = {"eeg": (WINDOW_SAMPLES, len(ELECTRODES)), "spectrogram": (SPECTROGRAM_ROWS, 400)}
"""Shape of one window of each input: EEG (time, electrode), spectrogram (time, frequency)."""

FULL_WEIGHT_VOTES = 20
"""With ``weight: votes`` a window of this many votes has weight one."""


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

    Raises
    ------
    InputError
        If no window has the votes that the stage asks for.
    """

    def __init__(self, store: Store, rows: np.ndarray, recipe: Recipe, stage: int):
        self.recipe, self.stage_index, self.stage = recipe, stage, recipe.stages[stage]
        table = store.windows.iloc[rows]
        enough = (table["total_votes"] >= self.stage.min_votes).to_numpy()
        if not enough.any():
            raise InputError(
                f"stages.{stage}: no training window has {self.stage.min_votes} votes or more; "
                "lower min_votes"
            )
        self.rows = np.asarray(rows)[enough]
        self._sources = _sources(store, recipe.inputs)
        self._table = store.windows
        self._votes = store.windows[list(VOTE_COLUMNS)].to_numpy()
        # windows sorted by group, so that drawing one of each group is one gather
        groups = self._table["group"].to_numpy()[self.rows]
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
        names = self.recipe.inputs
        types = [tf.float16] * len(names) + [tf.float32, tf.float32]

        def load(step):
            *inputs, targets, weights = tf.numpy_function(self._load, [step], types)
            for name, value in zip(names, inputs, strict=True):
                value.set_shape((None, *SHAPES[name]))
            targets.set_shape((None, N_CLASSES))
            weights.set_shape((None,))
            return dict(zip(names, inputs, strict=True)), targets, weights

        batches = steps.map(load, num_parallel_calls=2, deterministic=True)
        if self.stage.augment and self.recipe.augment.mixup:
            batches = batches.enumerate(first_epoch * self.steps_per_epoch)
            batches = batches.map(self._mix, num_parallel_calls=2, deterministic=True)
        return batches.prefetch(2)

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.default_rng([self.recipe.seed, self.stage_index, *key])

    def _draw_epoch(self, epoch: int) -> np.ndarray:
        random = self._random(0, epoch)
        chosen = self._by_group[self._first + random.integers(self._count)]
        return random.permutation(chosen)

    def _load(self, step: np.int64) -> list[np.ndarray]:
        epoch, batch = divmod(int(step), self.steps_per_epoch)
        size = self.stage.batch_size
        rows = self.rows_of_epoch(epoch)[batch * size : (batch + 1) * size]
        inputs = []
        for name, array in self._sources.items():
            shift = self._shifts(len(rows), int(step)) if name == "eeg" else 0
            inputs.append(_gather(array, self._table, rows, name, shift))
        votes = self._votes[rows]
        weights = np.ones(len(rows), np.float32)
        if self.stage.weight == "votes":
            weights = (votes.sum(axis=1) / FULL_WEIGHT_VOTES).astype(np.float32)
        return [*inputs, vote_fractions(votes).astype(np.float32), weights]

    def _shifts(self, n: int, step: int) -> np.ndarray:
        reach = int(self.recipe.augment.shift * SAMPLING_RATE) if self.stage.augment else 0
        return self._random(1, step).integers(-reach, reach + 1, n)

    def _mix(self, step, batch):
        """Blend every sample with another of its batch by a share of its own.

        Zhang et al. (2018), arXiv:1710.09412. The share is drawn from Beta(α, α) as a ratio of
        two gamma variables; one share a sample, the same for input, target and weight.
        """
        inputs, targets, weights = batch
        n = tf.shape(targets)[0]
        seed = tf.stack([self.recipe.seed * 1_000 + self.stage_index, tf.cast(step, tf.int32)])
        alpha = self.recipe.augment.mixup
        gamma = tf.random.stateless_gamma((2, n), seed, alpha)
        share = gamma[0] / tf.maximum(gamma[0] + gamma[1], 1e-20)
        partner = tf.argsort(tf.random.stateless_uniform((n,), seed + 1))

        def blend(value):
            own = tf.reshape(share, (n, *[1] * (value.shape.rank - 1)))
            value32 = tf.cast(value, tf.float32)
            mixed = own * value32 + (1 - own) * tf.gather(value32, partner)
            return tf.cast(mixed, value.dtype)

        mixed = {name: blend(value) for name, value in inputs.items()}
        return mixed, blend(targets), blend(weights)


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
    sources = _sources(store, inputs)

    def read(start):
        part = rows[int(start) : int(start) + batch_size]
        return [_gather(array, store.windows, part, name) for name, array in sources.items()]

    def load(start):
        values = tf.numpy_function(read, [start], [tf.float16] * len(inputs))
        for name, value in zip(inputs, values, strict=True):
            value.set_shape((None, *SHAPES[name]))
        return dict(zip(inputs, values, strict=True))

    starts = tf.data.Dataset.range(0, len(rows), batch_size)
    return starts.map(load, num_parallel_calls=2, deterministic=True).prefetch(2)


def _sources(store: Store, inputs: tuple[str, ...]) -> dict[str, np.ndarray]:
    return {name: getattr(store, name) for name in inputs}


def _gather(array, table, rows, name, shift=0) -> np.ndarray:
    """Copy windows out of a store's array; what a shift leaves open at an edge is zero."""
    length = SHAPES[name][0]
    starts = table[f"{name}_start"].to_numpy()[rows] + shift
    batch = np.empty((len(rows), *SHAPES[name]), np.float16)
    if not np.any(shift):
        for i, start in enumerate(starts):
            batch[i] = array[start : start + length]
        return batch
    first = table[f"{name}_first"].to_numpy()[rows]
    last = table[f"{name}_last"].to_numpy()[rows]
    for i, start in enumerate(starts):
        begin, end = max(start, first[i]), min(start + length, last[i])
        batch[i, : begin - start] = 0
        batch[i, begin - start : end - start] = array[begin:end]
        batch[i, end - start :] = 0
    return batch
