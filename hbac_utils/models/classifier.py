"""The classifier: raw window → view → augmentation → backbone → six probabilities."""

from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import keras
import numpy as np
from keras import layers, ops

from hbac_utils.data.dataset import SHAPES
from hbac_utils.labels import CLASSES, DECISION_PATHS, N_CLASSES
from hbac_utils.models.applications import MEAN, SPREAD
from hbac_utils.models.augmentation import Augmentation, signal_augmentation, view_augmentation
from hbac_utils.recipe import Branch, Recipe, initial_weights
from hbac_utils.utils.backend import tf, use_own_settings
from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.files import replacing

HEAD = ("decisions/", "probabilities/")  # paths of the variables after the dropout


def build_classifier(recipe: Recipe) -> keras.Model:
    """Build the model of a recipe for training, from its seed or its initial weights.

    With a GPU, views and head are in single precision and the rest in half precision.
    From a dict of raw inputs (``"eeg"``: float16, (batch, 10000, 19), microvolts;
    ``"spectrogram"``: float16, (batch, 300, 400), ln power) to probabilities, float32, (batch, 6).
    """
    use_own_settings("mixed_float16" if tf.config.get_visible_devices("GPU") else "float32")
    keras.utils.set_random_seed(recipe.seed)
    model = _assemble(recipe, pretrained=not recipe.weights)
    if path := initial_weights(recipe):
        _load_weights(model, path, recipe)
    return model


def _assemble(recipe: Recipe, pretrained: bool = True) -> keras.Model:
    raw = {name: keras.Input(SHAPES[name], dtype="float16", name=name) for name in recipe.inputs}
    signals = {
        name: layers.Identity(dtype="float32", name=f"{name}_float32")(x) for name, x in raw.items()
    }
    signals = signal_augmentation(recipe)(signals)
    numbers = range(len(recipe.all_branches))
    features = [_features(recipe, number, signals, pretrained) for number in numbers]
    x = features[0] if len(features) == 1 else layers.Concatenate(name="joined")(features)
    if recipe.dropout:
        x = layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(x)
    if recipe.head == "softmax":
        x = layers.Dense(N_CLASSES, "softmax", dtype="float32", name="probabilities")(x)
    else:
        x = layers.Dense(len(decision_nodes()), dtype="float32", name="decisions")(x)
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
        if branch.pool == "gem":
            return GeneralizedMean(dtype="float32", name=f"pool{suffix}")(x)
        if branch.pool == "centre":
            width = x.shape[2]
            left = (width - 1) // 2
            right = width - left - min(2, width)
            x = layers.Cropping2D(((0, 0), (left, right)), name=f"centre{suffix}")(x)
        x = layers.GlobalAveragePooling2D(name=f"pool{suffix}")(x)
    return x


def _three_channels(branch: Branch, image, suffix: str):
    if getattr(branch.view, "resampling", "fixed") == "learned":
        layer = PolyphaseConv(branch.view.channels, dtype="float32", name=f"resampling{suffix}")
        image = layer(image)
    elif image.shape[-1] != 3:
        image = layers.Concatenate(name=f"three_channels{suffix}")([image, image, image])
    if getattr(branch.view, "amplitude", "log") == "linear":
        # -1 to 1 are black and white, standardised as pixels of ImageNet are
        scale, offset = 0.5 / SPREAD, (0.5 - MEAN) / SPREAD
        gray = layers.Rescaling(scale.tolist(), offset.tolist(), dtype="float32")
        image = gray(image)
    return image


def augmented_views(recipe: Recipe, inputs: dict) -> list[np.ndarray]:
    """Compute the inputs of the backbones for a batch of raw inputs, augmented as in training.

    Returns float32 for each branch: images (batch, height, width, 1 or 3) or series (batch, time,
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
    # a training step that makes variables is traced twice
    model.optimizer.build(model.trainable_variables)


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
    """Rebuild a recipe's model for prediction, in single precision, and load trained weights.

    Raises InputError for a missing or damaged file, or weights of another architecture.
    """
    use_own_settings()
    model = _assemble(recipe, pretrained=False)
    _load_weights(model, Path(path), recipe)
    model.jit_compile = False
    return model


def _load_weights(model: keras.Model, path: Path, recipe: Recipe) -> None:
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


def _parameters(item: h5py.Group | h5py.Dataset) -> int:
    """Count the floating-point numbers of a dataset; random generators' states are integers."""
    return item.size if isinstance(item, h5py.Dataset) and item.dtype.kind == "f" else 0


# -- layers with a meaning of their own ---------------------------------------------


class UnitSum(keras.constraints.Constraint):
    """Keeps weights non-negative and their sum over the first axis at one."""

    def __call__(self, weights):
        """Project the weights."""
        positive = ops.maximum(weights, 0.0)
        return positive / (ops.sum(positive, axis=0, keepdims=True) + 1e-7)


class PolyphaseConv(layers.Layer):
    """Learned resampling of a waveform image: mixes the phases of every derivation.

    A waveform image folds 50 ms of a derivation into one row per phase. A mixture of the phases is
    a convolution over time with a stride of its length. The kernel starts as the identity and is
    shared by all derivations (as in VIPEEGNet, npj Digit. Med. 8:768, 2025).

    Input shape: ``(batch, channels * phases, columns, 1)``, where a channel is a derivation.
    Output shape: ``(batch, channels * phases, columns, 3)``.
    """

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, input_shape):
        """Create the kernel."""
        phases = input_shape[1] // self.channels
        identity = np.repeat(np.eye(phases, dtype="float32")[..., None], 3, axis=-1)
        self.kernel = self.add_weight(
            shape=(phases, phases, 3),
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(identity, dtype),
            constraint=UnitSum(),
            name="kernel",
        )

    def call(self, image):
        """Mix the phases."""
        phases, columns = self.kernel.shape[0], image.shape[2]
        bands = ops.reshape(image, (-1, self.channels, phases, columns))
        mixed = ops.einsum("bdpt,pqc->bdqtc", bands, self.kernel)
        return ops.reshape(mixed, (-1, self.channels * phases, columns, 3))

    def compute_output_shape(self, input_shape):
        """Return the input's shape with three channels."""
        return (*input_shape[:3], 3)


class GeneralizedMean(layers.Layer):
    """Generalized mean of each feature over an image, with a learned exponent.

    (mean of x^p)^(1/p), with features below 1e-6 raised to it. The exponent, one for all features,
    starts at 3: 1 is the mean, infinity the maximum (GeM; Radenović et al. 2018, arXiv:1711.02512).

    Input shape: ``(batch, height, width, features)``.
    Output shape: ``(batch, features)``.
    """

    FLOOR = 1e-6

    def build(self, input_shape):
        """Create the exponent."""
        start = keras.initializers.Constant(3.0)
        self.exponent = self.add_weight(shape=(), initializer=start, name="exponent")

    def call(self, features):
        """Pool."""
        powers = ops.power(ops.maximum(features, self.FLOOR), self.exponent)
        return ops.power(ops.mean(powers, axis=(1, 2)), 1 / self.exponent)


def decision_nodes() -> np.ndarray:
    """Inner nodes of the terminology's decision tree on the path to each class.

    Returns shape (5 nodes, 6 classes): 1 or −1 where the class lies beyond the node's yes or no,
    0 if not beyond it. Nodes are in the order of their first use: pattern, ictal, periodic,
    lateral of periodic patterns, lateral of rhythmic ones.
    """
    nodes: dict[tuple, list[int]] = {}
    for column, name in enumerate(CLASSES):
        path: tuple = ()
        for decision, answer in DECISION_PATHS[name].items():
            row = nodes.setdefault((*path, decision), [0] * len(CLASSES))
            row[column] = 1 if answer else -1
            path = (*path, (decision, answer))
    return np.array(list(nodes.values()))


class HierarchicalSoftmax(layers.Layer):
    """Class probabilities from binary decisions along the terminology's tree.

    A class's probability is the product of the decisions on the path to it (nested dichotomies),
    computed as a sum of logarithms.

    Input shape: ``(batch, 5)``, a logit for each of `decision_nodes`.
    Output shape: ``(batch, 6)``; rows sum to one.
    """

    def call(self, logits):
        """Multiply the decisions on each path."""
        nodes = decision_nodes()
        on_path = np.concatenate([nodes == 1, nodes == -1]).astype(np.float32)
        answers = [ops.log_sigmoid(logits), ops.log_sigmoid(-logits)]
        return ops.exp(ops.matmul(ops.concatenate(answers, axis=-1), on_path))
