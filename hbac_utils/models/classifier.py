"""The classifier: raw window ▸ view ▸ backbone ▸ six probabilities, augmented in between."""

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.data.windows import SHAPES
from hbac_utils.labels import N_CLASSES
from hbac_utils.models import augment, backbones, views
from hbac_utils.recipe import Recipe


def as_seen(recipe: Recipe, inputs: dict) -> np.ndarray:
    """Show a batch as the backbone sees it in training: through the view, augmented.

    Parameters
    ----------
    recipe : Recipe
    inputs : dict of arrays
        A batch of raw inputs, as `build_classifier` says.

    Returns
    -------
    array of float32
        Images, shape (batch, height, width, 1); a series is laid on its side, (batch,
        derivations, time, 1).
    """
    (name,) = recipe.inputs
    x = augment.signal_augmentation(recipe, name)(ops.cast(inputs[name], "float32"), training=True)
    x = views.build_view(recipe.view)(x)
    x = ops.convert_to_numpy(augment.view_augmentation(recipe)(x, training=True))
    return x if x.ndim == 4 else x.transpose(0, 2, 1)[..., None]


def build_classifier(recipe: Recipe) -> keras.Model:
    """Build the model of a recipe, freshly initialised from its seed.

    Returns
    -------
    keras.Model
        From a dict of raw inputs (``"eeg"``: float16, (batch, 10000, 19), microvolts;
        ``"spectrogram"``: float16, (batch, 300, 400), ln power) to probabilities, float32,
        (batch, 6). The head adds features × 6 + 6 parameters to the backbone's.
    """
    keras.utils.set_random_seed(recipe.seed)
    (name,) = recipe.inputs
    raw = keras.Input(SHAPES[name], dtype="float16", name=name)
    x = layers.Identity(dtype="float32", name="as_float32")(raw)
    x = augment.signal_augmentation(recipe, name)(x)
    x = views.build_view(recipe.view)(x)
    x = augment.view_augmentation(recipe)(x)
    if recipe.view.kind != "waveform" or recipe.view.layout == "image":
        x = layers.Concatenate(name="three_channels")([x, x, x])
    x = backbones.build_backbone(recipe.backbone, tuple(x.shape[1:]))(x)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="pool")(x)
    if recipe.dropout:
        x = layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(x)
    head = layers.Dense(N_CLASSES, activation="softmax", dtype="float32", name="probabilities")
    return keras.Model({name: raw}, head(x), name=recipe.name.replace("-", "_"))


def compile_classifier(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile for training against vote fractions with the KL divergence.

    XLA is left off: on a CPU it makes these convolutions several times slower, and on a GPU
    compiling a large backbone takes minutes.
    """
    model.compile(optimizer, loss=keras.losses.KLDivergence(), jit_compile=False)


def set_augmentation(model: keras.Model, active: bool) -> None:
    """Switch the model's augmentation on or off for the stage that is compiled next."""
    for layer in model.layers:
        if isinstance(layer, augment.TrainingOnly):
            layer.active = active


def load_classifier(path) -> keras.Model:
    """Load a saved classifier for prediction (safe mode, no pickle, no optimizer)."""
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    model.jit_compile = False
    return model
