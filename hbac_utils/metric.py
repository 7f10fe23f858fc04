"""The competition's score: Kullback–Leibler divergence of the votes from the prediction.

What the competition does, it does to the letter here (clipping without renormalising,
the same tests for a valid submission), but rows are aligned by id instead of by place,
and nothing is changed in the caller's tables.
"""

import numpy as np
import pandas as pd

from hbac_utils.labels import RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.utils.errors import InputError

CLIP = 1e-15
"""Predictions are clipped to [CLIP, 1 − CLIP]; a hard zero on a sure class costs 34.54."""


class SubmissionError(InputError):
    """A submission that the competition would refuse, and why."""


def kl_by_class(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Compute the terms p·ln(p/q) with the prediction clipped and not renormalised.

    Parameters
    ----------
    truth, prediction : arrays, shape (n, 6)
        Probabilities; where the truth is zero the term is zero.

    Returns
    -------
    array of float64, shape (n, 6), nats
    """
    p = np.asarray(truth, dtype=np.float64)
    q = np.clip(np.asarray(prediction, dtype=np.float64), CLIP, 1 - CLIP)
    terms = np.zeros(np.broadcast_shapes(p.shape, q.shape))
    where = np.broadcast_to(p != 0, terms.shape)
    np.divide(p, q, out=terms, where=where)
    np.log(terms, out=terms, where=where)
    return terms * p


def kl_divergence(truth: np.ndarray, prediction: np.ndarray, average: str = "micro") -> float:
    """Score predictions against vote fractions.

    Parameters
    ----------
    truth, prediction : arrays, shape (n, 6)
        The prediction may be one row, a constant prediction for all.
    average : {"micro", "macro"}
        ``micro`` (the competition's default) is the mean over rows of the row sums;
        ``macro`` the mean over classes of the column means.

    Returns
    -------
    float, nats; lower is better

    Raises
    ------
    ValueError
        If ``average`` is neither.
    """
    terms = kl_by_class(truth, prediction)
    if average == "micro":
        return float(terms.sum(axis=1).mean())
    if average == "macro":
        return float(terms.mean(axis=0).mean())
    raise ValueError(f"average is 'micro' or 'macro', not {average!r}")


def check_probabilities(table: pd.DataFrame, name: str, id_column: str = "eeg_id") -> None:
    """Refuse a table for the reasons for which the competition refuses it.

    Parameters
    ----------
    table : DataFrame
        The id column and the six class columns, and nothing else.
    name : str
        What to call the table in a message, usually its path.

    Raises
    ------
    SubmissionError
        Naming the first thing wrong: columns, ids, types, range or row sums.
    """
    expected = [id_column, *VOTE_COLUMNS]
    missing = [column for column in expected if column not in table]
    if missing:
        raise SubmissionError(f"{name}: missing column {', '.join(missing)}; write {expected}")
    extra = [str(column) for column in table if column not in expected]
    if extra:
        raise SubmissionError(f"{name}: unknown column {', '.join(extra)}; remove it")
    doubled = table[id_column][table[id_column].duplicated()]
    if len(doubled):
        raise SubmissionError(
            f"{name}: {id_column} {doubled.iloc[0]} occurs more than once; keep one row per id"
        )
    for column in VOTE_COLUMNS:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise SubmissionError(f"{name}: column {column} is not numeric")
    values = table[list(VOTE_COLUMNS)].to_numpy(dtype=np.float64)
    _check_rows(values, table[id_column].to_numpy(), name, id_column)


def _check_rows(values: np.ndarray, ids: np.ndarray, name: str, id_column: str) -> None:
    # `not (…)` so that NaN, which compares false with everything, is refused as well
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise SubmissionError(
            f"{name}: {VOTE_COLUMNS[column]} is {values[row, column]:g} where {id_column} is "
            f"{ids[row]}; probabilities lie between 0 and 1"
        )
    sums = values.sum(axis=1)
    if not np.allclose(sums, 1):
        worst = np.argmax(np.abs(sums - 1))
        raise SubmissionError(
            f"{name}: probabilities sum to {sums[worst]:.7g} where {id_column} is {ids[worst]}; "
            "divide each row by its sum"
        )


def aligned(
    solution: pd.DataFrame,
    submission: pd.DataFrame,
    id_column: str = "eeg_id",
    names: tuple[str, str] = ("solution", "submission"),
) -> tuple[np.ndarray, np.ndarray]:
    """Validate both tables and bring the submission into the solution's order of ids.

    Parameters
    ----------
    solution : DataFrame
        Id column and six columns of votes or vote fractions; votes are normalised.
    submission : DataFrame
        Id column and six columns of probabilities, in any order of rows.
    names : pair of str
        What to call the two in messages.

    Returns
    -------
    truth, prediction : arrays of float64, shape (n, 6)

    Raises
    ------
    SubmissionError
        If the submission is not valid, or its ids are not the solution's.
    InputError
        If the solution lacks a column, an id occurs twice in it, or a row has no vote.
    """
    check_probabilities(submission, names[1], id_column)
    missing = [c for c in (id_column, *VOTE_COLUMNS) if c not in solution]
    if missing:
        raise InputError(f"{names[0]}: missing column {', '.join(missing)}")
    if solution[id_column].duplicated().any():
        raise InputError(f"{names[0]}: {id_column} occurs more than once; keep one row per id")
    wanted, given = pd.Index(solution[id_column]), pd.Index(submission[id_column])
    for ids, verb in ((wanted.difference(given), "lacks"), (given.difference(wanted), "has")):
        if len(ids):
            raise SubmissionError(
                f"{names[1]}: {verb} {len(ids)} {id_column} that the solution "
                f"{'has' if verb == 'lacks' else 'lacks'}, for example {ids[0]}"
            )
    try:
        truth = vote_fractions(solution[list(VOTE_COLUMNS)].to_numpy())
    except ValueError as error:
        raise InputError(f"{names[0]}: {error}") from None
    prediction = submission.set_index(id_column).loc[wanted, list(VOTE_COLUMNS)]
    return truth, prediction.to_numpy(dtype=np.float64)


def score(solution: pd.DataFrame, submission: pd.DataFrame, average: str = "micro") -> float:
    """Score a submission as the competition does, aligned by ``eeg_id``.

    See `aligned` for the tables and the errors, `kl_divergence` for ``average``.
    """
    return kl_divergence(*aligned(solution, submission), average)


def both_scores(votes: np.ndarray, prediction: np.ndarray) -> dict[str, float | None]:
    """Compute the two scores that are always reported.

    Parameters
    ----------
    votes : array, shape (n, 6)
        One window per (EEG, vote vector), so that a long recording does not outweigh a
        hundred short ones: see `hbac_utils.data.store.Store.evaluation_windows`.
    prediction : array, shape (n, 6) or (6,)

    Returns
    -------
    dict
        ``kl_all``, and ``kl_reliable`` on windows with ≥ 10 votes (None if there are none).
    """
    truth = vote_fractions(votes)
    rows = kl_by_class(truth, prediction).sum(axis=1)
    reliable = np.asarray(votes).sum(axis=1) >= RELIABLE_VOTES
    return {
        "kl_all": float(rows.mean()),
        "kl_reliable": float(rows[reliable].mean()) if reliable.any() else None,
    }
