"""Occlusion: what is hidden, and that the importance is found where it is."""

import numpy as np

from hbac_utils.data.layout import SEGMENT, WINDOW_SAMPLES
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, ELECTRODES, MIDLINE, derivation_matrix
from hbac_utils.recording.occlusion import PARTS, importance, occluded_windows


def test_a_hidden_chain_is_interpolated_for_its_second():
    rng = np.random.default_rng(0)
    eeg = rng.normal(0, 30, (WINDOW_SAMPLES, 19)).astype(np.float32)
    windows = occluded_windows(eeg)
    assert windows.shape == (51, WINDOW_SAMPLES, 19)
    np.testing.assert_array_equal(windows[0], eeg)
    right_lateral = PARTS.index("RL")
    hidden = windows[1 + 10 * right_lateral + 3]
    second = slice(SEGMENT.start + 3 * 200 + 15, SEGMENT.start + 4 * 200 - 15)
    traces = hidden @ derivation_matrix(DOUBLE_BANANA)
    columns = [DOUBLE_BANANA.index(name) for name in CHAINS["RL"]]
    ends = (eeg[:, ELECTRODES.index("Fp2")] - eeg[:, ELECTRODES.index("O2")])[second] / 4
    for column in columns:
        np.testing.assert_allclose(traces[second, column], ends, atol=1e-3)
    others = [i for i, name in enumerate(ELECTRODES) if name not in ("F8", "T4", "T6")]
    np.testing.assert_array_equal(hidden[:, others], eeg[:, others])
    outside = np.r_[: second.start - 40, second.stop + 40 : WINDOW_SAMPLES]
    np.testing.assert_array_equal(hidden[outside], eeg[outside])


def test_the_hidden_midline_is_the_mean_of_its_neighbours():
    eeg = np.zeros((WINDOW_SAMPLES, 19), np.float32)
    eeg[:, ELECTRODES.index("C3")], eeg[:, ELECTRODES.index("C4")] = 10, 30
    eeg[:, ELECTRODES.index("Cz")] = 99
    hidden = occluded_windows(eeg)[1 + 10 * PARTS.index("midline")]
    middle = hidden[SEGMENT.start + 100] @ derivation_matrix(MIDLINE)
    assert middle.tolist() == [-20, 20]


def test_importance_is_where_the_prediction_depends_on_the_signal():
    """A detector of F7 between the fourth and the fifth second finds its own place."""
    eeg = np.zeros((WINDOW_SAMPLES, 19), np.float32)
    place = slice(SEGMENT.start + 800, SEGMENT.start + 1000)
    eeg[place, ELECTRODES.index("F7")] = 50
    windows = occluded_windows(eeg)
    seen = windows[:, place, ELECTRODES.index("F7")].mean(axis=1) / 50
    probabilities = np.full((len(windows), 6), 0.1)
    probabilities[:, 1] = 0.1 + 0.8 * seen
    found = importance(probabilities / probabilities.sum(axis=1, keepdims=True))
    assert found.shape == (5, 10)
    assert np.unravel_index(found.argmax(), found.shape) == (PARTS.index("LL"), 4)
    assert found.max() > 1
    others = found.copy()
    others[PARTS.index("LL"), 3:6] = 0
    np.testing.assert_allclose(others, 0, atol=1e-6)
