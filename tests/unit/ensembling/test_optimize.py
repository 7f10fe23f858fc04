"""Pools, weights and calibrations: known optima are found, a duality gap bounds the distance."""

import numpy as np
import pytest
from ensembles import simulated
from scipy.optimize import minimize
from scipy.special import softmax

from hbac_utils.ensembling.optimize import (
    Mixture,
    class_weights,
    convex_weights,
    log_weights,
    stack,
    vector_scaling,
)
from hbac_utils.ensembling.pooling import Pool, geometric_mean, mean
from hbac_utils.metric import kl_divergence


@pytest.mark.parametrize("members", [2, 30])
def test_weights_that_generated_the_truth_are_found_to_1e_6(members):
    values = simulated(4000, members)
    wanted = np.random.default_rng(members).dirichlet(np.full(members, 0.3))
    wanted[: members // 3] = 0
    wanted /= wanted.sum()
    weights, gap = convex_weights(Mixture.of(values, (values @ wanted).T))
    assert np.abs(weights - wanted).max() < 1e-6
    assert 0 <= gap < 1e-9
    assert weights.sum() == pytest.approx(1)


def test_two_members_by_hand():
    """On one class with p = (0.8, 0.2) at three quarters of the windows, else (0.2, 0.8).

    With a = 0.2 + 0.6 w the score −¾ ln a − ¼ ln(1 − a) is least at a = ¾, so w = 11/12.
    """
    values = np.zeros((6, 4, 2))
    values[0] = [[0.8, 0.2]] * 3 + [[0.2, 0.8]]
    truth = np.zeros((4, 6))
    truth[:, 0] = 1
    np.testing.assert_allclose(convex_weights(Mixture.of(values, truth))[0], [11 / 12, 1 / 12])


def test_the_gap_bounds_the_distance_from_scipys_minimum():
    values = simulated(500, 4)
    truth = np.random.default_rng(1).multinomial(12, values.mean(axis=2).T) / 12
    mixture = Mixture.of(values, truth)
    found = minimize(
        mixture.score, np.full(4, 0.25), bounds=[(0, 1)] * 4, tol=1e-12,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )  # fmt: skip
    best = mixture.score(convex_weights(mixture)[0])
    assert best == pytest.approx(found.fun, abs=1e-9)
    for tolerance in (1e-1, 1e-2, 1e-4):
        weights, gap = convex_weights(mixture, tolerance)
        assert mixture.score(weights) - best <= gap <= tolerance


def test_equal_members_and_hard_zeros_do_no_harm():
    values = simulated(800, 3)
    truth = values[:, :, 0].T
    twins = np.concatenate([values, values[:, :, :1]], axis=2)
    weights = convex_weights(Mixture.of(twins, truth))[0]
    assert weights[[0, 3]].sum() == pytest.approx(1, abs=1e-5)
    values[:, :, 2] = np.eye(6)[values[:, :, 1].argmax(axis=0)].T  # zeros where the truth is not
    weights = convex_weights(Mixture.of(values, truth))[0]
    np.testing.assert_allclose(weights, [1, 0, 0], atol=1e-6)


def test_similar_members_on_few_windows_get_weights():
    """Their Hessian is singular but for rounding, which may make an eigenvalue negative."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        base = rng.dirichlet(np.ones(6), 5).T[..., None]
        values = base * (1 + 1e-4 * rng.normal(size=(6, 5, 3)))
        values /= values.sum(axis=0)
        mixture = Mixture.of(values, np.eye(6)[rng.integers(0, 6, 5)])
        weights, gap = convex_weights(mixture)
        corners = [mixture.score(corner) for corner in np.eye(3)]
        assert mixture.score(weights) <= min(corners) + 1e-12
        assert gap < 1e-6


def test_class_weights_use_members_that_know_half_of_the_classes():
    random = np.random.default_rng(0)
    truth = random.dirichlet(np.full(6, 0.4), 3000)
    noise = random.dirichlet(np.ones(6), (2, 3000))
    first = np.where(np.arange(6) < 3, truth, noise[0])
    second = np.where(np.arange(6) < 3, noise[1], truth)
    values = np.stack([p / p.sum(axis=1, keepdims=True) for p in (first, second)], -1)
    values = values.transpose(1, 0, 2)
    common = convex_weights(Mixture.of(values, truth))[0]
    own = class_weights(values, truth, common, penalty=1e-4)
    linear = kl_divergence(truth, Pool("linear", common).predict(values))
    assert kl_divergence(truth, own.predict(values)) < 0.8 * linear
    assert (own.weights[:3, 0] > own.weights[:3, 1]).all()
    tied = class_weights(values, truth, common, penalty=1e6)
    np.testing.assert_allclose(tied.weights, np.tile(common, (6, 1)), atol=1e-4)


def test_a_linear_pool_averages_probabilities_and_a_log_pool_logarithms():
    values = np.array([[0.5, 0.2], [0.2, 0.2], [0.1, 0.2], [0.1, 0.2], [0.05, 0.1], [0.05, 0.1]])
    values = values[:, None, :]  # one window
    expected = [[0.35, 0.2, 0.15, 0.15, 0.075, 0.075]]
    np.testing.assert_allclose(mean(2).predict(values), expected)
    roots = np.sqrt([0.1, 0.04, 0.02, 0.02, 0.005, 0.005])
    np.testing.assert_allclose(geometric_mean(2).predict(values), [roots / roots.sum()])
    by_class = np.array([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)  # 0.5 0.2 0.1 0.2 0.1 0.1
    expected = np.array([[0.5, 0.2, 0.1, 0.2, 0.1, 0.1]]) / 1.2
    np.testing.assert_allclose(Pool("linear", by_class).predict(values), expected)


def test_vector_scaling_is_recovered():
    values = simulated(5000, 1, spread=0.0)
    logits = np.log(np.maximum(values[:, :, 0].T, 1e-6))
    scale, bias = np.array([0.5, 1, 1, 1, 1, 1.2]), np.array([0.4, 0, 0, 0, 0, -0.4])
    scaled = vector_scaling(mean(1), values, softmax(bias + scale * logits, axis=1))
    np.testing.assert_allclose(scaled.scale, scale, atol=0.05)
    assert abs(scaled.bias[0] - scaled.bias[5] - 0.8) < 0.1


def test_a_stack_recovers_a_log_pool_and_its_penalty_leads_to_the_geometric_mean():
    values = simulated(3000, 3)
    truth = Pool("log", np.array([0.9, 0.1, 0.2]), bias=np.linspace(-0.5, 0.5, 6)).predict(values)
    free = stack(values, truth, penalty=1e-6)
    assert kl_divergence(truth, free.predict(values)) < 1e-3
    tied = stack(values, truth, penalty=1e6)
    np.testing.assert_allclose(tied.predict(values), geometric_mean(3).predict(values), atol=1e-4)


@pytest.mark.parametrize(("votes", "tolerance"), [(0, 0.002), (12, 0.03)])
def test_log_weights_recover_the_members_weights_and_a_known_bias(votes, tolerance):
    values = simulated(4000, 3)
    weights, bias = np.array([0.6, 0.4, 0.0]), np.array([0.3, -0.1, 0, 0.2, -0.1, -0.3])
    products = (values**weights).prod(axis=2).T * np.exp(bias)
    truth = products / products.sum(axis=1, keepdims=True)
    if votes:
        truth = np.random.default_rng(0).multinomial(votes, truth) / votes
    found = log_weights(values, truth)
    np.testing.assert_allclose(found.weights, weights, atol=tolerance)
    np.testing.assert_allclose(found.bias, bias, atol=tolerance)
