import numpy as np
import pytest

from hbac_utils.labels import CLASSES
from hbac_utils.synthetic.raters import class_probabilities, draw_votes, expert_probabilities

YES, NO = 8.0, -8.0  # evidence


@pytest.mark.parametrize(
    ("evidence", "name"),
    [
        ((NO, YES, YES, YES), "Other"),
        ((YES, YES, NO, NO), "Seizure"),
        ((YES, NO, YES, YES), "LPD"),
        ((YES, NO, YES, NO), "GPD"),
        ((YES, NO, NO, YES), "LRDA"),
        ((YES, NO, NO, NO), "GRDA"),
    ],
)
def test_clear_answers_follow_the_decision_tree(evidence, name):
    # is there a pattern, is it ictal, is it periodic, is it lateralized?
    assert class_probabilities(np.array(evidence))[CLASSES.index(name)] > 0.999


@pytest.mark.parametrize(
    ("pair", "evidence"),
    [
        (("LPD", "LRDA"), (YES, NO, 0, YES)),
        (("GPD", "LPD"), (YES, NO, YES, 0)),
        (("Seizure", "GRDA"), (YES, 0, NO, NO)),
        (("GRDA", "Other"), (0, NO, NO, NO)),
    ],
)
def test_edge_cases_are_where_one_question_is_undecided(pair, evidence):
    true = dict(zip(CLASSES, class_probabilities(np.array(evidence)), strict=True))
    assert true[pair[0]] == pytest.approx(0.5, abs=0.05)
    assert true[pair[1]] == pytest.approx(0.5, abs=0.05)


def test_experts_differ():
    seizure = expert_probabilities(np.zeros(4))[:, 0]
    np.testing.assert_allclose(expert_probabilities(np.zeros(4)).sum(axis=1), 1)
    assert seizure.min() < 0.1 < 0.4 < seizure.max()


def test_votes_converge_to_the_true_probabilities():
    rng = np.random.default_rng(0)
    evidence = np.array([0.5, -0.4, 0.3, 0.2])
    votes = sum(draw_votes(rng, evidence, 20) for _ in range(500))
    assert votes.sum() == 10_000
    np.testing.assert_allclose(votes / votes.sum(), class_probabilities(evidence), atol=0.02)
