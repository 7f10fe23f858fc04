"""The six classes: names, order, votes, and the decision tree of the terminology.

Terms follow the American Clinical Neurophysiology Society's 2021 terminology (Hirsch et al.,
doi:10.1097/WNP.0000000000000806). The order is the competition's; arrays of votes or
probabilities have it on their last axis everywhere.
"""

import numpy as np

CLASSES = ("Seizure", "LPD", "GPD", "LRDA", "GRDA", "Other")  # as in ``expert_consensus``
N_CLASSES = len(CLASSES)
PATTERNS = CLASSES[:-1]  # the harmful ones: all but Other

VOTE_COLUMNS = tuple(f"{name.lower()}_vote" for name in CLASSES)
"""Column names of votes in ``train.csv`` and of probabilities in a submission."""

RELIABLE_VOTES = 10
"""Windows with at least this many votes track the leaderboard; both scores are reported."""

DECISIONS = ("pattern", "ictal", "periodic", "lateral")
"""The terminology as a decision tree: is there a pattern, is it ictal, are its discharges
periodic (or rhythmic), is it lateralized (or generalized)?"""

DECISION_PATHS = {
    "Seizure": {"pattern": True, "ictal": True},
    "LPD": {"pattern": True, "ictal": False, "periodic": True, "lateral": True},
    "GPD": {"pattern": True, "ictal": False, "periodic": True, "lateral": False},
    "LRDA": {"pattern": True, "ictal": False, "periodic": False, "lateral": True},
    "GRDA": {"pattern": True, "ictal": False, "periodic": False, "lateral": False},
    "Other": {"pattern": False},
}
"""The decisions that lead to each class, in the order in which they are made."""


def vote_fractions(votes: np.ndarray) -> np.ndarray:
    """Normalise votes, shape (..., 6), to fractions that sum to one.

    Raises ValueError if a row has no vote or a negative one.
    """
    votes = np.asarray(votes, dtype=np.float64)
    totals = votes.sum(axis=-1, keepdims=True)
    if (votes < 0).any() or (totals <= 0).any():
        raise ValueError("every row needs at least one vote and none may be negative")
    return votes / totals


def posterior_mean(votes: np.ndarray, prior: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Shrink vote fractions to a prior that counts as so many votes.

    (votes + strength · prior) / (number of votes + strength): the mean of a Dirichlet distribution
    after the votes. ``votes`` and ``prior`` broadcast against each other, shape (..., 6).
    """
    votes = np.asarray(votes, dtype=np.float64)
    return (votes + strength * prior) / (votes.sum(axis=-1, keepdims=True) + strength)


def consensus(votes: np.ndarray) -> np.ndarray:
    """Name the class with the most votes, shape (n, 6); in a tie, the first in ``CLASSES``."""
    return np.asarray(CLASSES)[np.argmax(votes, axis=-1)]
