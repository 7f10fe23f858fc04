"""Raters: how ambiguous episodes are, and how a panel of experts votes on them.

Experts follow the decision tree of `labels.DECISIONS`. Each decision is a logistic function of the
evidence: the two classes of an edge case are equally probable where it is zero. Windows that many
experts (ten or more: *reliable*) saw were selected because they are hard.
Experts agree moderately and differ by their thresholds: Jing et al. (2023), Neurology 100:e1737,
doi:10.1212/WNL.0000000000201670.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from hbac_utils.labels import CLASSES, DECISION_PATHS, DECISIONS, N_CLASSES

PANEL = 32  # experts; the most votes on a window are 28
SLOPE = 2.2  # of one expert's logistic function, per unit of evidence
DISAGREEMENT = 0.55  # standard deviation of the experts' thresholds, in units of evidence

# the experts' thresholds, the same in every competition, are added to the evidence
_THRESHOLDS = np.random.default_rng(2021).standard_normal((PANEL, len(DECISIONS)))
_THRESHOLDS = DISAGREEMENT * _THRESHOLDS - (DISAGREEMENT * _THRESHOLDS).mean(axis=0)

# how often each of the DECISIONS is the ambiguous one, if one is
AMBIGUOUS = {
    "Seizure": (0.45, 0.55, 0, 0), "LPD": (0.50, 0.06, 0.32, 0.12), "GPD": (0.54, 0.10, 0.16, 0.20),
    "LRDA": (0.52, 0.03, 0.30, 0.15), "GRDA": (0.64, 0.02, 0.18, 0.16), "Other": (1, 0, 0, 0),
}  # fmt: skip
# pattern that is nearly present in an episode of class Other
NEARLY = {"LPD": 0.22, "GPD": 0.17, "LRDA": 0.25, "GRDA": 0.29, "Seizure": 0.07}

# for windows that few (False) and many (True) experts see
SHARES = {
    False: (0.277, 0.142, 0.084, 0.043, 0.105, 0.349),
    True: (0.015, 0.236, 0.132, 0.040, 0.062, 0.515),
}  # of the classes that episodes are drawn for
TYPICAL = {False: 0.58, True: 0.28}  # share of episodes without an ambiguous decision
MARGIN = {False: (1.5, 1.2), True: (1.0, 1.0)}  # clear evidence: minimum and mean excess
DOUBT = {False: (-0.3, 1.2), True: (-0.4, 0.9)}  # range of ambiguous evidence
OTHER_DOUBT = (0.2, -0.9)  # the same for class Other
ABSENT = {False: 0.75, True: 0.45}  # share of typical Other without any pattern


class Kind(NamedTuple):
    """A kind of episode."""

    intended: str  # the class that most experts are to choose
    pattern: str  # the pattern that is present or nearest
    ambiguous: int | None  # index of the ambiguous decision


@cache
def episode_kinds(reliable: bool, balanced: bool = False) -> tuple[tuple[Kind, ...], np.ndarray]:
    """List the kinds of episodes, ordered by intended class, and their shares."""
    kinds, shares, typical = [], [], TYPICAL[reliable]
    class_shares = (1 / N_CLASSES,) * N_CLASSES if balanced else SHARES[reliable]
    for intended, share in zip(CLASSES, class_shares, strict=True):
        for pattern, part in (NEARLY if intended == "Other" else {intended: 1.0}).items():
            kinds.append(Kind(intended, pattern, None))
            shares.append(share * part * typical)
            for decision, chance in enumerate(AMBIGUOUS[intended]):
                kinds.append(Kind(intended, pattern, decision))
                shares.append(share * part * (1 - typical) * chance)
    return tuple(kinds), np.array(shares) / np.sum(shares)


def draw_evidence(rng: Generator, kind: Kind, position: float, reliable: bool) -> np.ndarray:
    """Draw an episode's evidence, shape (4,); ambiguous at a position (0 to 1) in its range."""
    minimum, excess = MARGIN[reliable]
    path = DECISION_PATHS[kind.pattern]
    answers = np.array([2 * path[name] - 1 if name in path else 0 for name in DECISIONS])
    evidence = answers * (minimum + rng.exponential(excess, len(answers)))
    evidence = np.where(answers == 0, rng.normal(0, 2.5, len(answers)), evidence)
    other = kind.intended == "Other"
    if kind.ambiguous is not None:
        doubt = np.interp(position, (0, 1), OTHER_DOUBT if other else DOUBT[reliable])
        evidence[kind.ambiguous] = answers[kind.ambiguous] * doubt
    elif other:
        evidence[0] = -rng.uniform(3, 8) if position < ABSENT[reliable] else -evidence[0]
    return evidence


def expert_probabilities(evidence: np.ndarray) -> np.ndarray:
    """Compute each expert's class probabilities, shape (..., 32, 6), from evidence (..., 4)."""
    yes = 1 / (1 + np.exp(-SLOPE * (evidence[..., None, :] + _THRESHOLDS)))
    classes = []
    for name in CLASSES:
        product = 1.0
        for decision, answer in DECISION_PATHS[name].items():
            product = product * (yes if answer else 1 - yes)[..., DECISIONS.index(decision)]
        classes.append(product)
    return np.stack(classes, axis=-1)


def class_probabilities(evidence: np.ndarray) -> np.ndarray:
    """Compute the true probabilities, shape (..., 6): the mean over the panel."""
    return expert_probabilities(evidence).mean(axis=-2)


class Panel(NamedTuple):
    """The different experts who vote on a window, and what they leave to chance."""

    experts: np.ndarray  # indices, shape (votes,)
    levels: np.ndarray  # uniform from 0 to 1, same shape: the class is where they cross its share


def draw_panel(rng: Generator, total: int) -> Panel:
    """Draw ``total`` experts."""
    return Panel(rng.permutation(PANEL)[:total], rng.random(total))


def count_votes(evidence: np.ndarray, panels: Sequence[Panel]) -> np.ndarray:
    """Count the votes of a panel on each window, shape (n, 6), from evidence (n, 4)."""
    windows = np.repeat(np.arange(len(panels)), [len(panel.experts) for panel in panels])
    experts, levels = (np.concatenate(parts) for parts in zip(*panels, strict=True))
    cumulative = expert_probabilities(evidence)[windows, experts].cumsum(axis=-1)
    choice = (levels[:, None] > cumulative[:, :-1]).sum(axis=-1)
    counts = np.bincount(N_CLASSES * windows + choice, minlength=N_CLASSES * len(panels))
    return counts.reshape(-1, N_CLASSES)
