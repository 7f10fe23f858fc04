"""Where between the patterns an episode lies: typical, half a pattern, or between two.

Two populations of windows are drawn. Those that few experts saw are mostly typical; those
that many experts saw were chosen because they are hard, and most have one question of the
terminology that can be answered either way.

References
----------
Jing et al. (2023), Neurology 100:e1737, doi:10.1212/WNL.0000000000201670: idealized
patterns, proto-patterns and edge cases.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from hbac_utils.labels import CLASSES

ANSWERS = {
    "Seizure": (1, 1, 0, 0),
    "LPD": (1, -1, 1, 1),
    "GPD": (1, -1, 1, -1),
    "LRDA": (1, -1, -1, 1),
    "GRDA": (1, -1, -1, -1),
}
"""Signs of the evidence for each of ``raters.QUESTIONS``; zero where either will do."""

DOUBTS = {
    "Seizure": (0.45, 0.55, 0.0, 0.0),
    "LPD": (0.50, 0.06, 0.32, 0.12),
    "GPD": (0.54, 0.10, 0.16, 0.20),
    "LRDA": (0.52, 0.03, 0.30, 0.15),
    "GRDA": (0.64, 0.02, 0.18, 0.16),
}
"""How often each question is the doubtful one, if one is."""

TYPICAL = {False: 0.58, True: 0.28}  # share of episodes without a doubtful question
MARGIN = {False: (1.5, 1.2), True: (1.0, 1.0)}  # least, and mean excess, where there is no doubt
DOUBT = {False: (-0.3, 1.2), True: (-0.4, 0.9)}  # range of the evidence where there is doubt
OTHER_DOUBT = (0.2, -0.9)  # the same for what is to be Other
ABSENT = {False: 0.75, True: 0.45}  # share of the typical Other in which there is no pattern
ALMOST = {"LPD": 0.22, "GPD": 0.17, "LRDA": 0.25, "GRDA": 0.29, "Seizure": 0.07}
"""What an Other that has half a pattern, or a poor one, has half of."""

INTENDED = {
    False: (0.277, 0.142, 0.084, 0.043, 0.105, 0.349),
    True: (0.015, 0.236, 0.132, 0.040, 0.062, 0.515),
}
"""Shares of the classes that most experts are to choose, for few and for many votes."""


@dataclass(frozen=True)
class Cell:
    """A part of the continuum.

    Parameters
    ----------
    intended : str
        The class that most experts are to choose.
    pattern : str
        The pattern that is there, or is nearest.
    doubtful : int or None
        Index of the question that is hard to answer.
    """

    intended: str
    pattern: str
    doubtful: int | None


@cache
def cells(reliable: bool, even: bool = False) -> tuple[tuple[Cell, ...], np.ndarray]:
    """List the cells and their shares.

    Parameters
    ----------
    reliable : bool
        Whether for windows that many experts see.
    even : bool
        Whether all classes are to be as frequent, or as they are in reality.

    Returns
    -------
    cells : tuple of Cell
        Ordered by intended class.
    shares : array of float64, shape (n_cells,)
        Their sum is one.
    """
    listed, shares = [], []
    typical = TYPICAL[reliable]
    intentions = (1 / len(CLASSES),) * len(CLASSES) if even else INTENDED[reliable]
    for intended, share in zip(CLASSES, intentions, strict=True):
        other = intended == "Other"
        for pattern, part in (ALMOST if other else {intended: 1.0}).items():
            doubts = (1, 0, 0, 0) if other else DOUBTS[pattern]
            listed += [Cell(intended, pattern, None)]
            shares += [share * part * typical]
            for question, chance in enumerate(doubts):
                listed += [Cell(intended, pattern, question)]
                shares += [share * part * (1 - typical) * chance]
    return tuple(listed), np.array(shares) / np.sum(shares)


def wanted_evidence(
    rng: np.random.Generator, cell: Cell, fraction: float, reliable: bool
) -> np.ndarray:
    """Draw an episode's place in the continuum.

    Parameters
    ----------
    rng : Generator
    cell : Cell
    fraction : float, 0 to 1
        Where in its cell the episode lies: how doubtful the doubtful question is.
    reliable : bool
        Whether many experts see it.

    Returns
    -------
    array of float64, shape (4,)
        See ``raters.evidence``.
    """
    least, excess = MARGIN[reliable]
    answers = np.array(ANSWERS[cell.pattern])
    wanted = answers * (least + rng.exponential(excess, len(answers)))
    wanted = np.where(answers == 0, rng.normal(0, 2.5, len(answers)), wanted)
    if cell.intended == "Other":
        if cell.doubtful is not None:
            wanted[0] = np.interp(fraction, (0, 1), OTHER_DOUBT)
        elif fraction < ABSENT[reliable]:
            wanted[0] = -rng.uniform(3, 8)
        else:
            wanted[0] *= -1
    elif cell.doubtful is not None:
        wanted[cell.doubtful] = np.interp(fraction, (0, 1), DOUBT[reliable])
        wanted[cell.doubtful] *= answers[cell.doubtful]
    return wanted
