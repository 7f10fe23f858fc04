"""The classifier: raw window → view → augmentation → backbone → six probabilities."""

from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import keras
import numpy as np
from keras import layers, ops

from hbac_utils.data.dataset import SHAPES
from hbac_utils.labels import N_CLASSES
from hbac_utils.models.augmentation import Augmentation, signal_augmentation, view_augmentation
from hbac_utils.models.layers import N_DECISIONS, HierarchicalSoftmax, PolyphaseConv
from hbac_utils.recipe import Branch, Recipe
from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.files import replacing


def build_classifier(recipe: Recipe) -> keras.Model:
    """Build the model of a recipe, initialised from its seed.

    From a dict of raw inputs (``"eeg"``: float16, (batch, 10000, 19), microvolts;
    ``"spectrogram"``: float16, (batch, 300, 400), ln power) to probabilities, float32, (batch, 6).
    """
    keras.utils.set_random_seed(recipe.seed)
    return _assemble(recipe)


def _assemble(recipe: Recipe, pretrained: bool = True) -> keras.Model:
    raw = {name: keras.Input(SHAPES[name], dtype="float16", name=name) for name in recipe.inputs}
    signals = {
        name: layers.Identity(dtype="float32", name=f"{name}_float32")(x) for name, x in raw.items()
    }
    signals = signal_augmentation(recipe)(signals)
    features = [
        _features(recipe, number, signals, pretrained) for number in range(len(recipe.all_branches))
    ]
    x = features[0] if len(features) == 1 else layers.Concatenate(name="joined")(features)
    if recipe.dropout:
        x = layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(x)
    if recipe.head == "softmax":
        x = layers.Dense(N_CLASSES, "softmax", dtype="float32", name="probabilities")(x)
    else:
        x = layers.Dense(N_DECISIONS, dtype="float32", name="decisions")(x)
        x = HierarchicalSoftmax(dtype="float32", name="probabilities")(x)
    return keras.Model(raw, x, name=recipe.name.replace("-", "_"))


def _features(recipe: Recipe, number: int, signals: dict, pretrained: bool):
    """Build one branch: view, augmentation, backbone, pooling."""
    branch, suffix = recipe.all_branches[number], f"_{number}" if number else ""
    view = branch.view
    # half precision is too coarse for sums over thousands of samples: it starts with the backbone
    x = view.build(f"{view.kind}{suffix}")(signals[view.input])
    x = view_augmentation(recipe, number)(x)
    if not view.is_series:
        x = _three_channels(branch, x, suffix)
    x = branch.backbone.build(tuple(x.shape[1:]), pretrained)(x)
    if len(x.shape) == 4:
        if branch.pool == "centre":
            x = _central_columns(x, suffix)
        x = layers.GlobalAveragePooling2D(name=f"pool{suffix}")(x)
    return x


def _three_channels(branch: Branch, image, suffix: str):
    if getattr(branch.view, "resampling", "fixed") == "learned":
        layer = PolyphaseConv(branch.view.channels, dtype="float32", name=f"resampling{suffix}")
        return layer(image)
    return layers.Concatenate(name=f"three_channels{suffix}")([image, image, image])


def _central_columns(x, suffix: str):
    width = x.shape[2]
    left = (width - 1) // 2
    right = width - left - min(2, width)
    return layers.Cropping2D(((0, 0), (left, right)), name=f"centre{suffix}")(x)


def augmented_views(recipe: Recipe, inputs: dict) -> list[np.ndarray]:
    """Compute the inputs of the backbones for a batch of raw inputs, augmented as in training.

    Returns float32 for each branch: images (batch, height, width, 1) or series (batch, time,
    derivations).
    """
    signals = {name: ops.cast(inputs[name], "float32") for name in recipe.inputs}
    signals = signal_augmentation(recipe)(signals, training=True)
    outputs = []
    for number, branch in enumerate(recipe.all_branches):
        x = branch.view.build(branch.view.kind)(signals[branch.view.input])
        outputs.append(view_augmentation(recipe, number)(x, training=True))
    return [ops.convert_to_numpy(x) for x in outputs]


def compile_classifier(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Compile for training against vote fractions with the KL divergence.

    XLA is off: on a CPU it makes these convolutions several times slower, and on a GPU it takes
    minutes to compile a large backbone.
    """
    model.compile(optimizer, loss=keras.losses.KLDivergence(), jit_compile=False)


def set_augmentation(model: keras.Model, active: bool) -> None:
    """Switch augmentation on or off in the training step that is traced next."""
    for layer in model.layers:
        if isinstance(layer, Augmentation):
            layer.active = active


def save_weights(model: keras.Model, path: Path) -> None:
    """Write a model's weights, and nothing else, in Keras' ``.weights.h5`` format.

    The paths in the file come from class names and the order of layers, so they are the same in
    every process and in every version of Keras.
    """
    # a second model of the same layers has no optimizer, whose state would be saved as well
    weights = keras.Model(model.inputs, model.outputs)
    with TemporaryDirectory() as folder:
        draft = Path(folder, "model.weights.h5")
        weights.save_weights(draft)
        with replacing(path) as file:
            file.write(draft.read_bytes())


def load_classifier(recipe: Recipe, path: str | Path) -> keras.Model:
    """Rebuild a recipe's model for prediction and load trained weights into it.

    Raises InputError for a missing or damaged file, or weights of another architecture.
    """
    model = _assemble(recipe, pretrained=False)
    try:
        with h5py.File(path, "r") as file:
            sizes: list[int] = []
            file.visititems(lambda _, item: sizes.append(_parameters(item)))
        if sum(sizes) != model.count_params():
            raise ValueError(f"{sum(sizes):,} parameters, the model has {model.count_params():,}")
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise InputError(
            f"{path}: not weights of recipe {recipe.name} ({one_line(error)}); use the recipe.json "
            "that was saved with it, or copy it again from where it was trained"
        ) from None
    model.jit_compile = False
    return model


def _parameters(item: h5py.Group | h5py.Dataset) -> int:
    """Count the floating-point numbers of a dataset; random generators' states are integers."""
    return item.size if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" else 0
