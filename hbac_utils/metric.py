"""The competition's score: Kullback–Leibler divergence of predictions from vote fractions.

Clipping without renormalising and the tests of a valid submission are the competition's. Rows are
aligned by id instead of by position. `expert_yardstick` is what a few experts would score.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
from scipy.special import comb, rel_entr

from hbac_utils.labels import (
    N_CLASSES,
    RELIABLE_VOTES,
    VOTE_COLUMNS,
    posterior_mean,
    vote_fractions,
)
from hbac_utils.utils.errors import InputError

CLIP = 1e-15  # and 1 − CLIP: a zero where all experts voted costs 34.54 nats
FLOOR = 1e-6  # of probabilities in a logarithm: no model may rule a class out for all
RESAMPLES = 2000  # of a bootstrap


class SubmissionError(InputError):
    """A submission that the competition would refuse."""


def kl_by_class(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Compute p·ln(p/q) in nats per row and class, shapes (n, 6); q is clipped, not renormalised.

    Where p (truth) is zero the term is zero.
    """
    p = np.asarray(truth, dtype=np.float64)
    return rel_entr(p, np.clip(np.asarray(prediction, dtype=np.float64), CLIP, 1 - CLIP))


def kl_divergence(truth: np.ndarray, prediction: np.ndarray, average: str = "micro") -> float:
    """Score predictions against vote fractions, in nats; lower is better.

    Parameters
    ----------
    truth, prediction : arrays, shape (n, 6)
        The prediction may be one row, a constant prediction for all.
    average : {"micro", "macro"}
        ``micro`` (the competition's default) is the mean over rows of the row sums;
        ``macro`` the mean over classes of the column means.
    """
    terms = kl_by_class(truth, prediction)
    if average == "micro":
        return float(terms.sum(axis=1).mean())
    if average == "macro":
        return float(terms.mean(axis=0).mean())
    raise ValueError(f"average is 'micro' or 'macro', not {average!r}")


def both_scores(votes: np.ndarray, prediction: np.ndarray) -> dict[str, float | None]:
    """Compute the two reported scores: on all windows, and on those with ≥ 10 votes.

    Parameters
    ----------
    votes : array, shape (n, 6)
        One window per (EEG, vote vector): see `hbac_utils.data.store.Store.evaluation_windows`.
    prediction : array, shape (n, 6) or (6,)

    Returns ``kl_all``, and ``kl_reliable`` (None if no window has 10 votes), nats.
    """
    rows = kl_by_class(vote_fractions(votes), prediction).sum(axis=1)
    reliable = np.asarray(votes).sum(axis=1) >= RELIABLE_VOTES
    return {
        "kl_all": float(rows.mean()),
        "kl_reliable": float(rows[reliable].mean()) if reliable.any() else None,
    }


def expert_yardstick(
    votes: np.ndarray, experts: Sequence[int] = (1, 2, 3, 5), min_votes: int = RELIABLE_VOTES
) -> dict[str, float]:
    """Compute what k experts would score against the other experts' votes on the same windows.

    For each k, the votes of k experts, shrunk to the prior, predict the fractions of the remaining
    votes. The score is the mean over windows and over all choices of the k experts, by enumeration.
    The prediction is (votes of the k + prior) / (k + 1): the prior counts as one vote. It is the
    mean fractions of the other windows and of one uniform window, so no window predicts itself.

    Parameters
    ----------
    votes : array, shape (n, 6)
        Numbers of votes, one window per (EEG, vote vector).
    experts : sequence of int
        The numbers k of experts, in ascending order.
    min_votes : int
        Windows with fewer votes are left out: too few would remain as a target.

    Returns the scores in nats by name, ``"1 expert"``, ``"2 experts"`` …; empty if no window has
    enough votes, or ``votes`` are not whole numbers, such as fractions. The fewer votes remain,
    the higher is the score of the same prediction: with five of ten, by about (classes − 1) / 20
    for a window with votes on so many classes.

    References
    ----------
    Agreement of experts on such segments: Jing et al., Neurology 2023,
    doi:10.1212/WNL.0000000000201670. On their 8,571 segments with 14 votes or more of 32 experts
    the scores are 0.58, 0.47, 0.40 and 0.34 for 1, 2, 3 and 5 experts.
    """
    votes = np.asarray(votes, dtype=np.float64)
    totals = votes.sum(axis=1)
    votes = votes[(totals >= max(min_votes, max(experts) + 1)) & (votes % 1 == 0).all(axis=1)]
    if not len(votes):
        return {}
    # equal windows are scored once
    votes, windows = np.unique(votes, axis=0, return_counts=True)
    totals, fractions = votes.sum(axis=1), vote_fractions(votes)
    priors = (windows @ fractions - fractions + 1 / N_CLASSES) / windows.sum()
    scores = {}
    for k in experts:
        score = np.zeros(len(votes))
        for classes in combinations_with_replacement(range(N_CLASSES), k):
            drawn = np.bincount(classes, minlength=N_CLASSES)
            # multivariate hypergeometric; zero where a window has fewer such votes
            probability = comb(votes, drawn).prod(axis=1) / comb(totals, k)
            left = np.maximum(votes - drawn, 0) / (totals - k)[:, None]
            score += probability * kl_by_class(left, posterior_mean(drawn, priors)).sum(axis=1)
        scores[f"{k} expert{'s' * (k > 1)}"] = float(np.average(score, weights=windows))
    return scores


def worth_in_experts(score: float | None, yardstick: Mapping[str, float]) -> str:
    """Place a score on the scale of `expert_yardstick`: "better than 2 experts, worse than 3 …".

    Returns an empty text if there is no score or no yardstick.
    """
    if score is None or not yardstick:
        return ""
    names, beaten = list(yardstick), sum(score < other for other in yardstick.values())
    better = [f"better than {names[beaten - 1]}"] if beaten else []
    worse = [f"worse than {names[beaten]}"] if beaten < len(names) else []
    return ", ".join(better + worse)


def leading_calibration(votes: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """Compare the highest probability with the votes that its class got, both shape (n, 6).

    Returns means over the windows: ``predicted``, the highest probability, and ``voted``, the
    share of votes for its class. A greater ``predicted`` means overconfidence.
    """
    leading = np.arange(len(prediction)), prediction.argmax(axis=1)
    fractions = vote_fractions(votes)
    return {
        "predicted": float(prediction[leading].mean()),
        "voted": float(fractions[leading].mean()),
    }


def floored_log(probabilities: np.ndarray) -> np.ndarray:
    """Take the logarithm of probabilities, none below `FLOOR`."""
    return np.log(np.maximum(probabilities, FLOOR))


def resampled_means(losses: pd.DataFrame, patients: pd.Series) -> np.ndarray:
    """Bootstrap mean losses over patients, as windows of one patient are correlated.

    ``losses`` has a row per window and a column per prediction. Returns shape (2000, columns): all
    columns use the same resampled patients, so differences can be taken row by row.
    """
    sums = losses.groupby(patients.to_numpy()).sum().to_numpy()
    counts = patients.value_counts().sort_index().to_numpy()
    n = len(counts)
    drawn = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(float)
    return (drawn @ sums) / (drawn @ counts)[:, None]


def check_probabilities(table: pd.DataFrame, name: str) -> None:
    """Refuse a table for the reasons for which the competition refuses it.

    It holds ``eeg_id`` and the six class columns, and nothing else. Raises SubmissionError with the
    first error (columns, ids, types, range or row sums) after ``name``, usually a path.
    """
    expected = ["eeg_id", *VOTE_COLUMNS]
    if missing := [column for column in expected if column not in table]:
        raise SubmissionError(f"{name}: missing column {', '.join(missing)}; write {expected}")
    if extra := [str(column) for column in table if column not in expected]:
        raise SubmissionError(f"{name}: unknown column {', '.join(extra)}; remove it")
    ids = table["eeg_id"]
    if ids.duplicated().any():
        doubled = ids[ids.duplicated()].iloc[0]
        raise SubmissionError(
            f"{name}: eeg_id {doubled} occurs more than once; keep one row per id"
        )
    for column in VOTE_COLUMNS:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise SubmissionError(f"{name}: column {column} is not numeric")
    values = table[list(VOTE_COLUMNS)].to_numpy(dtype=np.float64)
    outside = ~((values >= 0) & (values <= 1))  # true for NaN as well
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise SubmissionError(
            f"{name}: {VOTE_COLUMNS[column]} is {values[row, column]:g} where eeg_id is "
            f"{ids.iloc[row]}; probabilities lie between 0 and 1"
        )
    sums = values.sum(axis=1)
    if not np.allclose(sums, 1):
        worst = np.argmax(np.abs(sums - 1))
        raise SubmissionError(
            f"{name}: probabilities sum to {sums[worst]:.7g} where eeg_id is "
            f"{ids.iloc[worst]}; divide each row by its sum"
        )


def aligned(
    solution: pd.DataFrame,
    submission: pd.DataFrame,
    names: tuple[str, str] = ("solution", "submission"),
) -> tuple[np.ndarray, np.ndarray]:
    """Validate both tables and bring the submission into the solution's order of ids.

    Both have ``eeg_id`` and six columns: votes or vote fractions, and probabilities; ``names`` are
    for messages. Returns truth and prediction, shape (n, 6).

    Raises
    ------
    SubmissionError
        If the submission is not valid, or its ids are not the solution's.
    InputError
        If the solution lacks a column, an id occurs twice in it, or a row has no vote.
    """
    check_probabilities(submission, names[1])
    if missing := [c for c in ("eeg_id", *VOTE_COLUMNS) if c not in solution]:
        raise InputError(f"{names[0]}: missing column {', '.join(missing)}")
    if solution["eeg_id"].duplicated().any():
        raise InputError(f"{names[0]}: eeg_id occurs more than once; keep one row per id")
    wanted, given = pd.Index(solution["eeg_id"]), pd.Index(submission["eeg_id"])
    for ids, verb, other in (
        (wanted.difference(given), "lacks", "has"),
        (given.difference(wanted), "has", "lacks"),
    ):
        if len(ids):
            raise SubmissionError(
                f"{names[1]}: {verb} {len(ids)} eeg_id that the solution {other}, for "
                f"example {ids[0]}"
            )
    try:
        truth = vote_fractions(solution[list(VOTE_COLUMNS)].to_numpy())
    except ValueError as error:
        raise InputError(f"{names[0]}: {error}") from None
    prediction = submission.set_index("eeg_id").loc[wanted, list(VOTE_COLUMNS)]
    return truth, prediction.to_numpy(dtype=np.float64)


def score(solution: pd.DataFrame, submission: pd.DataFrame, average: str = "micro") -> float:
    """Score a submission as the competition does; see `aligned` and `kl_divergence`."""
    return kl_divergence(*aligned(solution, submission), average)
