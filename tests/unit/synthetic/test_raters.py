import numpy as np
import pytest

from hbac_utils.labels import CLASSES
from hbac_utils.synthetic.raters import class_probabilities, count_votes, draw_panel

YES, NO = 8.0, -8.0  # evidence that there is a pattern, is ictal, periodic, lateralized


@pytest.mark.parametrize(
    ("evidence", "names"),
    [
        ((NO, YES, YES, YES), ["Other"]),
        ((YES, YES, NO, NO), ["Seizure"]),
        ((YES, NO, YES, YES), ["LPD"]),
        ((YES, NO, YES, NO), ["GPD"]),
        ((YES, NO, NO, YES), ["LRDA"]),
        ((YES, NO, NO, NO), ["GRDA"]),
        ((YES, NO, 0, YES), ["LPD", "LRDA"]),
        ((YES, NO, YES, 0), ["GPD", "LPD"]),
        ((YES, 0, NO, NO), ["Seizure", "GRDA"]),
        ((0, NO, NO, NO), ["GRDA", "Other"]),
    ],
)
def test_probabilities_follow_the_decision_tree(evidence, names):
    true = dict(zip(CLASSES, class_probabilities(np.array(evidence)), strict=True))
    for name in names:
        assert true[name] == pytest.approx(1 / len(names), abs=0.05)


def test_votes_converge_to_the_true_probabilities():
    rng = np.random.default_rng(0)
    evidence = np.array([[0.5, -0.4, 0.3, 0.2], [-0.3, 1.0, 0.0, 0.5]])
    panels = [draw_panel(rng, total) for _ in range(500) for total in (20, 5)]
    votes = count_votes(np.tile(evidence, (500, 1)), panels).reshape(500, 2, -1)
    assert (votes.sum(axis=2) == (20, 5)).all()
    shares = votes.sum(axis=0) / [[10_000], [2_500]]
    np.testing.assert_allclose(shares[0], class_probabilities(evidence[0]), atol=0.02)
    np.testing.assert_allclose(shares[1], class_probabilities(evidence[1]), atol=0.04)
