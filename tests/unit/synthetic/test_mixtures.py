"""Components, and the windows that are mixed from them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data.layout import SEGMENT
from hbac_utils.labels import CLASSES, DECISIONS
from hbac_utils.montage import DOUBLE_BANANA, ELECTRODES, derivation_matrix
from hbac_utils.synthetic import components, mixtures
from hbac_utils.synthetic.components import (
    LABELLED,
    PARAMETERS,
    PATTERN_SIZE,
    SHAPE,
    UNIT,
    _as_recorded_seizure,
    _slowed,
    _with_visible_evolution,
    largest_derivation,
)
from hbac_utils.synthetic.mixtures import Mixtures
from hbac_utils.synthetic.patterns import draw_episode, evidence
from hbac_utils.synthetic.raters import class_probabilities
from hbac_utils.utils.errors import InputError

BAND = (0.5, 40.0)
BIPOLAR = derivation_matrix(DOUBLE_BANANA)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulation") / "components"
    return components.open_components(folder, 30, 4, BAND, jobs=2, progress=False)


def test_components_do_not_depend_on_the_processes(rendered, tmp_path):
    again = components.open_components(tmp_path / "c", 27, 4, BAND, jobs=1, progress=False)
    for name in components.KINDS:
        first, second = getattr(rendered, name), getattr(again, name)
        assert first.dtype == np.int16
        assert first.shape == (30, *SHAPE)
        np.testing.assert_array_equal(first[:27], second)
    pd.testing.assert_frame_equal(rendered.table[:27], again.table)


def test_what_a_killed_process_left_is_removed(tmp_path):
    left = tmp_path / ".c"
    left.mkdir()
    (left / "patterns.npy").write_bytes(b"half")
    components.open_components(tmp_path / "c", 1, 4, BAND, jobs=1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_the_stated_size_is_that_in_the_largest_derivation(rendered):
    for pattern, row in zip(rendered.patterns, rendered.table.itertuples(), strict=True):
        bipolar = UNIT * (pattern[LABELLED] @ BIPOLAR)
        swings = np.ptp(bipolar.reshape(5, 400, -1), axis=1)  # in 2 s, several cycles
        assert 0.5 * row.size < np.median(swings[:, row.largest].max()) < 6 * row.size
    assert 0.5 * PATTERN_SIZE < rendered.table["size"].median() < 1.5 * PATTERN_SIZE


def test_the_largest_derivation_of_a_known_wave():
    segment = np.zeros((2000, 19))
    wave = np.sin(2 * np.pi * 2 * np.arange(2000) / 200)
    segment[:, ELECTRODES.index("O1")], segment[:, ELECTRODES.index("F4")] = 10 * wave, 25 * wave
    segment[300:400] *= 8  # one large cycle does not count
    derivation, size = largest_derivation(segment, 2.0)
    assert "F4" in DOUBLE_BANANA[derivation]
    assert size == pytest.approx(50, rel=0.01)


def test_some_seizures_begin_or_end_in_the_labelled_part():
    episode = draw_episode(np.random.default_rng(0), np.full(4, 2.0))
    drawn = [_as_recorded_seizure(episode, np.random.default_rng(i)) for i in range(400)]
    assert np.mean([e.lead < 0 for e in drawn]) == pytest.approx(0.25, abs=0.08)
    assert np.mean([e.tail < 0 for e in drawn]) == pytest.approx(0.15, abs=0.08)
    # the experts see at least four seconds of it
    assert min(min(e.lead, e.tail) for e in drawn) >= -6


def test_a_slow_seizure_is_one_by_its_evolution():
    slower = 0
    for i in range(100):
        episode = draw_episode(np.random.default_rng(i), np.full(4, 1.0))
        slow = _slowed(episode, np.random.default_rng(i))
        np.testing.assert_allclose(slow.evidence, episode.evidence)
        if slow.frequency < episode.frequency:
            slower += 1
            assert slow.evolution > max(episode.evolution, 0.35)
    assert slower > 50


def test_evolution_can_be_seen_in_amplitude_or_frequency():
    episode = draw_episode(np.random.default_rng(0), np.array([2.0, -2.0, 2.0, 2.0]))
    for evolution, least in ((0.4, 0.6), (1.0, 2.4)):
        one = replace(episode, evolution=evolution, trend=0.0, growth=0.0)
        for i in range(30):
            drawn = _with_visible_evolution(one, np.random.default_rng(i))
            assert max(abs(drawn.trend), drawn.growth) >= least
    assert (
        _with_visible_evolution(replace(one, evolution=0.3), np.random.default_rng(0)).growth == 0
    )


def test_other_components_in_the_folder_are_refused(rendered):
    assert components.open_components(rendered.path, 30, 4, BAND).path == rendered.path
    with pytest.raises(InputError, match="other components"):
        components.open_components(rendered.path, 30, 5, BAND)


def test_half_of_the_backgrounds_turn_into_another_one(rendered, monkeypatch):
    flat = {name: np.zeros((2, *SHAPE), np.int16) for name in ("patterns", "artifacts")}
    flat["backgrounds"] = np.stack([np.full(SHAPE, 400), np.full(SHAPE, 4000)]).astype(np.int16)
    made = SimpleNamespace(count=2, table=rendered.table[:2], **flat)
    for name in ("FAILED_ELECTRODES", "UNREADABLE", "GAIN", "TILTED"):
        monkeypatch.setattr(mixtures, name, 0)
    eeg = Mixtures(made, 1024.0).batch(np.random.default_rng(0), 400).eeg
    levels = np.abs(eeg[:, ::100, 0].astype(float))
    assert np.isin(levels, (400, 4000)).all(axis=1).mean() == pytest.approx(0.5, abs=0.1)


def test_a_batch_is_a_function_of_its_generator_and_no_two_are_alike(rendered):
    mix = Mixtures(rendered, 1024.0)
    first, again, other = (mix.batch(np.random.default_rng(seed), 8) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.eeg, again.eeg)
    np.testing.assert_array_equal(first.truth, again.truth)
    assert first.eeg.shape == (8, 10_000, 19)
    assert np.abs(first.eeg).max() * UNIT <= 1024
    windows = np.concatenate([first.eeg, other.eeg]).astype(np.float32).reshape(16, -1)
    assert np.abs(np.corrcoef(windows) - np.eye(16)).max() < 0.95


def test_truth_follows_from_the_contrast_that_is_in_the_mixture(monkeypatch):
    rng, n = np.random.default_rng(0), 3
    pattern = np.zeros(SHAPE)
    pattern[:, ELECTRODES.index("F7")] = np.sign(np.sin(2 * np.pi * np.arange(SHAPE[0]) / 133))
    parameters = (3.0, 0.1, 1.5, 0.1, 0.1, 0.9, DOUBLE_BANANA.index("Fp1-F7"), PATTERN_SIZE)
    made = SimpleNamespace(
        count=n,
        backgrounds=rng.normal(0, 20 / UNIT, (n, *SHAPE)).astype(np.int16),
        patterns=np.repeat(PATTERN_SIZE / UNIT / 2 * pattern[None], n, axis=0).astype(np.int16),
        artifacts=np.zeros((n, *SHAPE), np.int16),
        table=pd.DataFrame([parameters] * n, columns=[*PARAMETERS, "largest", "size"]),
    )
    monkeypatch.setattr(mixtures, "FAILED_ELECTRODES", 0)
    batch = Mixtures(made, 1024.0).batch(np.random.default_rng(3), 16)
    shown = []
    for window in UNIT * batch.eeg:
        left, right = (
            (window[SEGMENT] @ BIPOLAR)[:, DOUBLE_BANANA.index(name)]
            for name in ("Fp1-F7", "Fp2-F8")
        )
        with_pattern, alone = sorted((left, right), key=np.std, reverse=True)
        # a square wave of ± a adds a² to the variance
        half = np.sqrt(with_pattern.var() - alone.var())
        shown.append(20 * np.log10(2 * half / (4 * alone.std())))
    np.testing.assert_allclose(shown, batch.parameters[:, 0], atol=0.7)
    np.testing.assert_allclose(
        batch.truth, class_probabilities(evidence(*batch.parameters.T)), atol=1e-6
    )


def test_a_window_without_eeg_is_other(rendered, monkeypatch):
    monkeypatch.setattr(mixtures, "UNREADABLE", 1.0)
    made = SimpleNamespace(
        count=2,
        backgrounds=np.full((2, *SHAPE), 999, np.int16),
        patterns=np.full((2, *SHAPE), 999, np.int16),
        artifacts=np.ones((2, *SHAPE), np.int16),
        table=rendered.table[:2],
    )
    batch = Mixtures(made, 1024.0).batch(np.random.default_rng(0), 8)
    assert 1 <= batch.eeg.min() <= batch.eeg.max() <= 20
    assert batch.truth[:, CLASSES.index("Other")].min() > 0.9


def test_evidence_of_arrays_is_that_of_each_episode():
    drawn = [draw_episode(np.random.default_rng(i), np.full(4, 1.0)) for i in range(5)]
    table = np.array([[getattr(e, name) for name in PARAMETERS] for e in drawn])
    together = evidence(*table.T)
    assert together.shape == (5, len(DECISIONS))
    np.testing.assert_array_equal(together, [e.evidence for e in drawn])
