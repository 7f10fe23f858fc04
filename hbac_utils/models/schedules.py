"""Learning rate of every step of a training stage."""

import numpy as np

from hbac_utils.recipe import Stage


def learning_rates(stage: Stage, steps_per_epoch: int) -> np.ndarray:
    """Linear warm-up, then cosine decay that reaches the final rate at the last step.

    The same as Keras' ``CosineDecay``, in double precision; shape (epochs * steps_per_epoch,).
    """
    n = stage.epochs * steps_per_epoch
    warmup = min(round(stage.warmup_epochs * steps_per_epoch), n - 1)
    peak, final = stage.peak_learning_rate, stage.final_learning_rate
    rising = np.linspace(stage.warmup_from, peak, warmup, endpoint=False)
    angle = np.linspace(0, np.pi, n - warmup)
    return np.concatenate([rising, final + (peak - final) * (1 + np.cos(angle)) / 2])
