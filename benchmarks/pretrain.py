"""Train the model in the package on one large GPU, with JAX.

    python benchmarks/pretrain.py train --out FOLDER [--weights FILE] [--seed 31]
    python benchmarks/pretrain.py publish --weights FILE --store FOLDER --run FOLDER

``train`` follows recipe `simulated`, but renders components all the time, on all cores, and mixes
them on the GPU, so that no component is seen for long. It needs JAX for the GPU, optax, and Keras;
TensorFlow need not be installed. ``publish`` divides the logits by ``--temperature``, stores the
weights in half precision, and scores them on a store of simulated EEGs, as a run.
"""

import argparse
import functools
import importlib
import itertools
import multiprocessing
import os
import sys
import threading
import time
import types
from pathlib import Path
from unittest.mock import MagicMock

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from hbac_utils.synthetic import components, mixtures, patterns, raters
from hbac_utils.synthetic.components import PARAMETERS, SHAPE, UNIT, render_components

CHUNK = 16  # components that a process renders at a time
RING = 24_576  # components of each kind in the GPU's memory: 31 GB; new ones replace the oldest
FIRST = 6_144  # that must be there before the training begins
STEPS = 64  # of one call of the GPU
TEST_SEED, TEST = 999, 1_024  # components for the held-out mixtures
TEMPERATURE = 1.3


def render_chunk(task: tuple[int, int]) -> tuple[np.ndarray, list[dict], bool]:
    """Render components: int16, (3, CHUNK, *SHAPE), their table, and if they are for the test."""
    seed, start = task
    arrays, rows = np.empty((3, CHUNK, *SHAPE), np.int16), []
    for k in range(CHUNK):
        rng = np.random.default_rng([seed, 3, start + k])
        signals, row = render_components(rng, (0.5, 40.0))
        arrays[:, k] = np.clip(np.stack(signals) / UNIT, -32767, 32767).round()
        rows.append(row)
    return arrays, rows, seed == TEST_SEED


class Renderer:
    """Renders components in processes; `take` returns those that are ready."""

    def __init__(self, seed: int):
        # processes are forked before JAX starts its threads
        self._pool = multiprocessing.get_context("fork").Pool(max(1, os.cpu_count() - 3))
        self._room, self._ready = threading.Semaphore(200), []
        threading.Thread(target=self._receive, args=(seed,), daemon=True).start()

    def _receive(self, seed: int) -> None:
        def tasks():
            test = ((TEST_SEED, start) for start in range(0, TEST, CHUNK))
            for task in itertools.chain(test, ((seed, s) for s in itertools.count(0, CHUNK))):
                self._room.acquire()
                yield task

        for chunk in self._pool.imap_unordered(render_chunk, tasks()):
            self._ready.append(chunk)

    def take(self, most: int) -> list:
        """Return at most so many chunks."""
        chunks = [self._ready.pop(0) for _ in range(min(most, len(self._ready)))]
        for _ in chunks:
            self._room.release()
        return chunks

    def stop(self) -> None:
        """End the processes."""
        for process in self._pool._pool:
            process.kill()


def use_jax() -> None:
    """Let Keras build the kit's models on JAX: they call nothing of TensorFlow themselves."""
    os.environ["KERAS_BACKEND"] = "jax"
    stand_in = types.ModuleType("hbac_utils.utils.backend")
    stand_in.keras = importlib.import_module("keras")
    stand_in.tf, stand_in.use_own_settings = MagicMock(), lambda policy="float32": None
    stand_in.tf.config.get_visible_devices = lambda kind: []
    sys.modules[stand_in.__name__] = stand_in
    patterns.np = raters.np = importlib.import_module("jax.numpy")  # for the truth, on the GPU


def mix(memory: dict, count, key, n: int):
    """Mix windows as `mixtures.Mixtures` does; return EEG, float16, and true probabilities."""
    import jax
    import jax.numpy as jnp

    m, keys = mixtures, jax.random.split(key, 8)
    middle, reach = components.SPARE_SECONDS * 100, int(m.PATTERN_SHIFT * 200)
    low = jnp.array([0, middle - reach, 0, 0])
    high = jnp.array([2 * middle, middle + reach, 2 * middle, 2 * middle])
    numbers = jax.random.randint(keys[0], (n, 4), 0, count)
    begins = jax.random.randint(keys[1], (n, 4), low, high)
    mirrored = jax.random.bernoulli(keys[2], 0.5, (n, 4))
    draws = jax.random.uniform(keys[3], (n, 8))
    alone = jax.random.uniform(keys[4], (n,)) < m.UNREADABLE
    failing = jax.random.randint(keys[5], (n,), 1, 4)
    order = jnp.argsort(jax.random.uniform(keys[6], (n, SHAPE[1])))
    parameters = memory["parameters"][numbers[:, 1]]
    contrast = parameters[:, 0] + m.CONTRAST_SPREAD * jax.random.normal(keys[7], (n,))
    limit, times = 1024 / UNIT, jnp.arange(m.WINDOW_SAMPLES) / m.SAMPLING_RATE
    swap, pairs = jnp.array(m.MIRROR), jnp.array(m._PAIRS)

    def read(kind, number, begin, mirrored):
        window = jax.lax.dynamic_slice(kind, (number, begin, 0), (1, m.WINDOW_SAMPLES, SHAPE[1]))
        window = window[0].astype(jnp.float32)
        return jnp.where(mirrored, window[:, swap], window)

    def one(number, begin, mirrored, u, contrast, alone, failing, order):
        kinds = (*memory["arrays"], memory["arrays"][0])
        background, pattern, artifact, second = map(read, kinds, number, begin, mirrored)
        fast, slow = m.FADE_SECONDS
        constant = fast * (slow / fast) ** u[6]
        share = jax.nn.sigmoid((times - u[5] * m.WINDOW_SECONDS) / constant)[:, None]
        faded = jnp.sqrt(1 - share) * background + jnp.sqrt(share) * second
        x = jnp.where(u[4] < m.FADED, faded, background)
        steep, flat = m.TILT
        tilt = jnp.where(u[0] < m.TILTED, steep + u[0] / m.TILTED * (flat - steep), 0.0)
        x = x - tilt * jnp.pad(x, ((1, 0), (0, 0)))[:-1]
        x = x * jnp.where(u[2] < 0.5, 1.0, -1.0) * jnp.exp(m.GAIN * (2 * u[1] - 1))
        pair = pairs[memory["largest"][number[1]]]
        a, b = jnp.where(mirrored[1], swap[pair], pair)
        amplitude = 4 * (x[m.SEGMENT, a] - x[m.SEGMENT, b]).std() * 10 ** (contrast / 20) * UNIT
        amplitude = jnp.where(contrast > m.MIN_CONTRAST, amplitude, 0.0)
        x = x + pattern * (amplitude / memory["size"][number[1]])
        x = x * jnp.minimum(1, m.MAX_AMPLITUDE / jnp.maximum(amplitude, 1)) + artifact
        x = jnp.where((u[3] < m.FAILED_ELECTRODES) & (order < failing), 0.0, x)
        least, most = m.LARGE_ARTIFACTS
        x = jnp.where(alone, artifact * least * (most / least) ** u[7], x)
        return (jnp.round(jnp.clip(x, -limit, limit)) * UNIT).astype(jnp.float16)

    eeg = jax.vmap(one)(numbers, begins, mirrored, draws, contrast, alone, failing, order)
    judged = patterns.evidence(contrast, *parameters[:, 1:].T)
    judged = judged.at[:, 0].set(jnp.where(alone, m.NO_PATTERN, judged[:, 0]))
    return eeg, raters.class_probabilities(judged)


def train(options: argparse.Namespace) -> None:
    """Train, and write the weights after every epoch."""
    renderer = Renderer(options.seed)
    use_jax()
    import jax
    import jax.numpy as jnp
    import keras
    import optax

    from hbac_utils.models.classifier import _assemble
    from hbac_utils.recipe import load_recipe

    recipe = load_recipe("simulated")
    stage, batch = recipe.stages[0], recipe.stages[0].batch_size
    keras.utils.set_random_seed(recipe.seed)
    model = _assemble(recipe, pretrained=False)
    if options.weights:
        model.load_weights(options.weights)

    def empty(n: int) -> dict:
        arrays = [jnp.zeros((n, *SHAPE), jnp.int16) for _ in components.KINDS]
        columns = {"parameters": jnp.zeros((n, 6)), "size": jnp.ones(n)}
        return {"arrays": arrays, "largest": jnp.zeros(n, jnp.int32), **columns}

    @functools.partial(jax.jit, donate_argnums=0)
    def put(memory: dict, chunk: dict, place):
        def write(old, new):
            return jax.lax.dynamic_update_slice_in_dim(old, new.astype(old.dtype), place, 0)

        return jax.tree.map(write, memory, chunk)

    def as_memory(arrays: np.ndarray, rows: list[dict]) -> dict:
        table = {name: np.array([row[name] for row in rows]) for name in ("largest", "size")}
        parameters = np.array([[row[name] for name in PARAMETERS] for row in rows])
        return {"arrays": list(arrays), "parameters": parameters, **table}

    memory, test, seen, tested = empty(RING), empty(TEST), 0, 0

    def receive(most: int) -> None:
        nonlocal memory, test, seen, tested
        for arrays, rows, for_test in renderer.take(most):
            if for_test:
                test, tested = put(test, as_memory(arrays, rows), tested), tested + CHUNK
            else:
                memory, seen = put(memory, as_memory(arrays, rows), seen % RING), seen + CHUNK

    def divergence(truth, predicted):
        return keras.losses.kl_divergence(truth, predicted)

    def loss(weights, state, eeg, truth):
        out, state = model.stateless_call(weights, state, {"eeg": eeg}, training=True)
        return divergence(truth, out).mean(), state

    optimizer = optax.inject_hyperparams(optax.adamw)(0.0, weight_decay=recipe.weight_decay)

    @functools.partial(jax.jit, donate_argnums=2)
    def steps(memory, count, carry, key, rates):
        def step(carry, now):
            weights, state, slots = carry
            key, slots.hyperparams["learning_rate"] = now
            eeg, truth = mix(memory, count, key, batch)
            gradient = jax.value_and_grad(loss, has_aux=True)
            (value, state), gradients = gradient(weights, state, eeg, truth)
            updates, slots = optimizer.update(gradients, slots, weights)
            return (optax.apply_updates(weights, updates), state, slots), value

        return jax.lax.scan(step, carry, (jax.random.split(key, STEPS), rates))

    @jax.jit
    def score(test, weights, state, key):
        eeg, truth = mix(test, TEST, key, batch)
        out, _ = model.stateless_call(weights, state, {"eeg": eeg}, training=False)
        return divergence(truth, out).mean()

    while seen < FIRST or tested < TEST:
        receive(64)
        time.sleep(0.05)
    weights = [v.value for v in model.trainable_variables]
    carry = (weights, [v.value for v in model.non_trainable_variables], optimizer.init(weights))
    per_epoch = recipe.data.simulated.windows // batch // STEPS
    warm, total = stage.warmup_epochs * per_epoch * STEPS, stage.epochs * per_epoch * STEPS
    done = np.arange(total)
    cosine = 0.5 * (1 + np.cos(np.pi * (done - warm) / (total - warm)))
    rates = stage.learning_rate * np.where(done < warm, done / warm, cosine)
    options.out.mkdir(parents=True, exist_ok=True)
    keys = jax.random.split(jax.random.key(options.seed), stage.epochs * per_epoch)
    begin = time.monotonic()
    for number, key in enumerate(keys):
        part = jnp.asarray(rates[number * STEPS : (number + 1) * STEPS], jnp.float32)
        carry, values = steps(memory, min(seen, RING), carry, key, part)
        receive(8)
        if (number + 1) % per_epoch == 0:
            tests = [score(test, *carry[:2], k) for k in jax.random.split(jax.random.key(5), 16)]
            windows = (number + 1) * STEPS * batch
            print(
                f"{windows:,} windows, {windows / (time.monotonic() - begin):,.0f}/s: training "
                f"{values.mean():.4f}, held out {np.mean(tests):.4f}, {seen:,} components",
                flush=True,
            )
            for variable, value in zip(model.trainable_variables, carry[0], strict=True):
                variable.assign(value)
            for variable, value in zip(model.non_trainable_variables, carry[1], strict=True):
                variable.assign(value)
            model.save_weights(options.out / "simulated.weights.h5")
    renderer.stop()
    os._exit(0)  # its threads would wait for the processes


def publish(options: argparse.Namespace) -> None:
    """Write the run of the package."""
    import h5py

    from hbac_utils.data.dataset import FoldData
    from hbac_utils.data.store import open_store
    from hbac_utils.models.classifier import load_classifier
    from hbac_utils.recipe import load_recipe, save_recipe
    from hbac_utils.training.runs import WEIGHTS, summarize
    from hbac_utils.training.test_time import predict_stored
    from hbac_utils.training.trainer import _save_predictions

    recipe, fold = load_recipe("simulated"), options.run / "fold0"
    fold.mkdir(parents=True)
    model = load_classifier(recipe, options.weights)
    logits = model.get_layer("decisions")
    logits.set_weights([weights / options.temperature for weights in logits.get_weights()])
    model.save_weights(fold / "single.weights.h5")
    with h5py.File(fold / "single.weights.h5") as single, h5py.File(fold / WEIGHTS, "w") as half:

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                half.require_group(name)
            else:
                half[name] = item[...].astype(np.float16 if item.dtype.kind == "f" else item.dtype)
            half[name].attrs.update(item.attrs)

        half.attrs.update(single.attrs)
        single.visititems(copy)
    (fold / "single.weights.h5").unlink()
    save_recipe(recipe, options.run / "recipe.json")
    store = open_store(options.store)
    data = FoldData(store, recipe, 0)
    model = load_classifier(recipe, fold / WEIGHTS)
    (predicted,) = predict_stored(model, store, data.evaluation, recipe.inputs, recipe.tta).values()
    for name in ("last", "best"):
        _save_predictions(data, predicted, fold, name)
    print(summarize(options.run, store)["scores"])


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("task", choices=("train", "publish"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--temperature", type=float, default=TEMPERATURE)
    options = parser.parse_args()
    {"train": train, "publish": publish}[options.task](options)


if __name__ == "__main__":
    main()
