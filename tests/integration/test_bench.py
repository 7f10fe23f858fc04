"""The pipeline benchmark measures every line, with its bound, and writes what it prints."""

import json
import re

import keras
import pytest

from hbac_utils.models import pretrained

NAMES = [
    "pack EEG : pyarrow decoding",
    "pack spectrograms : pyarrow decoding",
    "spectrogram files packed per s",
    "EEG windows into batches : numpy copying",
    "EEG windows into batches, MixUp : numpy copying",
    "Kaggle windows into batches per s, with MixUp",
    "Kaggle windows into batches per s, plain",
    "simulated windows mixed per s",
    "training step, compact: pipeline : memory",
    "prediction step, compact: pipeline : memory",
    "training step, EfficientNetV2-B0: pipeline : memory",
    "prediction step, EfficientNetV2-B0: pipeline : memory",
    "view EEG spectrogram, 32×32 : forward pass of EfficientNetV2-B0",
    "growth, pack: slowest : fastest size",
    "growth, an epoch's batches: slowest : fastest size",
]
MUST = [
    "≥ 0.50", "≥ 0.60", "≥ 212", "≥ 0.50", "≥ 0.20", "≥ 5,244", "≥ 18,664", "≥ 400",
    "≥ 0.95", "≥ 0.90", "≥ 0.95", "≥ 0.90",
    "≤ 0.35", "≤ 1.15", "≤ 1.15",
]  # fmt: skip


@pytest.fixture(scope="module")
def pipeline():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend("benchmarks")
        import pipeline

        yield pipeline


def tiny_network(backbone, input_shape):
    image = keras.Input(input_shape)
    return keras.Model(image, keras.layers.Conv2D(8, 3, 8)(image))


def test_every_line_is_measured_and_written(pipeline, competition, tmp_path, monkeypatch, capsys):
    # the deep network takes a minute to trace, and its speed is of no interest here
    monkeypatch.setattr(pretrained, "_network", tiny_network)
    out = tmp_path / "bench"
    pipeline.main(["--quick", "--data", str(competition.path), "--out", str(out)])
    report = json.loads((tmp_path / "bench.json").read_text())
    assert [line["name"] for line in report["lines"]] == NAMES
    assert [line["must"] for line in report["lines"]] == MUST
    printed = capsys.readouterr().out
    for line in report["lines"]:
        assert line["measured"] > 0
        assert line["verdict"] in ("ok", "short")
        assert line["name"] in printed
    assert report["cores"] >= 1
    assert report["versions"]["tensorflow"]
    assert not (out / "work").exists(), "what was packed is gone"


def test_a_line_has_a_verdict(pipeline):
    assert pipeline.Line("a", 0.5, floor=0.5).verdict == "ok"
    assert pipeline.Line("a", 0.49, floor=0.5).verdict == "short"
    assert pipeline.Line("a", 0.36, ceiling=0.35).verdict == "short"


def test_cases_take_turns_there_and_back(pipeline):
    order = []
    cases = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}
    assert pipeline.take_turns(3, cases) == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert order == list("abbaab")
    assert pipeline.ratio({"a": [1, 4, 9], "b": [2, 2, 2]}, "a", "b") == 2


def test_subsets_keep_whole_spectrograms(pipeline, competition, tmp_path):
    small = pipeline.subset(competition, 10, tmp_path / "subset")
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


def test_operations_kept_tensors_and_hours_are_those_worked_out_by_hand(cost):
    """Convolution 2·27·4·64 and dense 2·4·6 operations; kept: 8·8·3, 8·8·4, 4 and 6 floats."""
    image = keras.Input((8, 8, 3), name="eeg")
    x = keras.layers.Conv2D(4, 3, padding="same", use_bias=False, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(6, use_bias=False, activation="softmax")(x)
    model = keras.Model({"eeg": image}, x)
    assert 13_824 + 48 <= cost.count_operations(model) < 14_600, "and a few of the activations"
    assert cost.count_kept_bytes(model) == 4 * (192 + 256 + 4 + 6)
    seen = 15 * (3 * 16_000 + 4_100) + 5 * (3 * 5_080 + 4_100)
    seconds = cost.fold_seconds(cost.load_recipe("vipeegnet"), 10**9)
    assert seconds == pytest.approx(seen * 1e9 / 5.4e12)


def test_costs_are_printed_and_checked_on_this_machine(cost, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "_network", tiny_network)
    cost.main(["compact", "eeg-spectrogram"])
    head, *rows = capsys.readouterr().out.splitlines()[1:]
    assert head.split()[:2] == ["recipe", "input"]
    assert [row.split()[:2] for row in rows] == [
        ["compact", "5000×18"], ["eeg-spectrogram", "128×256×3"],
    ]  # fmt: skip
    _, _, parameters, operations, _, batch, _, hours = rows[0].split()
    assert (parameters, batch) == ("149,237", "32")
    # 32 epochs of five folds: 16,000 windows, three times a forward pass, and 4,100
    expected = 5 * 32 * 52_100 * float(operations) * 1e9 / 5.4e12 / 3600
    assert float(hours) == pytest.approx(expected, abs=0.01)

    cost.main(["--check", "compact", "eeg-spectrogram"])
    head, first, second, verdict = capsys.readouterr().out.splitlines()
    predicted, measured, ratio = (float(number) for number in second.split()[-3:])
    assert first.split()[-3:] == ["1.00", "1.00", "1.00"]
    assert ratio == pytest.approx(measured / predicted, rel=0.1)
    (worst,) = re.findall(r"off by (.*) at most \(goal: 1\.5\)", verdict)
    assert float(worst) == pytest.approx(max(ratio, 1 / ratio), rel=0.02)
