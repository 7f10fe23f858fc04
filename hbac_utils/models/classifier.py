"""The classifier: raw window ▸ view ▸ backbone ▸ six probabilities, augmented in between."""

from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from hbac_utils.data.dataset import SHAPES
from hbac_utils.labels import N_CLASSES
from hbac_utils.models import augmentation as augment
from hbac_utils.models import backbones, views
from hbac_utils.models.layers import QUESTIONS, PhaseMixing, Questions
from hbac_utils.models.saved import check_saved
from hbac_utils.recipe import Look, Recipe
from hbac_utils.utils.errors import InputError, one_line


def as_seen(recipe: Recipe, inputs: dict) -> list[np.ndarray]:
    """Show a batch as the backbones see it in training: through each view, augmented.

    Parameters
    ----------
    recipe : Recipe
    inputs : dict of arrays
        A batch of raw inputs, as `build_classifier` says.

    Returns
    -------
    list of array of float32
        For each of the recipe's looks images, shape (batch, height, width, 1), or a series,
        (batch, time, derivations).
    """
    signals = {name: ops.cast(inputs[name], "float32") for name in recipe.inputs}
    signals = augment.signal_augmentation(recipe)(signals, training=True)
    seen = []
    for number, look in enumerate(recipe.looks):
        view = views.build_view(look.view)(signals[look.input])
        seen.append(augment.view_augmentation(recipe, number)(view, training=True))
    return [ops.convert_to_numpy(x) for x in seen]


def build_classifier(recipe: Recipe) -> keras.Model:
    """Build the model of a recipe, freshly initialised from its seed.

    Returns
    -------
    keras.Model
        From a dict of raw inputs (``"eeg"``: float16, (batch, 10000, 19), microvolts;
        ``"spectrogram"``: float16, (batch, 300, 400), ln power) to probabilities, float32,
        (batch, 6). A softmax head adds features × 6 + 6 parameters to the backbone's, that of
        `Questions` features × 5 + 5.
    """
    keras.utils.set_random_seed(recipe.seed)
    raw = {name: keras.Input(SHAPES[name], dtype="float16", name=name) for name in recipe.inputs}
    signals = {
        name: layers.Identity(dtype="float32", name=f"{name}_float32")(x) for name, x in raw.items()
    }
    signals = augment.signal_augmentation(recipe)(signals)
    features = [_features(recipe, number, signals) for number in range(len(recipe.looks))]
    x = features[0] if len(features) == 1 else layers.Concatenate(name="joined")(features)
    if recipe.dropout:
        x = layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(x)
    return keras.Model(raw, _head(recipe, x), name=recipe.name.replace("-", "_"))


def _head(recipe: Recipe, x):
    if recipe.head == "softmax":
        return layers.Dense(N_CLASSES, "softmax", dtype="float32", name="probabilities")(x)
    x = layers.Dense(len(QUESTIONS), dtype="float32", name="answers")(x)
    return Questions(dtype="float32", name="probabilities")(x)


def _features(recipe: Recipe, number: int, signals: dict):
    """Build one look: view ▸ augmentation ▸ backbone ▸ pooling."""
    look, suffix = recipe.looks[number], f"_{number}" if number else ""
    # half precision would spoil sums over thousands of samples: it begins with the backbone
    view = views.build_view(look.view, f"{look.view.kind}{suffix}")
    x = augment.view_augmentation(recipe, number)(view(signals[look.input]))
    if not look.is_series:
        x = _three_channels(look, x, suffix)
    x = backbones.build_backbone(look.backbone, tuple(x.shape[1:]))(x)
    if len(x.shape) == 4:
        if look.pool == "centre":
            x = _central_columns(x, suffix)
        x = layers.GlobalAveragePooling2D(name=f"pool{suffix}")(x)
    return x


def _three_channels(look: Look, image, suffix: str):
    if look.view.kind == "waveform" and look.view.phases == "learned":
        channels = look.view.channels
        return PhaseMixing(channels, dtype="float32", name=f"phases{suffix}")(image)
    return layers.Concatenate(name=f"three_channels{suffix}")([image, image, image])


def _central_columns(x, suffix: str):
    width = x.shape[2]
    left = (width - 1) // 2
    right = width - left - min(2, width)
    return layers.Cropping2D(((0, 0), (left, right)), name=f"centre{suffix}")(x)


def compile_classifier(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile for training against vote fractions with the KL divergence.

    XLA is left off: on a CPU it makes these convolutions several times slower, and on a GPU
    compiling a large backbone takes minutes.
    """
    model.compile(optimizer, loss=keras.losses.KLDivergence(), jit_compile=False)


def set_augmentation(model: keras.Model, active: bool) -> None:
    """Switch the model's augmentation on or off for the step that is traced next."""
    for layer in model.layers:
        if isinstance(layer, augment.TrainingOnly):
            layer.active = active


def load_classifier(path: str | Path) -> keras.Model:
    """Load a saved classifier for prediction, without its optimizer.

    Nothing in the file is executed: `check_saved` refuses what no recipe is built of, and the rest
    is loaded in Keras' safe mode.

    Raises
    ------
    InputError
        If it is no model that this kit saved, or damaged.
    """
    check_saved(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # each part of Keras has its own
        raise InputError(
            f"{path}: cannot be loaded ({one_line(error)}); copy it anew from where it was "
            "trained, or use the versions of Keras and of the kit that it was trained with"
        ) from None
    model.jit_compile = False
    return model
