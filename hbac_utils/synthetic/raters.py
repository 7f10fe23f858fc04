"""What experts call a signal: four questions, and a panel that answers them differently.

The terminology is a decision tree. Is there a pattern at all? If so, is it ictal? If not,
do the discharges stand apart (periodic) or follow each other without a gap (rhythmic)? Is
it on one side or on both? Each answer is a logistic function of something measurable in the
signal, so the probability of a class is a smooth function of the signal, and every edge case
of the real votes (Sz–LPD, LPD–LRDA, GRDA–Other, …) lies where one answer is even.

References
----------
Hirsch et al. (2021), J Clin Neurophysiol 38:1, doi:10.1097/WNP.0000000000000806: the terms;
periodic discharges above 2.5 Hz, or evolution, make a seizure; rhythmic delta ends at 4 Hz.
Jing et al. (2023), Neurology 100:e1737, doi:10.1212/WNL.0000000000201670: experts agree no
more than moderately, and differ by their thresholds for calling, not only by chance.
"""

from functools import cache

import numpy as np

from hbac_utils.labels import N_CLASSES

QUESTIONS = ("pattern", "ictal", "periodic", "lateral")

PANEL = 32  # experts in the pool; 28 votes are the most that a window has
SLOPE = 2.2  # of one expert's answer, per unit of evidence
DISAGREEMENT = 0.55  # standard deviation of experts' thresholds, in units of evidence

CONTRAST = (0.0, 3.0)  # dB at which half call a rhythmic pattern; dB per unit of evidence
SPARSE = 6.0  # dB more that discharges need, which are seldom at their peak
REGULARITY = (0.28, 0.08)  # jitter that a pattern is granted; further jitter per unit
EVOLUTION = (0.35, 0.20)  # evolution that is granted; further evolution per unit
PACE = 0.45  # octaves of frequency per unit of ictal evidence
PACE_LIMITS = (4.0, 2.5)  # Hz; rhythmic delta, periodic discharges
PERIODICITY = (0.50, 0.11)
LATERALITY = (0.40, 0.11)


def evidence(
    contrast: np.ndarray,
    irregularity: np.ndarray,
    frequency: np.ndarray,
    evolution: np.ndarray,
    periodicity: np.ndarray,
    laterality: np.ndarray,
) -> np.ndarray:
    """Weigh a signal for each of the `QUESTIONS`.

    Parameters
    ----------
    contrast : array, dB
        Peak-to-peak of the pattern over four standard deviations of the background, in the
        derivation where the pattern is largest.
    irregularity : array, fraction
        Coefficient of variation of the pattern's period.
    frequency : array, Hz
    evolution : array, 0 to 1
        How far frequency, amplitude and field change over the episode.
    periodicity : array, 0 to 1
        Share of the cycle between discharges, as it were: 0 a sinusoid, 1 a spike train.
    laterality : array, 0 to 1
        (near − far) / (near + far) of the two hemispheres' amplitudes.

    Returns
    -------
    array of float64, shape (..., 4)
        Zero where half of the panel say yes.
    """
    wander = np.maximum(0, irregularity - REGULARITY[0]) / REGULARITY[1]
    pattern = (contrast - contrast_limit(periodicity)) / CONTRAST[1] - wander
    course = np.maximum(0, evolution - EVOLUTION[0]) / EVOLUTION[1]
    ictal = np.log2(frequency / pace_limit(periodicity)) / PACE + course
    periodic = (periodicity - PERIODICITY[0]) / PERIODICITY[1]
    lateral = (laterality - LATERALITY[0]) / LATERALITY[1]
    return np.stack(np.broadcast_arrays(pattern, ictal, periodic, lateral), axis=-1)


def contrast_limit(periodicity: np.ndarray) -> np.ndarray:
    """Give the contrast (dB) above which a regular pattern is seen."""
    return CONTRAST[0] + SPARSE * periodicity


def pace_limit(periodicity: np.ndarray) -> np.ndarray:
    """Give the frequency (Hz) above which a steady pattern counts as a seizure."""
    rhythmic, periodic = PACE_LIMITS
    return rhythmic * (periodic / rhythmic) ** periodicity


@cache
def panel() -> np.ndarray:
    """Give the experts' thresholds, the same in every competition.

    Returns
    -------
    array of float64, shape (PANEL, 4)
        Added to the evidence: positive for over-callers. The mean is zero.
    """
    offsets = DISAGREEMENT * np.random.default_rng(2021).standard_normal((PANEL, len(QUESTIONS)))
    return offsets - offsets.mean(axis=0)


def expert_probabilities(weighed: np.ndarray) -> np.ndarray:
    """Compute how each expert would vote.

    Parameters
    ----------
    weighed : array, shape (..., 4)
        See `evidence`.

    Returns
    -------
    array of float64, shape (..., PANEL, 6)
        In the order of the classes; rows sum to one.
    """
    yes = 1 / (1 + np.exp(-SLOPE * (weighed[..., None, :] + panel())))
    pattern, ictal, periodic, lateral = np.moveaxis(yes, -1, 0)
    steady = pattern * (1 - ictal)
    classes = (
        pattern * ictal,
        steady * periodic * lateral,
        steady * periodic * (1 - lateral),
        steady * (1 - periodic) * lateral,
        steady * (1 - periodic) * (1 - lateral),
        1 - pattern,
    )
    return np.stack(classes, axis=-1)


def probabilities(weighed: np.ndarray) -> np.ndarray:
    """Average the panel: the true probabilities, to which votes converge.

    Parameters
    ----------
    weighed : array, shape (..., 4)

    Returns
    -------
    array of float64, shape (..., 6)
    """
    return expert_probabilities(weighed).mean(axis=-2)


def vote(rng: np.random.Generator, weighed: np.ndarray, total: int) -> np.ndarray:
    """Let ``total`` experts of the panel, each drawn once, vote on one window.

    Parameters
    ----------
    rng : Generator
    weighed : array, shape (4,)
    total : int
        At most ``PANEL``.

    Returns
    -------
    array of int64, shape (6,)
        Their sum is ``total``; their expectation is ``total`` × `probabilities`.
    """
    experts = rng.permutation(PANEL)[:total]
    cumulative = expert_probabilities(weighed)[experts].cumsum(axis=-1)
    choice = (rng.random(total)[:, None] > cumulative[:, :-1]).sum(axis=-1)
    return np.bincount(choice, minlength=N_CLASSES)
