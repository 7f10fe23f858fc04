"""The benchmark measures every line, with its bound, and writes what it prints."""

import json
import re
from pathlib import Path

import keras
import pytest

from hbac_utils.models import applications

GOALS = {
    "pack EEG : pyarrow decoding": "≥ 0.50",
    "pack spectrograms : pyarrow decoding": "≥ 0.60",
    "pack spectrograms : starter's .npy": "≥ 4.00",
    "EEG windows into batches : numpy copying": "≥ 0.50",
    "EEG windows into batches, MixUp : numpy copying": "≥ 0.20",
    "Kaggle windows into batches, MixUp : starter": "≥ 4.00",
    "Kaggle windows into batches, plain : starter": "≥ 4.00",
    "vipeegnet on T4 × 2, windows delivered : needed": "≥ 1.00",
    "simulated windows mixed per s": "≥ 400",
    "training step, compact: pipeline : memory": "≥ 0.95",
    "prediction step, compact: pipeline : memory": "≥ 0.90",
    "training step, EfficientNetV2-B0: pipeline : memory": "≥ 0.95",
    "prediction step, EfficientNetV2-B0: pipeline : memory": "≥ 0.90",
    "view EEG spectrogram, 32×32 : forward pass of EfficientNetV2-B0": "≤ 0.35",
    "growth, plan the simulation: slowest : fastest size": "≤ 1.15",
    "growth, pack: slowest : fastest size": "≤ 1.15",
    "growth, an epoch's batches: slowest : fastest size": "≤ 1.15",
}


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend("benchmarks")
        import bench

        yield bench


def tiny_network(backbone, input_shape, pretrained=True):
    image = keras.Input(input_shape)
    return keras.Model(image, keras.layers.Conv2D(8, 3, 8)(image))


def test_every_line_is_measured_and_written(bench, competition, tmp_path, monkeypatch, capsys):
    # the deep network takes a minute to trace, and its speed is of no interest here
    monkeypatch.setattr(applications, "build", tiny_network)
    out = tmp_path / "bench"
    bench.main(["--quick", "--data", str(competition.path), "--out", str(out)])
    report = json.loads((tmp_path / "bench.json").read_text())
    assert {line["name"]: line["goal"] for line in report["lines"]} == GOALS
    printed = capsys.readouterr().out
    for line in report["lines"]:
        assert line["measured"] > 0
        assert line["verdict"] in ("pass", "fail")
        assert line["name"] in printed
    assert report["cores"] >= 1
    assert report["versions"]["tensorflow"]
    assert not (out / "work").exists(), "what was packed is gone"


def test_a_line_has_a_verdict(bench):
    assert bench.Line("a", 0.5, floor=0.5).verdict == "pass"
    assert bench.Line("a", 0.49, floor=0.5).verdict == "fail"
    assert bench.Line("a", 0.36, ceiling=0.35).verdict == "fail"


def test_cases_take_turns_there_and_back(bench):
    order = []
    cases = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert bench.take_turns(3, cases) == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert order == list("abbaab")
    assert bench.ratio({"a": [1, 4, 9], "b": [2, 2, 2]}, "a", "b") == 2


def test_subsets_keep_whole_spectrograms(bench, competition, tmp_path):
    small = bench.subset(competition, 10, tmp_path / "subset")
    assert 10 <= small.train["eeg_id"].nunique() < 40
    every = competition.train[
        competition.train["spectrogram_id"].isin(small.train["spectrogram_id"])
    ]
    assert len(small.train) == len(every)


@pytest.fixture(scope="module")
def cost():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend("benchmarks")
        import cost

        yield cost


def test_operations_bytes_and_hours_are_those_worked_out_by_hand(cost):
    """Convolution 2·27·4·64 and dense 2·4·6 operations; kept: 8·8·3, 8·8·4, 4 and 6 floats."""
    image = keras.Input((8, 8, 3), name="eeg")
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(6, use_bias=False, activation="softmax")(x)
    counts = cost.count_step(keras.Model({"eeg": image}, x), batch=2)
    assert 13_824 + 48 <= counts.flops < 14_600, "and a few of the activations"
    assert counts.kept == 4 * (192 + 256 + 4 + 6)
    (forward,) = [work for work in counts.works if work.kind == "Conv2D"]
    assert (forward.flops, forward.forward) == (2 * 13_824, True)
    assert forward.bytes == 4 * (2 * 192 + 108 + 2 * 256)
    backward = [work for work in counts.works if work.kind.startswith("Conv2DBackprop")]
    assert [work.kind for work in backward] == ["Conv2DBackpropFilter"], "not of the image"
    assert (backward[0].flops, backward[0].bytes) == (forward.flops, forward.bytes)

    # operations take 2 s and bytes 4 s: the longer one, and the start
    machine = cost.Machine(half=1, single=13_824, bandwidth=1004, start=0.5)
    assert forward.seconds(machine) == 4.5
    free = cost.Machine(half=1, single=1e9, bandwidth=1e30, start=0)
    assert counts.seconds(free, training=False) == pytest.approx(counts.flops / 1e9)
    started = cost.Machine(half=1e30, single=1e30, bandwidth=1e30, start=1)
    assert counts.seconds(started) == (len(counts.works) + 2 * 13) / 2
    moved = cost.Machine(half=1e30, single=1e30, bandwidth=1, start=0)
    rest = sum(work.bytes for work in counts.works)
    assert counts.seconds(moved) == pytest.approx((rest + 4 * 32 * (108 + 24)) / 2)

    windows, held_out = 15 * 16_000 + 5 * 5_080, 20 * 4_100
    seconds = cost.fold_seconds(cost.load_recipe("vipeegnet"), training=3.0, forward=0.5)
    assert seconds == pytest.approx(windows * 3 + held_out * 0.5)


def test_a_depthwise_convolution_has_the_operations_of_its_kernel(cost):
    """2·9 operations for each of 8·8·4 outputs, forward and for both gradients."""
    image = keras.Input((8, 8, 3), name="eeg")
    x = keras.layers.Conv2D(4, 1, use_bias=False)(image)
    x = keras.layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(6, activation="softmax")(x)
    works = cost.count_step(keras.Model({"eeg": image}, x), batch=2).works
    depthwise = {work.kind[21:]: work.flops for work in works if work.kind.startswith("Depthwise")}
    assert depthwise == dict.fromkeys(("", "BackpropInput", "BackpropFilter"), 2 * 18 * 256)


TINY = """
name: {name}
view: {{kind: kaggle_spectrogram, size: [{size}, {size}]}}
backbone: {{kind: keras_mobilenetv3}}
stages: [{{epochs: 2, batch_size: 4}}]
reduced: {{stages.0.batch_size: 2}}
"""


def test_costs_are_printed_and_checked_on_this_machine(cost, tmp_path, monkeypatch, capsys):
    """Two recipes with a single convolution."""
    monkeypatch.setattr(applications, "build", tiny_network)
    names = [str(tmp_path / f"{name}.yaml") for name in ("small", "large")]
    for name, size in zip(names, (16, 64), strict=True):
        Path(name).write_text(TINY.format(name="tiny", size=size))
    cost.main(names)
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split()[:2] == ["recipe", "input"]
    _, shape, parameters, operations, _, batch, _, hours = rows[1].split()
    # 8·(27 + 1) of the convolution, 6·(8 + 1) of the head
    assert (shape, parameters, batch) == ("64×64×3", "278", "4")
    recipe = cost.load_recipe(names[1])
    counts = cost.count(recipe)
    assert float(operations) == pytest.approx(counts.flops / 1e9, abs=0.01)
    training, forward = (counts.seconds(cost.T4_PAIR, training=t) for t in (True, False))
    expected = 5 * 2 * (16_000 * training + 4_100 * forward) / 3600
    assert 0 < float(hours) == pytest.approx(expected, abs=0.01)

    table = cost.check(names, turns=2)
    ratio = table["measured ms"] / table["predicted ms"]
    assert table["measured/predicted"].tolist() == pytest.approx(ratio.tolist())
    assert table["predicted ms"][1] > table["predicted ms"][0] > 0
    speed, *_, verdict = capsys.readouterr().out.splitlines()
    assert all(
        float(n) > 0 for n in re.findall(r"this machine: (\d+) .* (.*) GB .* (\d+) µs", speed)[0]
    )
    (worst,) = re.findall(r"off by (.*) at most \(goal: 1\.5\)", verdict)
    assert float(worst) == pytest.approx(ratio.max() / ratio.min(), abs=0.01)
