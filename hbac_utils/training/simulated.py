"""Training batches mixed from simulated components, beside those of `data.dataset`.

Held out and scored are windows of the store, as in every training. Only the training windows are
simulated, so a run on the store of a real competition shows what the simulation teaches.
"""

from functools import cached_property

import numpy as np

from hbac_utils.data.dataset import SHAPES, FoldData, prefetched
from hbac_utils.data.store import Store
from hbac_utils.labels import N_CLASSES, vote_fractions
from hbac_utils.recipe import Recipe, Simulated
from hbac_utils.synthetic import raters
from hbac_utils.synthetic.components import UNIT, open_components
from hbac_utils.synthetic.mixtures import Mixed, Mixtures
from hbac_utils.utils.backend import tf


def fold_data(store: Store, recipe: Recipe, fold: int) -> FoldData:
    """Make the data of a fold: windows of the store, or mixtures if the recipe says so."""
    simulated = recipe.data.simulated
    if simulated is None:
        return FoldData(store, recipe, fold)
    return SimulatedData(store, recipe, fold, simulated)


class SimulatedData(FoldData):
    """A fold whose training windows are mixtures of components; see `FoldData`."""

    def __init__(self, store: Store, recipe: Recipe, fold: int, settings: Simulated):
        super().__init__(store, recipe, fold)
        self._settings = settings

    @cached_property
    def mixtures(self) -> Mixtures:
        """The mixtures; their components are rendered the first time, and kept beside the store."""
        count, seed = self._settings.components, self._settings.seed
        place = self.store.path.with_name(f"components-{count}-{seed}")
        components = open_components(place, count, seed, self.recipe.data.band)
        return Mixtures(components, self.recipe.data.clip)

    def steps_per_epoch(self, stage: int) -> int:
        """Return the number of batches in an epoch."""
        return max(1, self._settings.windows // self.recipe.stages[stage].batch_size)

    def windows_per_epoch(self, stage: int) -> int:
        """Return the number of windows in an epoch."""
        return self.steps_per_epoch(stage) * self.recipe.stages[stage].batch_size

    def rows_of_batch(self, stage: int, epoch: int, batch: int) -> np.ndarray:
        """Return no rows: the windows of a batch are in no table."""
        return np.zeros(0, np.int64)

    def training_dataset(
        self, stage: int, votes: np.ndarray | None = None, first_epoch: int = 0
    ) -> tf.data.Dataset:
        """Make the batches of a stage from ``first_epoch`` on; there are no pseudo-labels."""
        settings, steps = self.recipe.stages[stage], self.steps_per_epoch(stage)
        size = settings.batch_size

        def load(step):
            random = self._random(stage, 3, int(step))
            mixed = self.mixtures.batch(random, size)
            return mixed.eeg, self._targets(random, mixed)

        def make_batch(step):
            eeg, targets = tf.numpy_function(load, [step], [tf.int16, tf.float32])
            eeg = tf.cast(tf.cast(eeg, tf.float32) * UNIT, tf.float16)
            targets = tf.ensure_shape(targets, (size, N_CLASSES))
            return {"eeg": tf.ensure_shape(eeg, (size, *SHAPES["eeg"]))}, targets

        numbers = tf.data.Dataset.range(first_epoch * steps, settings.epochs * steps)
        return prefetched(numbers, make_batch)

    def _targets(self, random: np.random.Generator, mixed: Mixed) -> np.ndarray:
        """Return the true probabilities, or fractions of drawn votes, float32, (n, 6)."""
        total = self._settings.votes
        if not total:
            return mixed.truth
        panels = [raters.draw_panel(random, total) for _ in mixed.evidence]
        votes = raters.count_votes(mixed.evidence, panels)
        return vote_fractions(votes).astype(np.float32)
