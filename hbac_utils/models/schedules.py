"""Learning-rate schedules."""

import keras
import numpy as np

from hbac_utils.recipe import Stage


def learning_rate_schedule(
    stage: Stage, steps_per_epoch: int
) -> keras.optimizers.schedules.CosineDecay:
    """Rise linearly over the warm-up, then fall as a cosine to the final rate.

    The final rate is reached at the stage's last step exactly.

    Parameters
    ----------
    stage : Stage
    steps_per_epoch : int

    Returns
    -------
    keras.optimizers.schedules.CosineDecay
    """
    last = stage.epochs * steps_per_epoch - 1
    warmup = min(round(stage.warmup_epochs * steps_per_epoch), last)
    peak = stage.peak_learning_rate
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=stage.warmup_from if warmup else peak,
        decay_steps=max(last - warmup, 1),
        alpha=stage.final_learning_rate / peak,
        warmup_target=peak if warmup else None,
        warmup_steps=warmup,
    )


def learning_rates(stage: Stage, steps_per_epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate a stage's schedule for a plot.

    Returns
    -------
    epochs, rates : arrays of float, shape (epochs * steps_per_epoch,)
        Time in epochs from the stage's start, and the learning rate at that step.
    """
    schedule = learning_rate_schedule(stage, steps_per_epoch)
    steps = np.arange(stage.epochs * steps_per_epoch)
    return steps / steps_per_epoch, np.array([float(schedule(step)) for step in steps])
