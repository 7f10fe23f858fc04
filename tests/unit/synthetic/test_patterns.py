"""Patterns and their waveforms; the background."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hbac_utils.data.layout import FREQUENCIES, SAMPLING_RATE
from hbac_utils.labels import CLASSES
from hbac_utils.montage import LEFT, RIGHT, derivation_matrix
from hbac_utils.synthetic.background import add_background, draw_background
from hbac_utils.synthetic.forward_model import apply_reference
from hbac_utils.synthetic.patterns import draw_episode, pattern_fields
from hbac_utils.synthetic.raters import class_probabilities
from hbac_utils.synthetic.render import spectrogram
from hbac_utils.synthetic.signal import SessionSignal, decimate
from hbac_utils.synthetic.waveforms import episode_waveforms

EVIDENCE = {  # more than 99 % of the experts answer each question alike
    "Seizure": (6.0, 3.0, 0.0, 0.0),
    "LPD": (6.0, -3.0, 3.0, 3.0),
    "GPD": (6.0, -3.0, 3.0, -3.0),
    "LRDA": (6.0, -3.0, -3.0, 3.0),
    "GRDA": (6.0, -3.0, -3.0, -3.0),
}


def simulate(name, seed, seconds=60):
    """Draw a typical episode and simulate it without anything else, shape (n_times, 19)."""
    rng = np.random.default_rng([seed, CLASSES.index(name)])
    episode = draw_episode(rng, np.array(EVIDENCE[name]))
    fields = apply_reference(pattern_fields(episode), "CPz")
    waves = episode_waveforms(episode, rng, seconds, (seconds / 2 - 5, seconds / 2 + 5))
    return episode, 100 * waves.T @ fields


def amplitude(eeg, derivations):
    return np.abs(eeg @ derivation_matrix(derivations)).mean()


@pytest.mark.parametrize("name", EVIDENCE)
def test_experts_name_a_typical_pattern(name):
    for seed in range(20):
        episode = draw_episode(np.random.default_rng(seed), np.array(EVIDENCE[name]))
        true = class_probabilities(episode.evidence)
        assert CLASSES[int(np.argmax(true))] == name
        assert true.max() > 0.8


def test_episodes_have_the_wanted_evidence_where_it_is_physiological():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        wanted = np.array([3.0, rng.uniform(-1, 1), *rng.uniform(-3, 3, 2)])
        np.testing.assert_allclose(draw_episode(rng, wanted).evidence, wanted, atol=1e-9)


@pytest.mark.parametrize("name", ["LPD", "LRDA"])
def test_lateralized_patterns_are_on_their_side(name):
    for seed in range(8):
        episode, eeg = simulate(name, seed)
        sides = {-1: amplitude(eeg, LEFT), 1: amplitude(eeg, RIGHT)}
        assert sides[episode.side] > 1.5 * sides[-episode.side]


@pytest.mark.parametrize("name", ["GPD", "GRDA"])
def test_generalized_patterns_are_on_both_sides(name):
    for seed in range(8):
        _, eeg = simulate(name, seed)
        assert 0.6 < amplitude(eeg, LEFT) / amplitude(eeg, RIGHT) < 1.7


def test_most_grda_is_frontal():
    front, back = ("Fp1-F3", "F3-C3", "Fp2-F4", "F4-C4"), ("C3-P3", "P3-O1", "C4-P4", "P4-O2")
    eegs = [simulate("GRDA", seed, seconds=20)[1] for seed in range(30)]
    assert np.mean([amplitude(eeg, front) > amplitude(eeg, back) for eeg in eegs]) > 0.6


def repetition(eeg):
    """Lag (seconds) of the largest autocorrelation of the rectified, smoothed signal."""
    trace = (eeg @ derivation_matrix(LEFT + RIGHT))[3000:9000]
    trace = trace[:, trace.std(axis=0).argmax()]
    power = gaussian_filter1d(np.maximum(trace - trace.mean(), 0), 0.05 * SAMPLING_RATE)
    power -= power.mean()
    own = np.fft.irfft(np.abs(np.fft.rfft(power, 2 * len(power))) ** 2)
    lags = slice(int(0.2 * SAMPLING_RATE), int(2.5 * SAMPLING_RATE))
    return (lags.start + own[lags].argmax()) / SAMPLING_RATE


@pytest.mark.parametrize("name", ["LPD", "GPD", "LRDA", "GRDA"])
def test_steady_patterns_repeat_at_their_frequency(name):
    errors = []
    for seed in range(12):
        episode, eeg = simulate(name, seed)
        assert 0.4 < episode.frequency < 4  # Hz, the limit of rhythmic delta
        errors.append(abs(repetition(eeg) * episode.frequency - 1))
    # jitter and drift are part of the patterns, so not every one is exact
    assert np.median(errors) < 0.15


def test_spectrogram_peaks_at_the_frequency_of_the_pattern():
    ratios = []
    for seed in range(8):
        episode, eeg = simulate("GRDA", seed)
        slow = decimate(np.ascontiguousarray(eeg.T, dtype=np.float32))
        power = spectrogram(slow).reshape(-1, 4, 100)[8:22].mean(axis=(0, 1))
        ratios.append(FREQUENCIES[power.argmax()] / max(episode.frequency, FREQUENCIES[0]))
    assert 0.8 < np.median(ratios) < 1.2


def test_seizures_are_fast_or_evolve():
    episodes = [simulate("Seizure", seed, seconds=12)[0] for seed in range(20)]
    assert all(1.5 < episode.frequency <= 25 for episode in episodes)
    assert np.mean([episode.evolution for episode in episodes]) > 0.5


STEADY = dict.fromkeys(
    ("deformation", "variation", "waxing", "irregularity", "wobble", "trend", "growth",
     "ripening", "intermittency", "recruitment", "lag", "travel", "fast"), 0
) | {"accord": 1, "frequency": 1.0}  # fmt: skip


def steady(seed=0, **changes):
    """Simulate a minute of one discharge per second, some parameters changed."""
    rng = np.random.default_rng(seed)
    episode = replace(draw_episode(rng, np.array(EVIDENCE["GPD"])), **STEADY | changes)
    return episode_waveforms(episode, rng, 60, (25, 35))


def peaks(wave):
    return np.abs(wave[2000:-2000]).reshape(-1, SAMPLING_RATE).max(axis=1)


def test_labelled_part_has_unit_amplitude():
    assert np.ptp(steady()[0, 5000:7000]) == pytest.approx(1, abs=0.1)


def test_deformation_changes_discharges_from_cycle_to_cycle():
    spread = [np.std(p) / np.mean(p) for p in (peaks(steady(deformation=d)[0]) for d in (0, 0.4))]
    assert spread[0] < 0.1 < 0.15 < spread[1]


def test_hemispheres_share_the_form_by_accord():
    near, _, far = steady(accord=1)
    np.testing.assert_allclose(near, far, atol=1e-5)
    near, _, far = steady(accord=0.3, deformation=0.2)
    assert 0.1 < np.corrcoef(near, far)[0, 1] < 0.98


def test_lag_delays_the_other_hemisphere():
    near, _, far = steady(lag=0.03)
    np.testing.assert_allclose(far[6:], near[:-6], atol=1e-5)


def test_wobble_bends_the_evolution():
    def bend(**changes):
        size = np.log2(peaks(steady(growth=2, **changes)[0]))
        x = np.arange(len(size))
        return np.std(size - np.polyval(np.polyfit(x, size, 1), x))

    assert np.median([bend(wobble=0.5, seed=seed) for seed in range(5)]) > 2 * bend()


def test_background_has_its_amplitude_suppression_and_transients():
    absent = dict.fromkeys(
        ("delta", "theta", "alpha", "beta", "suppression", "spindles", "transients", "reactivity"),
        0,
    )
    drawn = draw_background(np.random.default_rng(0))
    calm = replace(drawn, amplitude=20.0, **absent)

    def rendered(**changes):
        session = SessionSignal(100, [(0, 100)])
        add_background(session, replace(calm, **changes), "CPz", np.random.default_rng(0))
        return session.to_arrays()[1][0]

    waxing = np.exp(0.35**2)  # RMS of a log-normal envelope
    assert np.sqrt(np.square(rendered()).mean()) == pytest.approx(20 * waxing, rel=0.25)
    seconds = rendered(suppression=0.5, floor=0.1).reshape(19, -1, 100).std(axis=(0, 2))
    assert 0.3 < np.mean(seconds < 8) < 0.7
    added = rendered(transients=10.0) - rendered()
    assert 5 < added.reshape(19, 100, 200).std(axis=(0, 2)).astype(bool).sum() < 60  # 17 in 100 s
