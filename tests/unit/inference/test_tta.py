"""Test-time augmentation: each change does what it says, all are averaged, gains are measured."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from hbac_utils.cli import main
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import TestTime as Changes  # pytest would collect it as a test
from hbac_utils.recipe import override
from hbac_utils.training import test_time
from hbac_utils.training.test_time import Variant, describe_gains, measure, predict_batch, variants
from hbac_utils.training.trainer import train

COLUMNS = list(VOTE_COLUMNS)


@pytest.fixture
def batch():
    random = np.random.default_rng(0)
    return {
        "eeg": random.normal(size=(2, 10_000, 19)).astype(np.float16),
        "spectrogram": random.normal(size=(2, 300, 400)).astype(np.float16),
    }


def test_a_mirror_exchanges_the_hemispheres_of_all_inputs(batch):
    mirrored = Variant(mirror=True)(batch)
    left, right = ELECTRODES.index("F7"), ELECTRODES.index("F8")
    np.testing.assert_array_equal(mirrored["eeg"][..., left], batch["eeg"][..., right])
    ll, rl, lp, rp = np.split(batch["spectrogram"], 4, axis=2)
    expected = np.concatenate([rl, ll, rp, lp], axis=2)
    np.testing.assert_array_equal(mirrored["spectrogram"], expected)
    for name, twice in Variant(mirror=True)(mirrored).items():
        np.testing.assert_array_equal(twice, batch[name])


def test_shift_and_polarity_change_the_eeg_alone(batch):
    inverted = Variant(polarity=True)(batch)
    np.testing.assert_array_equal(inverted["eeg"], -batch["eeg"])
    np.testing.assert_array_equal(inverted["spectrogram"], batch["spectrogram"])
    later = Variant(shift=1.0)(batch)
    np.testing.assert_array_equal(later["eeg"][:, :-200], batch["eeg"][:, 200:])
    assert not later["eeg"][:, -200:].any()
    earlier = Variant(shift=-0.5)(batch)
    np.testing.assert_array_equal(earlier["eeg"][:, 100:], batch["eeg"][:, :-100])
    assert not earlier["eeg"][:, :100].any()
    np.testing.assert_array_equal(later["spectrogram"], batch["spectrogram"])


class PeakModel:
    """Probabilities that change with mirror, polarity and shift."""

    def predict_on_batch(self, inputs):
        logits = inputs["eeg"][:, 5000, :6].astype(np.float64)
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def test_predictions_of_all_combinations_are_averaged(batch):
    changes = Changes(mirror=True, polarity=True, shifts=(-1, 1))
    made = variants(changes)
    assert len(made) == len(set(made)) == 12
    assert made[0] == Variant()
    apart = [PeakModel().predict_on_batch(variant(batch)) for variant in made]
    together = predict_batch(PeakModel(), batch, changes)
    np.testing.assert_allclose(together, np.mean(apart, axis=0))
    logs = predict_batch(PeakModel(), batch, changes.model_copy(update={"average": "log"}))
    geometric = np.prod(apart, axis=0) ** (1 / 12)
    np.testing.assert_allclose(logs, geometric / geometric.sum(axis=1, keepdims=True))


def test_gains_are_measured_out_of_fold(run, store):
    table = measure(run, store)
    scores = json.loads((run / "metrics.json").read_text())["scores"]["model"]
    score = scores["kl_all"] if scores["kl_reliable"] is None else scores["kl_reliable"]
    assert table.loc["none", ("probability", "kl")] == pytest.approx(score, rel=1e-4)
    for space in ("probability", "log"):
        assert (table[space, "from"] <= table[space, "difference"] + 1e-9).all()
        assert (table[space, "to"] >= table[space, "difference"] - 1e-9).all()
    baseline = table.loc["none", ("probability", "kl")]
    np.testing.assert_allclose(table["log", "difference"], table["log", "kl"] - baseline)
    assert list(table.index) == [
        "none", "mirror", "polarity", "shifts -1, +1 s", "mirror, polarity", "all",
    ]  # fmt: skip
    # this network is symmetric by design: mirroring changes nothing
    assert table.loc["mirror", ("probability", "difference")] == pytest.approx(0, abs=1e-3)
    assert table.loc["polarity", ("probability", "difference")] != 0


def test_only_a_significant_gain_is_recommended(monkeypatch, store, capsys):
    columns = pd.MultiIndex.from_product(
        [["probability", "log"], ["kl", "difference", "from", "to"]]
    )
    rows = [[0.8, 0, 0, 0] * 2, [0.79, -0.01, -0.02, 0.001] * 2]
    table = pd.DataFrame(rows, index=["none", "mirror"], columns=columns)
    assert "no change gains significantly" in describe_gains(table)
    table.loc["all"] = [0.7, -0.1, -0.2, -0.05, 0.6, -0.2, -0.3, -0.1]
    monkeypatch.setattr(test_time, "measure", lambda run, store: table)
    assert main(["tta", "some/run", "--store", str(store.path)]) == 0
    assert "greatest significant gain: all, averaged by log" in capsys.readouterr().out


def test_a_finished_run_is_predicted_anew_without_training(
    run, store, tiny_recipe, tmp_path, capsys
):
    folder = shutil.copytree(run, tmp_path / "run")
    before = pd.read_parquet(folder / "oof.parquet")
    changed = override(tiny_recipe, {"tta.polarity": True, "tta.shifts": [2.0]})
    scores = train(changed, store, folder)["scores"]
    assert "complete already: fold 0, 1" in capsys.readouterr().out
    after = pd.read_parquet(folder / "oof.parquet")
    assert after["label_id"].tolist() == before["label_id"].tolist()
    assert np.abs(after[COLUMNS] - before[COLUMNS]).to_numpy().max() > 1e-4
    plain = json.loads((run / "metrics.json").read_text())["scores"]
    assert scores["last"] == plain["last"]
    assert scores["model"] != scores["last"]
    train(tiny_recipe, store, folder)  # switched off again
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "oof.parquet"), before)
