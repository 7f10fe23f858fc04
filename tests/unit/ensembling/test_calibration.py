"""Pools, and what is fitted to logits: known scales, biases and coefficients are recovered."""

import numpy as np
from ensembles import simulated
from scipy.special import softmax

from hbac_utils.ensembling.calibration import stack, temperature, vector_scaling
from hbac_utils.ensembling.pooling import Pool, geometric_mean, mean
from hbac_utils.metric import kl_divergence


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


def test_temperature_and_vector_scaling_are_recovered():
    values = simulated(5000, 1, spread=0.0)
    logits = np.log(np.maximum(values[:, :, 0].T, 1e-6))
    cooled = temperature(mean(1), values, softmax(0.6 * logits, axis=1))
    np.testing.assert_allclose(cooled.scale, 0.6, atol=1e-4)
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
