"""The score: the competition's formula, its clipping, and what makes a submission invalid."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest

from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.metric import (
    SubmissionError,
    aligned,
    both_scores,
    check_probabilities,
    expert_yardstick,
    kl_by_class,
    kl_divergence,
    leading_calibration,
    resampled_means,
    score,
    worth_in_experts,
)
from hbac_utils.utils.errors import InputError


def random_fractions(random, n=200):
    votes = random.integers(0, 5, (n, 6)) * random.integers(0, 2, (n, 6))
    votes[:, 0] += votes.sum(axis=1) == 0
    return votes / votes.sum(axis=1, keepdims=True)


def table(rows, ids=None):
    rows = np.atleast_2d(np.asarray(rows, dtype=float))
    frame = pd.DataFrame(rows, columns=list(VOTE_COLUMNS))
    frame.insert(0, "eeg_id", range(len(rows)) if ids is None else ids)
    return frame


UNIFORM = np.full(6, 1 / 6)


def term(p: float, q: float) -> float:
    """The formula, in plain Python."""
    return p * math.log(p / min(max(q, 1e-15), 1 - 1e-15)) if p else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_random_cases_with_zeros_agree_with_the_formula(seed):
    random = np.random.default_rng(seed)
    truth, prediction = random_fractions(random, 50), random_fractions(random, 50)
    assert (truth == 0).any()
    assert (prediction == 0).any()
    expected = np.vectorize(term)(truth, prediction)
    np.testing.assert_allclose(kl_by_class(truth, prediction), expected, rtol=1e-12, atol=1e-15)
    assert kl_divergence(truth, prediction) == pytest.approx(expected.sum() / 50)
    macro = kl_divergence(truth, prediction, average="macro")
    assert macro == pytest.approx(expected.sum() / 50 / 6)


def test_a_hard_zero_on_a_sure_class_costs_34_54():
    truth = np.eye(6)[:1]
    wrong = np.eye(6)[1:2]
    assert kl_divergence(truth, wrong) == pytest.approx(34.54, abs=0.005)


def test_rows_are_aligned_by_id_and_votes_normalised():
    solution = table([[3, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 7]], ids=[10, 20])
    right = [[0.75, 0, 0, 0, 0, 0.25], [0, 0, 0, 0, 0, 1]]
    assert score(solution, table(right[::-1], ids=[20, 10])) == pytest.approx(0, abs=1e-12)
    assert score(solution, table(right, ids=[20, 10])) > 1


@pytest.mark.parametrize(
    ("off", "valid"), [(9e-6, True), (-9e-6, True), (1.1e-5, False), (-1.1e-5, False)]
)
def test_row_sums_may_be_off_by_the_competitions_tolerance(off, valid):
    row = UNIFORM.copy()
    row[0] += off
    if valid:
        check_probabilities(table([row]), "submission")
    else:
        with pytest.raises(SubmissionError, match="sum to"):
            check_probabilities(table([row]), "submission")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda t: t.drop(columns="lpd_vote"), "missing column lpd_vote"),
        (lambda t: t.drop(columns="eeg_id"), "missing column eeg_id"),
        (lambda t: t.assign(confidence=1.0), "unknown column confidence"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "occurs more than once"),
        (lambda t: t.assign(lpd_vote="high"), "lpd_vote is not numeric"),
        (lambda t: t.assign(lpd_vote=t.lpd_vote + 1, gpd_vote=t.gpd_vote - 1), "between 0 and 1"),
        (lambda t: t.assign(lpd_vote=np.nan), "between 0 and 1"),
        (lambda t: t.assign(lpd_vote=t.lpd_vote / 2), "sum to"),
    ],
)
def test_an_invalid_submission_is_refused(spoil, reason):
    with pytest.raises(SubmissionError, match=reason) as caught:
        check_probabilities(spoil(table([UNIFORM, UNIFORM])), "my.csv")
    assert "my.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ids", "reason"),
    [([1], "lacks 1 eeg_id .*example 2"), ([1, 2, 3], "has 1 eeg_id .*example 3")],
)
def test_missing_and_foreign_ids_are_refused(ids, reason):
    solution = table([[1, 0, 0, 0, 0, 0]] * 2, ids=[1, 2])
    with pytest.raises(SubmissionError, match=reason):
        aligned(solution, table([UNIFORM] * len(ids), ids=ids))


def test_a_solution_without_votes_is_refused():
    with pytest.raises(InputError, match="at least one vote"):
        aligned(table([[0] * 6]), table([UNIFORM]))


def test_both_scores_split_at_ten_votes():
    votes = np.array([[10, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 9]])
    prediction = np.array([[0.5, 0.1, 0.1, 0.1, 0.1, 0.1], UNIFORM])
    scores = both_scores(votes, prediction)
    assert scores["kl_reliable"] == pytest.approx(np.log(2))
    assert scores["kl_all"] == pytest.approx((np.log(2) + np.log(6)) / 2)
    assert both_scores(votes[1:], UNIFORM)["kl_reliable"] is None


def test_calibration_of_the_leading_class():
    votes = np.array([[3, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 2]])
    prediction = np.array([[0.9, 0.02, 0.02, 0.02, 0.02, 0.02], [0.5, 0, 0, 0.1, 0, 0.4]])
    assert leading_calibration(votes, prediction) == pytest.approx(
        {"predicted": 0.7, "voted": (3 / 4 + 0) / 2}
    )


def test_the_expert_yardstick_is_the_mean_over_all_choices_of_experts():
    votes = np.array([[7, 3, 0, 0, 0, 1], [0, 0, 10, 0, 0, 0], [7, 3, 0, 0, 0, 1], [1] * 5 + [2]])
    windows = votes[:3]  # the last one has too few votes
    fractions = windows / windows.sum(axis=1, keepdims=True)
    scores = {1: [], 3: []}
    for window in range(3):
        ballots = np.repeat(np.arange(6), windows[window])
        others = np.delete(fractions, window, axis=0)
        prior = (others.sum(axis=0) + 1 / 6) / 3
        for k, found in scores.items():
            kl = []
            for chosen in itertools.combinations(range(len(ballots)), k):
                drawn = np.bincount(ballots[list(chosen)], minlength=6)
                left = windows[window] - drawn
                predicted = (drawn + prior) / (k + 1)
                kl.append(
                    sum(term(p, q) for p, q in zip(left / left.sum(), predicted, strict=True))
                )
            found.append(np.mean(kl))
    yardstick = expert_yardstick(votes, experts=(1, 3))
    assert yardstick == pytest.approx(
        {"1 expert": np.mean(scores[1]), "3 experts": np.mean(scores[3])}
    )
    assert expert_yardstick(votes[3:]) == expert_yardstick(12 * fractions / 5) == {}


def test_a_score_lies_between_numbers_of_experts():
    yardstick = {"1 expert": 0.6, "2 experts": 0.5, "5 experts": 0.3}
    for kl, worth in (
        (0.7, "worse than 1 expert"),
        (0.55, "better than 1 expert, worse than 2 experts"),
        (0.3, "better than 2 experts, worse than 5 experts"),
        (0.2, "better than 5 experts"),
        (None, ""),
    ):
        assert worth_in_experts(kl, yardstick) == worth
    assert worth_in_experts(0.5, {}) == ""


def test_bootstrap_intervals_draw_patients_not_windows():
    """Ten equal windows per patient are as certain as one; the error is that of a mean."""
    single = pd.DataFrame({"a": np.random.default_rng(0).normal(size=40)})
    tenfold = single.loc[single.index.repeat(10)].reset_index(drop=True)
    one = resampled_means(single, pd.Series(np.arange(40)))
    ten = resampled_means(tenfold, pd.Series(np.arange(40).repeat(10)))
    np.testing.assert_allclose(one, ten)
    assert one.std() == pytest.approx(single["a"].std() / np.sqrt(40), rel=0.1)
    assert one.mean() == pytest.approx(single["a"].mean(), abs=0.02)
