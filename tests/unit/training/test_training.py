"""The training engine: resuming, time budget, averaged weights, precision, devices, refusals."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from hbac_utils.data.dataset import TrainingWindows
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.models.classifier import build_classifier
from hbac_utils.recipe import load_recipe, override, parse_recipe, save_recipe
from hbac_utils.training.runs import STOP
from hbac_utils.training.state import Workbench, check_memory, set_precision, training_bytes
from hbac_utils.training.trainer import train
from hbac_utils.utils.backend import keras, tf
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock

COLUMNS = list(VOTE_COLUMNS)
NUMBERS = ["fold", "stage", "epoch", "learning_rate", "loss", "kl_all", "kl_reliable"]

CHILD = """
import sys
from hbac_utils.data.store import open_store
from hbac_utils.recipe import load_recipe
from hbac_utils.training.runs import STOP
from hbac_utils.training.trainer import train
train(load_recipe(sys.argv[1]), open_store(sys.argv[2]), sys.argv[3])
"""


@pytest.fixture(scope="module")
def longer(tiny_recipe):
    """Two stages of two epochs, the best epoch kept, weights averaged."""
    changes = {"stages.0.epochs": 2, "stages.1.epochs": 2, "select": "best", "ema": 0.8}
    return override(tiny_recipe, changes)


@pytest.fixture(scope="module")
def undisturbed(longer, store, tmp_path_factory):
    """The longer recipe's run, from begin to end in one process."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(longer, store, folder)
    return folder


def assert_equal_runs(run, expected):
    for fold in (0, 1):
        tables = [pd.read_csv(folder / f"fold{fold}" / "history.csv") for folder in (run, expected)]
        np.testing.assert_allclose(*(t[NUMBERS] for t in tables), rtol=1e-4, atol=1e-6)
    tables = [pd.read_parquet(folder / "oof.parquet") for folder in (run, expected)]
    np.testing.assert_allclose(*(t[COLUMNS] for t in tables), atol=1e-5)


def epochs_in(run):
    rows = 0
    for path in run.glob("fold*/history.csv"):
        rows += len(pd.read_csv(path))
    return rows


def test_a_killed_run_goes_on_to_the_same_numbers(longer, store, undisturbed, tmp_path):
    run, recipe = tmp_path / "run", tmp_path / "recipe.json"
    save_recipe(longer, recipe)
    command = [sys.executable, "-c", CHILD, str(recipe), str(store.path), str(run)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # the first fold has four epochs; the second is in its first stage then
        while epochs_in(run) < 5 and child.poll() is None:
            time.sleep(0.01)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    assert not (run / "metrics.json").exists()
    train(longer, store, run)
    assert_equal_runs(run, undisturbed)
    assert not list(run.glob("fold*/progress.npz"))


def test_a_run_stopped_between_two_stages_goes_on_to_the_same_numbers(
    longer, store, undisturbed, tmp_path
):
    """What the second stage starts from is the first one's average, which nothing has saved."""

    def stop(histories: pd.DataFrame) -> None:
        if len(histories) == longer.stages[0].epochs:
            (tmp_path / STOP).touch()

    train(longer, store, tmp_path, on_epoch=stop)
    assert epochs_in(tmp_path) == longer.stages[0].epochs
    (tmp_path / STOP).unlink()
    train(longer, store, tmp_path)
    assert_equal_runs(tmp_path, undisturbed)


def test_a_complete_run_is_left_alone(longer, store, undisturbed, capsys):
    model = undisturbed / "fold0" / "model.weights.h5"
    before = model.stat().st_mtime_ns
    train(longer, store, undisturbed)
    assert "complete already: fold 0, 1" in capsys.readouterr().out
    assert model.stat().st_mtime_ns == before


def test_two_trainings_of_one_run_take_turns(tiny_recipe, store, run, tmp_path, capsys):
    own = shutil.copytree(run, tmp_path / "run")
    second = threading.Thread(target=train, args=(tiny_recipe, store, own))
    with lock(own / "training"):
        second.start()
        second.join(1)
        assert second.is_alive()
        assert "waiting: another process is writing" in capsys.readouterr().err
    second.join(60)
    assert not second.is_alive()
    assert "complete already" in capsys.readouterr().out
    assert not list(own.glob(".*lock"))


def test_a_time_budget_stops_cleanly_and_the_same_call_goes_on(
    longer, store, undisturbed, tmp_path, capsys
):
    run = tmp_path / "run"
    train(longer, store, run, max_hours=1e-9)
    assert "stopped: fold 0, 1 is not complete" in capsys.readouterr().out
    assert epochs_in(run) == 1
    assert (run / "fold0" / "model.weights.h5").is_file()
    assert (run / "metrics.json").is_file()
    train(longer, store, run)
    assert_equal_runs(run, undisturbed)


def test_whoever_wants_to_sees_the_histories_after_each_epoch(tiny_recipe, store, run, tmp_path):
    seen = []
    shutil.copytree(run / "fold0", tmp_path / "run" / "fold0")
    train(tiny_recipe, store, tmp_path / "run", on_epoch=seen.append)
    assert [len(history) for history in seen] == [3, 4]  # fold 0 has two epochs already
    assert seen[-1]["fold"].tolist() == [0, 0, 1, 1]


def test_a_fold_whose_last_epoch_uses_the_time_up_is_complete(tiny_recipe, store, tmp_path, capsys):
    short = override(tiny_recipe, {"stages": [tiny_recipe.stages[0].model_dump()]})
    train(short, store, tmp_path / "run", max_hours=1e-9)
    assert "stopped: fold 1 is not complete" in capsys.readouterr().out
    assert not (tmp_path / "run" / "fold0" / "progress.npz").exists()
    assert not (tmp_path / "run" / "fold1").exists()


def test_a_file_named_stop_ends_the_training_after_the_epoch(longer, store, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / STOP).touch()
    metrics = train(longer, store, tmp_path / "run")
    assert "fold 0, 1 is not complete" in capsys.readouterr().out
    assert metrics["folds"] == [0]
    assert (tmp_path / "run" / "fold0" / "progress.npz").is_file()


def test_averaged_weights_are_what_is_scored_and_saved(longer, store, tmp_path):
    bench = Workbench(longer)
    bench.begin_fold()
    bench.begin_stage(longer.stages[0])
    windows = TrainingWindows(store, np.arange(len(store.windows)), longer, 0)
    own, mean = [], None
    for inputs, targets, weights in windows.dataset().take(3):
        bench.model.train_on_batch(inputs, targets, weights)
        own.append(bench.model.trainable_variables[0].numpy())
        mean = own[-1] if mean is None else longer.ema * mean + (1 - longer.ema) * own[-1]
    with bench.averaged():
        np.testing.assert_allclose(bench.model.trainable_variables[0], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(bench.model.trainable_variables[0], own[-1])


def test_a_loss_that_is_no_number_names_the_windows(tiny_recipe, store, tmp_path, monkeypatch):
    def burst(bench):
        head = bench.model.get_layer("probabilities")
        head.kernel.assign(np.full(head.kernel.shape, np.nan))

    monkeypatch.setattr(Workbench, "begin_fold", burst)
    message = r"step 0: the loss is nan.*label_id \d+, \d+"
    with pytest.raises(InputError, match=message) as error:
        train(tiny_recipe, store, tmp_path / "run", folds=[0])
    listed = str(error.value).split("label_id ")[1].split(" and")[0]
    assert {int(word) for word in listed.split(",")} <= set(store.windows["label_id"])


def test_a_batch_that_does_not_fit_is_refused(tiny_recipe, store, tmp_path):
    many = override(tiny_recipe, {"stages.0.batch_size": 10_000_000})
    with pytest.raises(InputError, match=r"batch_size 10000000 needs about .* GB"):
        train(many, store, tmp_path / "run")


def test_the_estimate_of_memory_is_of_the_right_size(tiny_recipe):
    model = build_classifier(tiny_recipe)
    check_memory(model, 16)
    # the raw input in float16 and in float32, the view, and the layers after it
    assert 1e6 < training_bytes(model, 2) - training_bytes(model, 1) < 2e7
    assert training_bytes(model, 1) < psutil.virtual_memory().total


@pytest.mark.parametrize(("gpus", "policy"), [([], "float32"), (["GPU:0"], "mixed_float16")])
def test_a_gpu_computes_in_half_precision(gpus, policy, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    try:
        set_precision()
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")


def test_half_precision_begins_with_the_backbone():
    recipe = load_recipe("recipes/eeg-spectrogram.yaml")
    small = override(recipe, {"view.frames": 32, "view.bins": 8})
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_classifier(small)
    finally:
        keras.config.set_dtype_policy("float32")
    types = {layer.name: layer.compute_dtype for layer in model.layers if layer.name != "eeg"}
    for name in ("signal_augmentation", "eeg_spectrogram", "view_augmentation", "probabilities"):
        assert types[name] == "float32"
    assert types["pool"] == "float16"
    eeg = np.random.default_rng(0).normal(0, 30, (2, 10_000, 19)).astype(np.float16)
    probabilities = model.predict_on_batch({"eeg": eeg})
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


SMALL = {
    "kaggle_spectrogram": {"size": [64, 64]},
    "eeg_spectrogram": {"frames": 64, "bins": 16},
    "waveform": {"rate": 40},
}
RECIPES = [
    pytest.param(path.stem, marks=[] if path.stem == "compact" else pytest.mark.slow)
    for path in sorted(Path("recipes").glob("*.yaml"))
]


def shrunk(name):
    """A shipped recipe for a minute on a CPU: smaller views and EfficientNets, one short epoch."""
    recipe = load_recipe(name)
    looks = []
    for look in recipe.model_dump(mode="json")["branches"], [recipe.model_dump(mode="json")]:
        for part in look:
            image = part["view"].get("layout") != "series"
            part["view"] |= SMALL[part["view"]["kind"]] if image else {}
            part["backbone"] |= {"weights": "none"} if image else {"width": 8}
            if part["backbone"]["kind"] == "efficientnetv2":
                part["backbone"]["variant"] = "b0"
            looks.append(part)
    *branches, own = looks
    stage = own["stages"][0] | {"epochs": 1, "batch_size": 32}
    changes = {"stages": [stage], "data": own["data"] | {"folds": 2}, "branches": branches}
    return parse_recipe(own | changes)


RELOAD = """
import sys
from pathlib import Path
import pandas as pd
from hbac_utils.data.competition import open_competition
from hbac_utils.inference.predict import open_run, predict
run, competition, out = map(Path, sys.argv[1:])
predict([open_run(run)], open_competition(competition), progress=False).submission.to_parquet(out)
"""


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_and_predicts_the_same_in_a_fresh_process(
    name, store, competition, tmp_path
):
    train(shrunk(name), store, tmp_path / "run", folds=[0])
    here = predict([open_run(tmp_path / "run")], competition, progress=False)
    assert not here.fallbacks
    assert here.submission[COLUMNS].to_numpy().std() > 0
    arguments = [str(tmp_path / "run"), str(competition.path), str(tmp_path / "there.parquet")]
    subprocess.run([sys.executable, "-c", RELOAD, *arguments], check=True, capture_output=True)
    there = pd.read_parquet(tmp_path / "there.parquet")
    np.testing.assert_allclose(there[COLUMNS], here.submission[COLUMNS], atol=1e-5)


REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from hbac_utils.data.store import open_store
from hbac_utils.data.dataset import TrainingWindows
from hbac_utils.recipe import load_recipe
from hbac_utils.training.state import Workbench
recipe, store = load_recipe(sys.argv[1]), open_store(sys.argv[2])
losses = []
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    bench = Workbench(recipe, strategy)
    # its statistics are of a replica's share of a batch, so that two devices are not one
    for layer in bench.model._flatten_layers():
        if "BatchNormalization" in type(layer).__name__:
            layer.trainable = False
        if type(layer).__name__ == "Dropout":
            layer.rate = 0
    bench.begin_fold()
    bench.begin_stage(recipe.stages[0])
    windows = TrainingWindows(store, np.arange(len(store.windows)), recipe, 0)
    steps = windows.steps_per_epoch
    history = bench.model.fit(
        windows.dataset(), epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0)
    losses.append(history.history["loss"])
    print(bench.strategy.num_replicas_in_sync, *losses[-1])
np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)
assert losses[0][0] != losses[0][1]
"""


def test_two_devices_train_as_one(tiny_recipe, store, tmp_path):
    # without augmentation and dropout, whose random numbers each device draws for itself
    calm = override(
        tiny_recipe, {"stages.0.augment": False, "stages.0.epochs": 2, "stages.0.batch_size": 8}
    )
    save_recipe(calm, tmp_path / "recipe.json")
    child = subprocess.run(
        [sys.executable, "-c", REPLICAS, str(tmp_path / "recipe.json"), str(store.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-2000:]
    assert [line.split()[0] for line in child.stdout.splitlines()] == ["1", "2"]
