import json
import os
import subprocess
import sys
import types

import keras
import numpy as np
import pytest
from networks import shallow_efficientnet

from hbac_utils.data.dataset import SHAPES
from hbac_utils.metric import kl_divergence
from hbac_utils.models.classifier import (
    GeneralizedMean,
    HierarchicalSoftmax,
    PolyphaseConv,
    _assemble,
    _three_channels,
    augmented_views,
    build_classifier,
    compile_classifier,
    load_classifier,
    save_weights,
    set_augmentation,
)
from hbac_utils.models.compact import FeatureSpectrum, PoolPresent, Present
from hbac_utils.models.derivations import ROWS, CombineDerivations, DerivationRows
from hbac_utils.models.pretrained import check_weights
from hbac_utils.montage import DOUBLE_BANANA, ELECTRODES, mirror_permutation
from hbac_utils.recipe import Stage, load_recipe, override, parse_recipe, save_recipe
from hbac_utils.training.callbacks import learning_rates
from hbac_utils.utils.backend import tf
from hbac_utils.utils.errors import InputError

SMALL_B0 = {"backbone.variant": "b0", "view.size": [32, 32]}


def raw(name, n=4, seed=0):
    return np.random.default_rng(seed).normal(0, 30, (n, *SHAPES[name])).astype(np.float16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes", "total", "head"),
    [
        ("efficientnetv2b2", {}, 8_777_828, 8_454),
        ("efficientnetv2b2", {"backbone.kernel_size": 5}, 9_678_430 + 8_454, 8_454),
        ("efficientnetv2b2", {"backbone.kernel_size": 7}, 11_042_014 + 8_454, 8_454),
        ("resnet50v2", {}, 23_564_800 + 12_294, 12_294),
        ("yolov8", {}, 19_831_744 + 3_078, 3_078),
    ],
)
def test_the_papers_classifiers_have_the_published_sizes(name, changes, total, head):
    recipe = override(load_recipe(f"paper-{name}"), {"backbone.weights": "none"} | changes)
    model = build_classifier(recipe)
    assert model.get_layer("kaggle_spectrogram").output.shape == (None, 400, 300, 1)
    assert model.get_layer("probabilities").count_params() == head
    assert model.count_params() == total


@pytest.mark.parametrize("recipe", ["compact", "simulated"])
def test_the_networks_over_waveforms_are_small_and_cannot_tell_left_from_right(recipe):
    compact, eeg = build_classifier(load_recipe(recipe)), raw("eeg")
    assert compact.count_params() < 1_000_000
    mirrored = eeg[..., mirror_permutation(ELECTRODES)]
    swapped = eeg[..., ::-1].copy()
    first, second, other = (
        np.log(compact.predict_on_batch({"eeg": x})) for x in (eeg, mirrored, swapped)
    )
    np.testing.assert_allclose(first, second, atol=1e-3)
    assert np.abs(first - other).max() > 0.02, "but it sees which electrode is which"


def test_the_spectrum_of_a_feature_peaks_at_its_frequency():
    times = np.arange(300) / 25
    courses = np.stack([np.sin(2 * np.pi * f * times) + 3 for f in (0.8, 2.0, 4.5)], axis=-1)
    layer = FeatureSpectrum(25.0)
    spectra = np.asarray(layer(courses[None, None].astype("float32")))[0, 0]
    frequencies = np.geomspace(0.3, 6.0, 40)
    assert spectra.shape == (40, 3)
    found = frequencies[spectra.argmax(axis=0)]
    np.testing.assert_allclose(found, (0.8, 2.0, 4.5), rtol=0.06)
    # independently: the windowed Fourier sum at one frequency; a mean does not count
    window = np.hanning(302)[1:-1]
    wave = np.exp(-2j * np.pi * frequencies[7] * times) * window / window.sum()
    power = np.abs((courses - courses.mean(axis=0)).T @ wave) ** 2
    np.testing.assert_allclose(spectra[7], np.log(power + 1e-4), atol=1e-3)


def test_features_are_pooled_only_where_there_is_a_signal():
    series = np.zeros((2, 8, 18), np.float32)
    series[0], series[1, 2:4] = 1, 1
    present = Present()(series)
    np.testing.assert_array_equal(present[1, 0, :, 0], [0, 0, 1, 1, 0, 0, 0, 0])
    features = np.arange(16, dtype=np.float32).reshape(1, 1, 8, 2).repeat(2, axis=0)
    pooled = np.asarray(PoolPresent()([features, present]))
    np.testing.assert_allclose(pooled[0], [7, 8, 14, 15])  # means, then maxima
    np.testing.assert_allclose(pooled[1], [5, 6, 6, 7])
    silent = PoolPresent()([features, np.zeros_like(present)])
    np.testing.assert_array_equal(silent, np.zeros((2, 4)))


def test_every_derivation_is_a_row_left_then_right_then_midline():
    series = np.random.default_rng(0).normal(size=(2, 6, 18)).astype(np.float32)
    rows = np.asarray(DerivationRows()(series))
    assert rows.shape == (2, 18, 6, 1)
    for row, name in enumerate(ROWS):
        np.testing.assert_array_equal(rows[:, row, :, 0], series[..., DOUBLE_BANANA.index(name)])
    mirrored = dict(zip(ROWS[:8], ROWS[8:16], strict=True))
    assert mirrored["Fp1-F7"] == "Fp2-F8"
    assert mirrored["P3-O1"] == "P4-O2"
    assert ROWS[16:] == ("Fz-Cz", "Cz-Pz")


def test_derivations_are_combined_symmetrically():
    features = np.zeros((1, 18, 1, 1), np.float32)
    features[0, 2], features[0, 3], features[0, 11], features[0, 17] = 6, 2, 4, 6
    combined = np.asarray(CombineDerivations()(features)).ravel()
    # mean of all, greater and smaller maximum, difference of means, mean product of pairs
    np.testing.assert_allclose(combined, [1, 6, 4, (8 - 4) / 8, 2 * 4 / 8])
    swapped = np.concatenate([features[:, 8:16], features[:, :8], features[:, 16:]], axis=1)
    np.testing.assert_allclose(np.asarray(CombineDerivations()(swapped)).ravel(), combined)


@pytest.mark.parametrize("kind", ["compact", "derivations"])
def test_zeros_around_a_short_recording_change_little(kind):
    """Features of the segment are those of the signal, not of how much of it there is."""
    backbone = parse_recipe(
        {"name": "a", "view": {"kind": "waveform"}, "backbone": {"kind": kind, "width": 8},
         "stages": [{"epochs": 1}]}
    ).backbone  # fmt: skip
    network = backbone.build((5000, 18))
    series = np.random.default_rng(0).normal(size=(1, 5000, 18)).astype(np.float32)
    short = np.zeros_like(series)
    short[:, 2000:3000] = series[:, 2000:3000]
    segment = keras.Model(network.input, network.get_layer("segment_features").output)
    whole, alone = (segment.predict_on_batch(x) for x in (series, short))
    n = whole.shape[1] // 2  # means over time, then maxima
    np.testing.assert_allclose(alone[:, :n], whole[:, :n], rtol=0.1, atol=0.02)
    context = keras.Model(network.input, network.get_layer("context_features").output)
    whole, alone = (context.predict_on_batch(x)[0] for x in (series, short))
    n = len(whole) // 2
    assert alone[:n].sum() == pytest.approx(whole[:n].sum(), rel=0.25), "not a fifth of it"
    silent = network.predict_on_batch(np.zeros_like(series))
    assert np.isfinite(silent).all()


def test_learned_resampling_starts_as_the_image_and_stays_a_mean():
    layer = PolyphaseConv(channels=16)
    image = np.random.default_rng(0).normal(size=(2, 160, 50, 1)).astype("float32")
    mixed = np.asarray(layer(image))
    np.testing.assert_allclose(mixed, np.repeat(image, 3, axis=-1), rtol=1e-5, atol=1e-6)
    kernel = np.random.default_rng(1).normal(size=(10, 10, 3)).astype("float32")
    kernel = np.asarray(layer.kernel.constraint(kernel))
    assert kernel.min() >= 0
    np.testing.assert_allclose(kernel.sum(axis=0), 1, rtol=1e-5)
    # independently: a strided convolution along the time of one derivation
    layer.kernel.assign(kernel)
    series = image[1, 30:40, :, 0].T.ravel()
    for phase, channel in ((0, 0), (7, 2)):
        expected = [series[10 * t : 10 * t + 10] @ kernel[:, phase, channel] for t in range(50)]
        mixed = np.asarray(layer(image))[1, 30 + phase, :, channel]
        np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("resampling", "layer"), [("learned", "resampling"), ("fixed", "three_channels")]
)
def test_a_recipe_says_whether_resampling_is_learned(resampling, layer):
    look = override(load_recipe("multiview"), {"view.resampling": resampling})
    channels = _three_channels(look, keras.Input((160, 50, 1)), "")
    assert channels.shape == (None, 160, 50, 3)
    assert keras.Model(channels._keras_history.operation.input, channels).layers[-1].name == layer


def test_the_generalized_mean_has_a_learned_exponent():
    layer = GeneralizedMean()
    # a cubic mean: ((1 + 8 + 27) / 4)^(1/3), where a negative feature counts as nothing
    image = np.array([[1, 2], [3, -4]], np.float32)[None, :, :, None]
    with tf.GradientTape() as tape:
        pooled = layer(image)
    np.testing.assert_allclose(pooled, [[9 ** (1 / 3)]], rtol=1e-5)
    assert abs(float(tape.gradient(pooled, layer.exponent.value))) > 0.1
    layer.exponent.assign(1.0)
    np.testing.assert_allclose(layer(image), [[1.5]], rtol=1e-5)


@shallow_efficientnet()
def test_a_recipe_selects_the_generalized_mean_in_single_precision():
    recipe = override(load_recipe("paper-efficientnetv2b2"), SMALL_B0 | {"pool": "gem"})
    recipe = override(recipe, {"backbone.weights": "none"})
    keras.config.set_dtype_policy("mixed_float16")
    pool = _assemble(recipe).get_layer("pool")
    keras.config.set_dtype_policy("float32")
    assert isinstance(pool, GeneralizedMean)
    assert pool.compute_dtype == "float32"
    assert pool.output.shape == (None, 1280)
    with pytest.raises(InputError, match="pool: gem needs a view that makes an image"):
        override(load_recipe("compact"), {"pool": "gem"})


def test_decisions_give_every_distribution_over_the_classes():
    random = np.random.default_rng(0)
    p = random.dirichlet(np.full(6, 0.3), 50).clip(1e-4)
    p /= p.sum(axis=1, keepdims=True)
    seizure, lpd, gpd, lrda, grda, other = p.T

    def logit(yes, no):
        return np.log(yes) - np.log(no)

    steady, rhythmic = lpd + gpd + lrda + grda, lrda + grda
    logits = [
        logit(1 - other, other), logit(seizure, steady), logit(lpd + gpd, rhythmic),
        logit(lpd, gpd), logit(lrda, grda),
    ]  # fmt: skip
    given = HierarchicalSoftmax()(np.stack(logits, axis=1).astype(np.float32))
    np.testing.assert_allclose(given, p, rtol=1e-4)
    extreme = HierarchicalSoftmax()(np.float32(100 * random.normal(size=(20, 5))))
    np.testing.assert_allclose(np.sum(extreme, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("head", "parameters"), [("softmax", 774), ("hierarchical", 645)])
def test_a_recipe_selects_the_head(head, parameters):
    model = build_classifier(override(load_recipe("compact"), {"head": head}))
    assert model.count_params() == 148_592 + parameters
    probabilities = model.predict_on_batch({"eeg": raw("eeg")})
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_the_centre_is_the_two_central_columns():
    recipe = load_recipe("recipes/eeg-spectrogram.yaml", reduced=True)
    model = build_classifier(override(recipe, {"pool": "centre", "view.frames": 320}))
    assert model.get_layer("centre").input.shape[2] == 10
    assert model.get_layer("centre").output.shape[2] == 2
    left, right = model.get_layer("centre").cropping[1]
    assert left == right == 4


@shallow_efficientnet()
def test_branches_are_joined_before_the_head():
    recipe = parse_recipe(
        {
            "name": "several",
            "view": {"kind": "waveform"},
            "backbone": {"kind": "compact", "width": 8},
            "branches": [
                {
                    "view": {"kind": "kaggle_spectrogram", "size": [64, 64]},
                    "backbone": {"kind": "efficientnetv2", "variant": "b0"},
                }
            ],
            "augment": {"mirror": 0.5, "time_mask": 0.2, "frequency_mask": 0.2},
            "stages": [{"epochs": 1}],
        }
    )
    assert recipe.inputs == ("eeg", "spectrogram")
    model = build_classifier(recipe)
    assert model.get_layer("joined").output.shape == (None, 32 + 1280)
    eeg, spectrogram = raw("eeg", 2), raw("spectrogram", 2)
    both = np.asarray(model({"eeg": eeg, "spectrogram": spectrogram}))
    for other in (
        {"eeg": eeg, "spectrogram": -spectrogram},
        {"eeg": 2 * eeg, "spectrogram": spectrogram},
    ):
        assert np.abs(np.asarray(model(other)) - both).max() > 1e-5
    # a series has no frequencies to mask
    assert len(model.get_layer("view_augmentation").steps) == 1
    assert len(model.get_layer("view_augmentation_1").steps) == 2


def test_the_seed_makes_the_weights(compact_recipe):
    first, second = build_classifier(compact_recipe), build_classifier(compact_recipe)
    other = build_classifier(override(compact_recipe, {"seed": 1}))
    first, second, other = (
        np.concatenate([w.ravel() for w in model.get_weights()]) for model in (first, second, other)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_a_model_rebuilt_from_recipe_and_weights_predicts_the_same(compact_recipe, tmp_path):
    model, inputs = build_classifier(compact_recipe), {"eeg": raw("eeg", 2)}
    save_weights(model, tmp_path / "model.weights.h5")
    keras.utils.set_random_seed(99)  # a rebuilt model starts from other weights
    loaded = load_classifier(compact_recipe, tmp_path / "model.weights.h5")
    expected = model.predict_on_batch(inputs)
    np.testing.assert_allclose(loaded.predict_on_batch(inputs), expected, atol=1e-6)
    assert loaded.jit_compile is False


@pytest.mark.slow
def test_pretrained_weights_are_not_needed_to_load_trained_ones(tmp_path):
    """A kernel for inference has no pretrained weights attached."""
    recipe = override(load_recipe("paper-efficientnetv2b2"), SMALL_B0)
    trained = override(recipe, {"backbone.weights": "none"})
    save_weights(build_classifier(trained), tmp_path / "model.weights.h5")
    load_classifier(
        override(recipe, {"backbone.weights": "/nowhere"}), tmp_path / "model.weights.h5"
    )


def test_the_loss_is_the_competitions_score(compact_recipe):
    random = np.random.default_rng(0)
    model = build_classifier(compact_recipe)
    head = model.get_layer("probabilities")
    head.kernel.assign(head.kernel / 100)  # no probability is near zero
    compile_classifier(model, keras.optimizers.Adam(0.0))
    votes = random.dirichlet(np.ones(6), 8).astype(np.float32)
    inputs = {"eeg": raw("eeg", 8)}
    loss = model.evaluate(inputs, votes, batch_size=8, verbose=0)
    expected = np.sum(votes * np.log(votes / model.predict_on_batch(inputs)), axis=1).mean()
    assert loss == pytest.approx(expected, rel=1e-4)
    assert loss == pytest.approx(kl_divergence(votes, model.predict_on_batch(inputs)), rel=1e-4)


def test_augmentation_acts_in_training_until_a_stage_switches_it_off(compact_recipe):
    recipe = override(compact_recipe, {"augment.polarity": 1.0, "augment.time_mask": 0.5})
    model, eeg = build_classifier(recipe), raw("eeg")
    before = np.asarray(model.get_layer("signal_augmentation")({"eeg": eeg}, training=True)["eeg"])
    np.testing.assert_array_equal(before, -eeg.astype(np.float32))
    set_augmentation(model, False)
    np.testing.assert_array_equal(
        model.get_layer("signal_augmentation")({"eeg": eeg}, training=True)["eeg"], eeg
    )


def test_views_of_a_batch_have_the_shapes_of_the_network(compact_recipe):
    (series,) = augmented_views(compact_recipe, {"eeg": raw("eeg")})
    assert series.shape == (4, 2000, 18)
    recipe = load_recipe("recipes/paper-efficientnetv2b2.yaml")
    (image,) = augmented_views(recipe, {"spectrogram": raw("spectrogram")})
    assert image.shape == (4, 400, 300, 1)
    both = {name: raw(name) for name in SHAPES}
    assert [len(seen.shape) for seen in augmented_views(load_recipe("multiview"), both)] == [
        4,
        4,
        4,
    ]


def test_the_learning_rates_are_keras_cosine_decay():
    peak = 6e-6 * 64
    decay = keras.optimizers.schedules.CosineDecay(
        5e-5, decay_steps=59, alpha=1e-5 / peak, warmup_target=peak, warmup_steps=20
    )
    expected = [float(decay(step)) for step in range(80)]
    rates = learning_rates(Stage(epochs=8, batch_size=64, warmup_epochs=2), 10)
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
    assert (rates[0], rates[20], rates[-1]) == pytest.approx((5e-5, peak, 1e-5))
    without = learning_rates(Stage(epochs=2, learning_rate=1e-3, warmup_epochs=0), 10)
    assert (without[0], without[-1]) == pytest.approx((1e-3, 1e-5))
    assert learning_rates(Stage(epochs=1, learning_rate=1e-3), 1).tolist() == [1e-3]


CHILD = """
import os, sys
import numpy as np
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import load_recipe
folder = sys.argv[1]
model = load_classifier(load_recipe(folder + "/recipe.json"), folder + "/model.weights.h5")
inputs = {"eeg": np.load(folder + "/eeg.npy")}
np.save(folder + "/predicted.npy", model.predict(inputs, batch_size=1, verbose=0))
assert os.environ["KERAS_BACKEND"] == "jax", "children of a user's notebook keep it"
"""


@pytest.mark.parametrize(
    "optimize",
    # without docstrings Python has no compiled files of TensorFlow and compiles it anew
    ["", pytest.param("2", marks=pytest.mark.slow)],
)
def test_the_users_settings_of_keras_do_not_count(compact_recipe, tmp_path, optimize):
    recipe = override(compact_recipe, {"backbone.width": 2})
    model, eeg = build_classifier(recipe), raw("eeg", 2)
    save_weights(model, tmp_path / "model.weights.h5")
    save_recipe(recipe, tmp_path / "recipe.json")
    np.save(tmp_path / "eeg.npy", eeg)
    settings = {"floatx": "float16", "image_data_format": "channels_first", "epsilon": 0.1}
    (tmp_path / "keras.json").write_text(json.dumps(settings | {"backend": "torch"}))
    users = {
        "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "jax", "KERAS_MAX_STEPS_PER_EPOCH": "1",
        "TF_USE_LEGACY_KERAS": "1", "PYTHONOPTIMIZE": optimize,
    }  # fmt: skip
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    done = subprocess.run(command, env=os.environ | users, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = model.predict_on_batch({"eeg": eeg})
    np.testing.assert_allclose(np.load(tmp_path / "predicted.npy"), expected, atol=1e-6)


def test_another_backend_and_missing_docstrings_are_one_line(compact_recipe, monkeypatch):
    monkeypatch.setattr(sys, "flags", types.SimpleNamespace(optimize=2))
    with pytest.raises(InputError, match="KerasCV does not work without docstrings: unset"):
        check_weights(load_recipe("paper-yolov8"))
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(InputError, match="set KERAS_BACKEND=tensorflow before that import"):
        build_classifier(compact_recipe)
