"""Learning-rate schedules, tabulated: a rate for every step, no graph involved."""

import numpy as np

from hbac_utils.recipe import Stage


def learning_rates(stage: Stage, steps_per_epoch: int) -> np.ndarray:
    """Rise linearly over the warm-up, then fall as a cosine to the final rate.

    The final rate is reached at the stage's last step exactly (Loshchilov and Hutter 2017,
    arXiv:1608.03983, without restarts).

    Parameters
    ----------
    stage : Stage
    steps_per_epoch : int

    Returns
    -------
    array of float64, shape (epochs * steps_per_epoch,)
    """
    n = stage.epochs * steps_per_epoch
    warmup = min(round(stage.warmup_epochs * steps_per_epoch), n - 1)
    peak, final = stage.peak_learning_rate, stage.final_learning_rate
    rising = np.linspace(stage.warmup_from, peak, warmup, endpoint=False)
    turn = np.linspace(0, np.pi, n - warmup)
    return np.concatenate([rising, final + (peak - final) * (1 + np.cos(turn)) / 2])
