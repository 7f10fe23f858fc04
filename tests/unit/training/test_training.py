"""Training: learning, exact resuming, time budget, averaged weights, precision, refusals."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hbac_utils.cli import main
from hbac_utils.data.dataset import FoldData
from hbac_utils.data.packing import pack
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.models.classifier import HEAD, build_classifier, load_classifier, save_weights
from hbac_utils.recipe import load_recipe, override, parse_recipe, save_recipe
from hbac_utils.synthetic.render import synthesize
from hbac_utils.training.optimizer import TwoRateAdamW
from hbac_utils.training.runs import STOP
from hbac_utils.training.state import TrainingState
from hbac_utils.training.trainer import train
from hbac_utils.utils.backend import keras, tf
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock

COLUMNS = list(VOTE_COLUMNS)
NUMBERS = ["fold", "stage", "epoch", "learning_rate", "loss", "kl_all", "kl_reliable"]


@pytest.fixture(scope="module")
def longer(tiny_recipe):
    """Two stages of two epochs, the best epoch kept, weights averaged."""
    changes = {"stages.0.epochs": 2, "stages.1.epochs": 2, "select": "best", "ema": 0.8}
    return override(tiny_recipe, changes)


@pytest.fixture(scope="module")
def undisturbed(longer, store, tmp_path_factory):
    """Fold 0 of the longer recipe, trained without an interruption."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(longer, store, folder, folds=[0])
    return folder


def assert_equal_runs(run, expected):
    history, wanted = (pd.read_csv(r / "fold0" / "history.csv")[NUMBERS] for r in (run, expected))
    pd.testing.assert_frame_equal(history, wanted, check_exact=True)
    oof, wanted = (pd.read_parquet(r / "oof.parquet")[COLUMNS] for r in (run, expected))
    pd.testing.assert_frame_equal(oof, wanted, check_exact=True)


def test_an_easy_simulation_is_learned(tmp_path):
    """After ten epochs the out-of-fold score is at least 10 % below the constant prior's."""
    data = synthesize(
        tmp_path / "data", eegs=80, patients=24, test_eegs=1, seed=1, evidence=5, balanced=True,
        progress=False,
    )  # fmt: skip
    stage = {"epochs": 10, "batch_size": 8, "learning_rate": 5e-3, "warmup_epochs": 1}
    recipe = parse_recipe(
        {
            "name": "easy",
            "data": {"folds": 2},
            "view": {"kind": "waveform", "rate": 40},
            "augment": {"polarity": 0.5},
            "backbone": {"kind": "compact", "width": 8},
            "stages": [stage],
            "select": "last",
        }
    )
    store = pack(data, tmp_path / "store", recipe.data, progress=False)
    scores = train(recipe, store, tmp_path / "run", folds=[0])["scores"]
    assert scores["model"]["kl_all"] < 0.9 * scores["prior"]["kl_all"]


def test_below_the_head_the_learning_rate_is_lower(store, tiny_recipe):
    recipe = override(tiny_recipe, {"weight_decay": 0.1})
    state, batches = TrainingState(recipe), FoldData(store, recipe).training_dataset(0).take(5)
    variables = state.model.trainable_variables
    head = np.array([v.path.startswith(HEAD) for v in variables])
    for rate in (0.0, 0.1):
        state.begin_fold()
        before = [v.numpy() for v in variables]
        state.begin_stage(recipe.stages[0].model_copy(update={"backbone_rate": rate}))
        state.model.optimizer.learning_rate = 2e-3
        for batch in batches:
            state.model.train_on_batch(*batch)
        moved = np.array([np.abs(v - b).max() for v, b in zip(variables, before, strict=True)])
        assert min(moved[head]) > 1e-3
        # five steps of Adam change no number by more than about five learning rates
        assert max(moved[~head]) <= 15e-3 * rate


def test_with_one_rate_the_optimizer_is_adamw():
    weights = [np.ones(3, np.float32), np.full((2, 2), 0.5, np.float32)]
    found = []
    for optimizer in (TwoRateAdamW(1e-2, 0.1), keras.optimizers.AdamW(1e-2, weight_decay=0.1)):
        variables = [keras.Variable(value) for value in weights]
        for step in range(4):
            optimizer.apply([(step - 1.3) * keras.ops.ones_like(v) for v in variables], variables)
        found.append([keras.ops.convert_to_numpy(v) for v in variables])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


# -- resuming ----------------------------------------------------------------


class Killed(Exception):
    """Stands for a kill after an epoch has been saved."""


def test_an_interrupted_training_resumes_with_the_same_numbers(
    longer, store, undisturbed, tmp_path, capsys
):
    """Out of time within a stage, then killed between two, where the average is not saved."""
    train(longer, store, tmp_path, folds=[0], max_hours=1e-9)
    assert "stopped: fold 0 is not complete" in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "fold0" / "history.csv")) == 1
    assert (tmp_path / "fold0" / "model.weights.h5").is_file()
    (tmp_path / "metrics.json").unlink()

    def kill(histories: pd.DataFrame) -> None:
        if len(histories) == 2:
            raise Killed

    with pytest.raises(Killed):
        train(longer, store, tmp_path, folds=[0], on_epoch=kill)
    assert (tmp_path / "fold0" / "progress.npz").is_file()
    assert not (tmp_path / "metrics.json").exists()
    train(longer, store, tmp_path, folds=[0])
    assert_equal_runs(tmp_path, undisturbed)
    assert not (tmp_path / "fold0" / "progress.npz").exists()


def test_a_fold_does_not_depend_on_the_folds_before_it(run, store, tiny_recipe, tmp_path):
    train(tiny_recipe, store, tmp_path / "alone", folds=[1])
    name = "fold1/predictions_last.parquet"
    first, again = (pd.read_parquet(folder / name) for folder in (run, tmp_path / "alone"))
    pd.testing.assert_frame_equal(first, again, check_exact=True)


def test_a_file_named_stop_ends_training_after_the_epoch(tiny_recipe, store, tmp_path, capsys):
    (tmp_path / STOP).touch()
    metrics = train(tiny_recipe, store, tmp_path)
    assert "fold 0, 1 is not complete" in capsys.readouterr().out
    assert metrics["folds"] == [0]
    assert (tmp_path / "fold0" / "progress.npz").is_file()


def test_damaged_progress_is_refused_in_one_line(longer, store, tmp_path):
    (tmp_path / "fold0").mkdir()
    (tmp_path / "fold0" / "progress.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(InputError, match=r"progress.npz: damaged .*; remove .*fold0 to train"):
        train(longer, store, tmp_path, folds=[0])


def test_two_trainings_of_one_run_wait_for_each_other(tiny_recipe, store, run, tmp_path, capsys):
    own = shutil.copytree(run, tmp_path / "run")
    before = (own / "fold0" / "model.weights.h5").stat().st_mtime_ns
    second = threading.Thread(target=train, args=(tiny_recipe, store, own))
    with lock(own / "training"):
        second.start()
        second.join(1)
        assert second.is_alive()
        assert "waiting: another process is writing" in capsys.readouterr().err
    second.join(60)
    assert not second.is_alive()
    assert "complete already: fold 0, 1" in capsys.readouterr().out
    weights = "fold0/model.weights.h5"
    assert (own / weights).stat().st_mtime_ns == before, "a complete run is left alone"


# -- averaged weights, refusals ----------------------------------------


@pytest.fixture(scope="module")
def averaging(longer, store):
    """A recipe with averaged weights, its training state, and the data of fold 0."""
    recipe = override(longer, {"augment": {}, "stages.0.learning_rate": 0.1, "ema": 0.2})
    return recipe, TrainingState(recipe), FoldData(store, recipe)


def test_averaged_weights_are_an_exponential_average_whose_momentum_rises(averaging):
    recipe, state, data = averaging
    state.begin_fold()
    state.begin_stage(recipe.stages[0])
    weights, mean, momenta = [], 0.0, iter([0.0, 2 / 11, 0.2])  # the last would be 3/12
    for inputs, targets, sample_weights in data.training_dataset(0).take(3):
        state.model.train_on_batch(inputs, targets, sample_weights)
        weights.append(state.model.trainable_variables[0].numpy())
        momentum = next(momenta)
        mean = momentum * mean + (1 - momentum) * weights[-1]
    with state.averaged(data, 0):
        np.testing.assert_allclose(state.model.trainable_variables[0], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(state.model.trainable_variables[0], weights[-1])


def test_averaged_weights_have_their_own_statistics(averaging, monkeypatch):
    """Mean and variance of what the first normalisation reads, computed from its inputs."""
    recipe, state, data = averaging
    state.begin_fold()
    state.begin_stage(recipe.stages[0])
    batches = list(data.training_dataset(0).take(data.steps_per_epoch(0)))
    for batch in batches:
        state.model.train_on_batch(*batch)
    before = state.arrays()
    backbone = state.model.get_layer("tiny_network")
    norm = backbone.get_layer("tiny_stem_norm")
    view = state.model.get_layer("waveform")
    read = keras.Model(backbone.input, norm.input)
    raw = norm.moving_variance.numpy()
    with state.averaged(data, 0):
        values = [read(view(tf.cast(inputs["eeg"], tf.float32))).numpy() for inputs, *_ in batches]
        weights = norm.momentum ** np.arange(len(batches))[::-1]
        for found, moment in ((norm.moving_mean, np.mean), (norm.moving_variance, np.var)):
            moments = [moment(value, axis=(0, 1, 2)) for value in values]
            expected = np.average(moments, axis=0, weights=weights)
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
        assert np.abs(norm.moving_variance / raw - 1).max() > 0.1
        averaged = [variable.numpy() for variable in state.model.variables]
    for value, same in zip(state.arrays(), before, strict=True):
        np.testing.assert_array_equal(value, same)
    monkeypatch.setattr(data, "training_dataset", None)  # they are not computed twice
    state.end_stage(data, 0)
    for variable, same in zip(state.model.variables, averaged, strict=True):
        np.testing.assert_array_equal(variable, same)


def test_a_loss_that_is_not_finite_names_the_windows(tiny_recipe, store, tmp_path, monkeypatch):
    def spoil(state):
        head = state.model.get_layer("probabilities")
        head.kernel.assign(np.full(head.kernel.shape, np.nan))

    monkeypatch.setattr(TrainingState, "begin_fold", spoil)
    message = r"step 0: the loss is nan.*label_id \d+, \d+"
    with pytest.raises(InputError, match=message) as error:
        train(tiny_recipe, store, tmp_path / "run", folds=[0])
    listed = str(error.value).split("label_id ")[1].split(" and")[0]
    assert {int(word) for word in listed.split(",")} <= set(store.windows["label_id"])


def test_a_run_is_refused_before_any_work(run, store, competition, tiny_recipe, tmp_path):
    with pytest.raises(InputError, match="another recipe"):
        train(override(tiny_recipe, {"seed": 9}), store, run)
    part = pack(competition, tmp_path / "part", tiny_recipe.data, limit=20, progress=False)
    with pytest.raises(InputError, match="holds a run on other data than .*part; choose another"):
        train(tiny_recipe, part, run, folds=[1])
    with pytest.raises(InputError, match="folds 2: '2' is no fold of recipe tiny"):
        train(tiny_recipe, store, tmp_path / "x", folds=[2])
    with pytest.raises(InputError, match="max_hours nan: give hours, or 0 for no limit"):
        train(tiny_recipe, store, tmp_path / "x", max_hours=float("nan"))
    with pytest.raises(InputError, match="min_votes"):
        train(override(tiny_recipe, {"stages.1.min_votes": 99}), store, tmp_path / "x")
    with pytest.raises(InputError, match="need at least 20 patients"):
        train(override(tiny_recipe, {"data.folds": 20}), store, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_wrong_parameters_are_refused_before_packing(competition, run, tmp_path, capsys):
    (tmp_path / "file").touch()
    common = ["train", "--data", str(competition.path), "--store", str(tmp_path / "store")]
    for option, value, reason in (
        ("--folds", "7", "'7' is no fold of recipe compact"),
        ("--folds", "0-1", "'0-1' is no fold"),
        ("--max-hours", "nan", "nan is not a number at least 0"),
        ("--recipe", "nothing", "no such recipe"),
        ("--run", str(run), "holds another recipe's run"),
        ("--run", str(tmp_path / "file" / "run"), "cannot be written"),
    ):
        assert main([*common, "--run", str(tmp_path / "run"), option, value]) == 2
        assert reason in capsys.readouterr().err
    out = str(tmp_path / "file" / "blend")
    assert main(["blend", "no member", "--out", out]) == 2
    assert f"{out}: cannot be written (because of {tmp_path}/file)" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"file"}


# -- precision, recipes, devices ------------------------------------------------


def test_a_gpu_trains_in_half_precision_which_starts_with_the_backbone(monkeypatch, tmp_path):
    """Prediction is in single precision; settings of the notebook count for neither."""
    small = override(load_recipe("eeg-spectrogram", reduced=True), {"view.bins": 8})
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_image_data_format("channels_first")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind="": ["GPU:0"])
    model = build_classifier(small)
    monkeypatch.undo()
    types = {layer.name: layer.compute_dtype for layer in model.layers if layer.name != "eeg"}
    for name in ("signal_augmentation", "eeg_spectrogram", "view_augmentation", "probabilities"):
        assert types[name] == "float32"
    assert types["pool"] == "float16"
    save_weights(model, tmp_path / "model.weights.h5")
    loaded = load_classifier(small, tmp_path / "model.weights.h5")
    assert loaded.get_layer("pool").compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


def shrunk(name):
    """Reduce a recipe of the kit, to one short epoch."""
    recipe = load_recipe(name, reduced=True)
    stage = recipe.stages[0].model_dump() | {"epochs": 1, "batch_size": 32}
    changes = {"data.folds": 2, "stages": [stage]}
    if recipe.view.is_series and not recipe.weights:
        changes |= {"view.rate": 40, "backbone.width": 4}
    return override(recipe, changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in Path("recipes").glob("*.yaml")))
def test_every_recipe_trains_and_predicts(name, store, competition, tmp_path):
    train(shrunk(name), store, tmp_path / "run", folds=[0])
    result = predict([open_run(tmp_path / "run")], competition, progress=False)
    assert not result.fallbacks
    assert result.submission[COLUMNS].to_numpy().std() > 0


REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from hbac_utils.data.store import open_store
from hbac_utils.data.dataset import FoldData
from hbac_utils.recipe import load_recipe
from hbac_utils.training.state import TrainingState
recipe, store = load_recipe(sys.argv[1]), open_store(sys.argv[2])
losses = []
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    state = TrainingState(recipe, strategy)
    # its statistics are of a replica's share of a batch, so two devices would differ from one
    for layer in state.model._flatten_layers():
        if "BatchNormalization" in type(layer).__name__:
            layer.trainable = False
        if type(layer).__name__ == "Dropout":
            layer.rate = 0
    state.begin_fold()
    state.begin_stage(recipe.stages[0])
    data = FoldData(store, recipe)
    history = state.model.fit(
        data.training_dataset(0), epochs=2, steps_per_epoch=data.steps_per_epoch(0),
        shuffle=False, verbose=0)
    losses.append(history.history["loss"])
    print(state.strategy.num_replicas_in_sync, *losses[-1])
np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
assert losses[0][0] != losses[0][1]
"""


@pytest.mark.slow
def test_two_devices_train_as_one(compact_recipe, store, tmp_path):
    # without augmentation and dropout, whose random numbers each device draws for itself
    calm = override(
        compact_recipe, {"stages.0.augment": False, "stages.0.epochs": 2, "stages.0.batch_size": 8}
    )
    save_recipe(calm, tmp_path / "recipe.json")
    child = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tmp_path / "recipe.json"), str(store.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-2000:]
    assert [line.split()[0] for line in child.stdout.splitlines()] == ["1", "2"]
