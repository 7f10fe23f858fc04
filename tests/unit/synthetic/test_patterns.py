"""Patterns and their waveforms; the background."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hbac_utils.montage import LEFT, RIGHT, derivation_matrix
from hbac_utils.synthetic.background import add_background, draw_background
from hbac_utils.synthetic.forward_model import apply_reference
from hbac_utils.synthetic.patterns import draw_episode, episode_waveforms, pattern_fields
from hbac_utils.synthetic.signals import SessionSignal

SIGNS = {
    "LPD": (2, -1, 1, 1),
    "GPD": (2, -1, 1, -1),
    "LRDA": (2, -1, -1, 1),
    "GRDA": (2, -1, -1, -1),
}


def draw(name, seed):
    return draw_episode(np.random.default_rng(seed), 3.0 * np.array(SIGNS[name]))


def simulate(name, seed, seconds=30):
    """Simulate a typical episode alone: the episode and EEG of shape (n_times, 19)."""
    episode, rng = draw(name, seed), np.random.default_rng(seed)
    waves = episode_waveforms(episode, rng, seconds, (seconds / 2 - 5, seconds / 2 + 5))
    return episode, waves.T @ apply_reference(pattern_fields(episode), "CPz")


def amplitude(eeg, derivations):
    return np.abs(eeg @ derivation_matrix(derivations)).mean()


def test_episodes_have_the_wanted_evidence_where_it_is_physiological():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wanted = np.array([3.0, rng.uniform(-1, 1), *rng.uniform(-3, 3, 2)])
        np.testing.assert_allclose(draw_episode(rng, wanted).evidence, wanted, atol=1e-9)


@pytest.mark.parametrize("name", SIGNS)
def test_only_lateralized_patterns_are_larger_on_their_side(name):
    for seed in range(8):
        episode, eeg = simulate(name, seed)
        ratio = (amplitude(eeg, RIGHT) / amplitude(eeg, LEFT)) ** episode.side
        assert ratio > 1.5 if name.startswith("L") else 0.6 < ratio < 1.7


def repetition(eeg):
    """Lag (seconds) of the largest autocorrelation of the rectified, smoothed signal."""
    trace = (eeg @ derivation_matrix(LEFT + RIGHT))[3000:9000]
    trace = trace[:, trace.std(axis=0).argmax()]
    power = gaussian_filter1d(np.maximum(trace - trace.mean(), 0), 10)
    power -= power.mean()
    own = np.fft.irfft(np.abs(np.fft.rfft(power, 2 * len(power))) ** 2)
    return (40 + own[40:500].argmax()) / 200


@pytest.mark.parametrize("name", SIGNS)
def test_steady_patterns_repeat_at_their_frequency(name):
    simulated = [simulate(name, seed, seconds=60) for seed in range(12)]
    assert all(0.4 < episode.frequency < 4 for episode, _ in simulated)  # Hz
    # jitter and drift are part of the patterns, so not every one is exact
    errors = [abs(repetition(eeg) * episode.frequency - 1) for episode, eeg in simulated]
    assert np.median(errors) < 0.15


@pytest.mark.parametrize(("accord", "lowest", "highest"), [(1.0, 1.0, 1.0), (0.3, 0.1, 0.98)])
def test_hemispheres_share_their_form_by_accord_after_a_lag(accord, lowest, highest):
    episode = replace(draw("GPD", 0), accord=accord, lag=0.03, recruitment=0, variation=0)
    near, _, far = episode_waveforms(episode, np.random.default_rng(0), 60, (25, 35))
    assert lowest <= round(np.corrcoef(near[:-6], far[6:])[0, 1], 4) <= highest


def test_background_has_its_amplitude_suppression_and_transients():
    absent = ("delta", "theta", "alpha", "beta", "suppression", "spindles", "transients")
    calm = replace(draw_background(np.random.default_rng(0)), amplitude=20.0, reactivity=0.0,
                   **dict.fromkeys(absent, 0.0))  # fmt: skip

    def rendered(**changes):
        session = SessionSignal(100, [(0, 100)])
        add_background(session, replace(calm, **changes), "CPz", np.random.default_rng(0))
        return session.to_arrays()[1][0].reshape(19, 100, 200)  # seconds

    waxing = np.exp(0.35**2)  # RMS of a log-normal envelope
    assert np.sqrt(np.square(rendered()).mean()) == pytest.approx(20 * waxing, rel=0.25)
    assert 0.3 < np.mean(rendered(suppression=0.5, floor=0.1).std(axis=(0, 2)) < 8) < 0.7
    changed = (rendered(transients=10.0) != rendered()).any(axis=(0, 2))
    assert 5 < changed.sum() < 60  # about 17 transients
