"""Every kind of network learns: gradients reach all weights, and a batch can be overfitted."""

from pathlib import Path

import numpy as np
import pytest
from networks import shallow_efficientnet

from hbac_utils.data.dataset import SHAPES, example_batch
from hbac_utils.labels import vote_fractions
from hbac_utils.metric import kl_divergence
from hbac_utils.models.classifier import build_classifier, compile_classifier
from hbac_utils.recipe import load_recipe, override, parse_recipe
from hbac_utils.training.optimizer import TwoRateAdamW
from hbac_utils.utils.backend import keras, tf

SPECTROGRAM = {"kind": "kaggle_spectrogram", "size": [32, 32]}
FAMILIES = {
    "compact": {
        "view": {"kind": "waveform", "rate": 40},
        "backbone": {"kind": "compact", "width": 4},
        "head": "hierarchical",
    },
    "derivations": {
        "view": {"kind": "waveform", "rate": 40},
        "backbone": {"kind": "derivations", "width": 4},
        "head": "hierarchical",
    },
    "efficientnetv2": {
        "view": SPECTROGRAM,
        "backbone": {"kind": "efficientnetv2", "variant": "b0"},
    },
    "resnet50v2": {"view": SPECTROGRAM, "backbone": {"kind": "resnet50v2"}},
    "yolov8": {"view": SPECTROGRAM, "backbone": {"kind": "yolov8"}},
    "branches": {
        "view": {"kind": "waveform", "rate": 40, "layout": "image", "resampling": "learned"},
        "backbone": {"kind": "efficientnetv2", "variant": "b0"},
        "branches": [
            {"view": {"kind": "waveform", "rate": 20}, "backbone": {"kind": "compact", "width": 2}}
        ],
    },
}


def family(name):
    return parse_recipe({"name": name, "stages": [{"epochs": 1}], **FAMILIES[name]})


def batch(recipe, n):
    """Noise of several rhythms and amplitudes, with random votes."""
    random = np.random.default_rng(0)
    votes = np.stack([random.multinomial(12, p) for p in random.dirichlet(np.full(6, 0.3), n)])
    inputs = {}
    for name in recipe.inputs:
        time, channels = SHAPES[name]
        waves = np.sin(np.arange(time)[:, None] * random.uniform(0.02, 0.3, (n, 1, channels)))
        level = {"eeg": 40.0, "spectrogram": 2.0}[name]
        inputs[name] = (level * waves + random.normal(0, level / 4, waves.shape)).astype(np.float16)
    return inputs, vote_fractions(votes).astype(np.float32)


@pytest.mark.parametrize("name", FAMILIES)
@shallow_efficientnet()
def test_gradients_reach_every_trainable_weight(name):
    recipe = family(name)
    model = build_classifier(recipe)
    inputs, targets = batch(recipe, 4)
    with tf.GradientTape() as tape:
        predictions = model({k: tf.constant(v) for k, v in inputs.items()}, training=True)
        loss = keras.losses.KLDivergence()(targets, predictions)
    weights = model.trainable_weights
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    without = [
        weight.path
        for weight, gradient in zip(weights, gradients, strict=True)
        if gradient is None or not np.isfinite(gradient).all() or not np.any(gradient)
    ]
    assert not without


SLOW = [pytest.param(name, 1e-3, marks=pytest.mark.slow) for name in FAMILIES if name != "compact"]


@pytest.mark.parametrize(("name", "rate"), [("compact", 3e-3), *SLOW])
def test_a_batch_of_16_windows_is_overfitted(name, rate):
    """The training loss falls below a tenth of the constant prior's in at most 150 steps."""
    recipe = override(family(name), {"dropout": 0})
    model = build_classifier(recipe)
    compile_classifier(model, keras.optimizers.Adam(rate))
    inputs, targets = batch(recipe, 16)
    goal, losses = kl_divergence(targets, targets.mean(axis=0)) / 10, [np.inf]
    while losses[-1] > goal and len(losses) <= 150:
        losses.append(float(model.train_on_batch(inputs, targets)))
    assert losses[-1] < goal, np.round(losses, 2)


RECIPES = [path.stem for path in sorted(Path("recipes").glob("*.yaml"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in RECIPES if load_recipe(name) != load_recipe(name, reduced=True)]
)
def test_a_reduced_recipe_overfits_32_windows(name, store):
    """In evaluation, with moving statistics, it comes within 0.05 nats of the targets' entropy."""
    recipe = load_recipe(name, reduced=True)
    calm = {"augment": {}, "dropout": 0, "stages": [{"epochs": 1, "batch_size": 32}]}
    calm |= {"backbone.drop_path": 0} if hasattr(recipe.backbone, "drop_path") else {}
    recipe = override(recipe, calm)
    inputs, targets = example_batch(store, recipe)
    model = build_classifier(recipe)
    warmup, steps = 30, 300
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps - warmup, warmup_target=1e-3, warmup_steps=warmup
    )
    compile_classifier(model, TwoRateAdamW(rate, recipe.weight_decay))
    random = np.random.default_rng(0)
    for _ in range(steps // 2):
        for half in np.split(random.permutation(32), 2):
            part = {key: tf.gather(values, half) for key, values in inputs.items()}
            model.train_on_batch(part, tf.gather(targets, half))
    assert kl_divergence(targets.numpy(), model.predict_on_batch(inputs)) < 0.05
