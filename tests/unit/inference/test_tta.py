"""Test-time changes: each does what it says, all are averaged, their gain is measured."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from hbac_utils.cli import main
from hbac_utils.data.test_loader import read_input
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.inference.tta import describe_gains, measure
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.models.test_time import Variant, average, predict_batch, variants
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import TestTime as Changes  # pytest would take it for a test
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.trainer import train
from hbac_utils.utils.errors import InputError

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
    assert (mirrored["spectrogram"][..., :100] == batch["spectrogram"][..., 200:300]).all() or (
        mirrored["spectrogram"][..., :100] == batch["spectrogram"][..., 100:200]
    ).all()
    twice = Variant(mirror=True)(mirrored)
    for name in batch:
        np.testing.assert_array_equal(twice[name], batch[name])


def test_a_shift_moves_the_eeg_alone_and_leaves_zeros(batch):
    later = Variant(shift=1.0)(batch)
    np.testing.assert_array_equal(later["eeg"][:, :-200], batch["eeg"][:, 200:])
    assert not later["eeg"][:, -200:].any()
    earlier = Variant(shift=-0.5)(batch)
    np.testing.assert_array_equal(earlier["eeg"][:, 100:], batch["eeg"][:, :-100])
    assert not earlier["eeg"][:, :100].any()
    np.testing.assert_array_equal(later["spectrogram"], batch["spectrogram"])


def test_polarity_turns_the_eeg_alone(batch):
    turned = Variant(polarity=True)(batch)
    np.testing.assert_array_equal(turned["eeg"], -batch["eeg"])
    np.testing.assert_array_equal(turned["spectrogram"], batch["spectrogram"])


def test_all_combinations_are_averaged(run, competition):
    model = next(iter(open_run(run).models.values()))
    eeg = np.stack(
        [read_input(competition, row, "eeg", load_recipe("compact").data).array
         for _, row in competition.test.head(3).iterrows()]
    )  # fmt: skip
    changes = Changes(mirror=True, polarity=True, shifts=(-1, 1))
    made = variants(changes)
    assert len(made) == len(set(made)) == 12
    assert made[0] == Variant()
    apart = [model.predict_on_batch(variant({"eeg": eeg})) for variant in made]
    together = predict_batch(model, {"eeg": eeg}, changes)
    np.testing.assert_allclose(together, np.mean(apart, axis=0), atol=1e-6)
    logs = predict_batch(model, {"eeg": eeg}, changes.model_copy(update={"average": "log"}))
    expected = np.exp(np.log(np.maximum(apart, 1e-6)).mean(axis=0))
    np.testing.assert_allclose(logs, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(average(apart, "log").sum(axis=1), 1)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tta.shifts": [0.0, 1.0]}, "tta.shifts|without 0"),
        ({"tta.shifts": [1.0, 1.0]}, "each once"),
        ({"tta.shifts": [60.0]}, "less than or equal to 10"),
        ({"tta.average": "median"}, "tta.average"),
    ],
)
def test_wrong_changes_are_refused(tiny_recipe, change, reason):
    with pytest.raises(InputError, match=reason):
        override(tiny_recipe, change)


def test_a_spectrogram_has_no_polarity():
    with pytest.raises(InputError, match="tta.polarity changes the EEG, which this view ignores"):
        override(load_recipe("paper-efficientnetv2b2"), {"tta.polarity": True})


def test_gains_are_measured_out_of_fold(run, store):
    table = measure(run, store)
    scores = json.loads((run / "metrics.json").read_text())["scores"]["model"]
    counted = scores["kl_reliable"] if scores["kl_reliable"] is not None else scores["kl_all"]
    for space in ("probability", "log"):
        assert table.loc["none", (space, "kl")] == pytest.approx(counted, abs=1e-5)
        assert table.loc["none", (space, "difference")] == pytest.approx(0, abs=1e-6)
        assert (table[space, "from"] <= table[space, "difference"] + 1e-9).all()
    assert list(table.index) == [
        "none", "mirror", "polarity", "shifts -1, +1 s", "mirror, polarity", "all",
    ]  # fmt: skip
    # this network is symmetric by design: mirroring changes nothing
    assert table.loc["mirror", ("probability", "difference")] == pytest.approx(0, abs=1e-5)
    assert table.loc["polarity", ("probability", "difference")] != 0


def test_what_follows_is_said():
    columns = pd.MultiIndex.from_product(
        [["probability", "log"], ["kl", "difference", "from", "to"]]
    )
    unsure = [[0.8, 0, 0, 0] * 2, [0.79, -0.01, -0.02, 0.001] * 2]
    table = pd.DataFrame(unsure, index=["none", "mirror"], columns=columns)
    assert "no change gains significantly" in describe_gains(table)
    table.loc["all"] = [0.7, -0.1, -0.2, -0.05, 0.6, -0.2, -0.3, -0.1]
    assert "greatest significant gain: all, averaged by log" in describe_gains(table)


def test_switched_on_afterwards_nothing_is_trained_again(
    run, store, tiny_recipe, competition, tmp_path, capsys
):
    folder = shutil.copytree(run, tmp_path / "run")
    before = pd.read_parquet(folder / "oof.parquet")
    model = (folder / "fold0" / "model.weights.h5").read_bytes()
    changed = override(tiny_recipe, {"tta.polarity": True, "tta.shifts": [2.0]})
    metrics = train(changed, store, folder)
    assert "complete already: fold 0, 1" in capsys.readouterr().out
    assert (folder / "fold0" / "model.weights.h5").read_bytes() == model
    after = pd.read_parquet(folder / "oof.parquet")
    assert after["label_id"].tolist() == before["label_id"].tolist()
    assert np.abs(after[COLUMNS] - before[COLUMNS]).to_numpy().max() > 1e-4
    table = measure(run, store, shifts=(2.0,))
    scores = metrics["scores"]
    plain = json.loads((run / "metrics.json").read_text())["scores"]
    assert scores["last"] == plain["last"]
    assert scores["model"] != scores["last"]
    assert table.shape == (6, 8)
    # inference does the same
    opened = open_run(folder)
    assert opened.recipe.tta == changed.tta
    with_changes = predict([opened], competition, progress=False).submission[COLUMNS]
    without = predict([open_run(run)], competition, progress=False).submission[COLUMNS]
    assert np.abs(with_changes - without).to_numpy().max() > 1e-4
    # and switched off again, the first numbers are back
    train(tiny_recipe, store, folder)
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "oof.parquet"), before)


def test_the_verb_prints_the_table(run, store, capsys):
    assert main(["tta", str(run), "--store", str(store.path)]) == 0
    printed = capsys.readouterr().out
    assert "mirror, polarity" in printed
    assert "gain" in printed.splitlines()[-1]
