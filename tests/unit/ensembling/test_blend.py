"""Blends: scores are cross-fitted, a simple method is chosen, inference applies it."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from ensembles import simulated

from hbac_utils.cli import main
from hbac_utils.ensembling.blend import blend
from hbac_utils.ensembling.members import Members, collect, read_member
from hbac_utils.ensembling.pooling import load_blend, open_blend
from hbac_utils.inference.predict import open_runs, predict
from hbac_utils.labels import CLASSES, VOTE_COLUMNS
from hbac_utils.metric import kl_divergence
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)
METHODS = [
    "mean", "geometric mean", "weights", "log weights, bias", "weights, vector scaling",
    "weights by class", "stack",
]  # fmt: skip


def members_of(values: np.ndarray, votes: np.ndarray, windows_per_patient: int = 5) -> Members:
    n = len(votes)
    windows = pd.DataFrame(votes, columns=COLUMNS)
    windows["label_id"] = windows["eeg_id"] = windows["group"] = np.arange(n)
    windows["patient_id"] = np.arange(n) // windows_per_patient
    windows["expert_consensus"] = np.array(CLASSES)[votes.argmax(axis=1)]
    names = tuple(f"m{i}" for i in range(values.shape[-1]))
    return Members(names, ("",) * len(names), windows, values)


def drawn(probabilities: np.ndarray, votes: int) -> np.ndarray:
    return np.random.default_rng(0).multinomial(votes, probabilities)


# -- cross-fitted scores -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_eleven_members_of_noise_gain_nothing_over_the_one_that_knows(seed):
    """Fitted and scored on the same windows, every method with weights would gain."""
    random = np.random.default_rng(seed)
    values = random.dirichlet(np.full(6, 0.6), (12, 300)).transpose(2, 1, 0)
    votes = random.multinomial(10, values[:, :, 0].T)
    made = blend(members_of(values, votes))
    best = made.table.loc["m0", "kl"]
    assert made.best_member == "m0"
    assert list(made.pools) == METHODS
    assert (made.table.loc[METHODS, "kl"] > best - 0.003).all()
    in_sample = kl_divergence(votes / 10, made.pools["stack"].predict(values))
    assert in_sample < best < made.table.loc["stack", "kl"]


def test_a_windows_votes_have_no_influence_on_its_own_prediction():
    values = simulated(200, 3)
    votes = drawn(values.mean(axis=2).T, 12)
    before = blend(members_of(values, votes))
    votes = votes.copy()
    # the first patient's, with the same consensus, as the folds are stratified by it
    votes[:5] = 12 * np.eye(6, dtype=int)[votes[:5].argmax(axis=1)]
    after = blend(members_of(values, votes))
    changes = [np.abs(before.predictions[m] - after.predictions[m]).max(axis=1) for m in METHODS]
    assert max(change[:5].max() for change in changes) < 1e-9
    assert max(change[5:].max() for change in changes) > 1e-9


@pytest.mark.parametrize(
    ("weights", "votes", "chosen"), [([0.25] * 4, 15, "mean"), ([0.8, 0.2, 0, 0], 15, "weights")]
)
def test_the_simplest_method_not_significantly_worse_is_chosen(weights, votes, chosen):
    values = simulated(1500, 4)
    made = blend(members_of(values, drawn((values @ weights).T, votes)))
    assert made.chosen == chosen
    assert f"chosen: {chosen}, the simplest method" in made.report


@pytest.mark.parametrize(
    ("bias", "chosen"),
    [([0.8, -0.2, 0, 0, 0, -0.6], "log weights, bias"), ([0] * 6, "geometric mean")],
)
def test_a_bias_of_the_classes_is_chosen_where_there_is_one_and_does_no_harm_elsewhere(
    bias, chosen
):
    values = simulated(1500, 2)
    products = np.sqrt(values.prod(axis=2)).T * np.exp(bias)
    made = blend(members_of(values, drawn(products / products.sum(axis=1, keepdims=True), 15)))
    assert made.chosen == chosen
    assert made.table.loc["log weights, bias", "kl"] < made.table.loc[METHODS, "kl"].min() + 1e-3


def test_a_members_share_is_the_loss_without_it():
    values = simulated(2000, 3)
    made = blend(members_of(values, drawn((values @ [0.7, 0.3, 0]).T, 40)))
    shares = made.shares()
    assert list(shares.index[:2]) == ["m0", "m1"]
    assert shares["added"].iloc[0] > shares["added"].iloc[1] > 0
    assert shares["added"].iloc[2] == pytest.approx(0, abs=1e-3)
    errors = [values[:, :, i].T - made.members.truth for i in range(3)]
    expected = np.corrcoef([e.ravel() for e in errors])
    np.testing.assert_allclose(made.correlation, expected, atol=1e-12)


def test_one_patient_is_refused():
    values = simulated(20, 2)
    with pytest.raises(InputError, match="more patients are needed"):
        blend(members_of(values, drawn(values.mean(axis=2).T, 12), windows_per_patient=20))


# -- blend.json, and inference with it -------------------------------------------------


@pytest.fixture(scope="module")
def second(run, tmp_path_factory):
    """A copy of the run with other out-of-fold predictions."""
    folder = shutil.copytree(run, tmp_path_factory.mktemp("runs") / "second")
    oof = pd.read_parquet(folder / "oof.parquet")
    noise = np.random.default_rng(0).dirichlet(np.ones(6), len(oof))
    oof[COLUMNS] = 0.8 * oof[COLUMNS] + 0.2 * noise
    oof.to_parquet(folder / "oof.parquet")
    metrics = json.loads((folder / "metrics.json").read_text())
    digest = hashlib.sha256((folder / "oof.parquet").read_bytes()).hexdigest()
    metrics["sha256"]["oof.parquet"] = digest
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="module")
def blended(run, second, competition, tmp_path_factory):
    out = tmp_path_factory.mktemp("blend")
    verb = ["blend", run, second, "--data", competition.path, "--out", out]
    assert main([str(argument) for argument in verb]) == 0
    return out


def test_the_verb_compares_and_saves(run, second, competition, blended, capsys):
    table = pd.read_csv(blended / "table.csv", index_col=0)
    assert list(table.index) == [run.name, second.name, *METHODS]
    assert (table["low"] <= table["kl"]).all()
    assert (table["kl"] <= table["high"]).all()
    file = load_blend(blended / "blend.json")
    assert [member.name for member in file.members] == [run.name, second.name]
    assert file == load_blend((blended / "blend.json").read_text()), (
        "a notebook carries the content"
    )
    assert all((blended / name).stat().st_size > 5000 for name in ("errors.png", "shares.png"))
    verb = ["blend", run, second, "--data", competition.path, "--out", blended, "--method", "sum"]
    assert main([str(argument) for argument in verb]) == 2
    assert "method 'sum': there are mean, geometric mean" in capsys.readouterr().err


@pytest.fixture(scope="module")
def opened(run, second):
    """Two runs of one model each, in another order than the blend's."""
    runs = open_runs([str(second), str(run)])
    names = ("fold0", "fold1")
    return [
        dataclasses.replace(one, models={name: one.models[name]})
        for one, name in zip(runs, names, strict=True)
    ]


@pytest.mark.parametrize("method", ["weights, vector scaling", "log weights, bias", "stack"])
def test_inference_equals_the_pool_of_the_runs(run, second, competition, opened, tmp_path, method):
    made = blend(collect([read_member(run), read_member(second)], competition))
    file = load_blend(made.save(tmp_path, method))
    online = predict(opened, competition, file, progress=False)
    apart = [
        predict([one], competition, progress=False).submission[COLUMNS] for one in opened[::-1]
    ]
    values = np.stack([one.to_numpy() for one in apart], -1).transpose(1, 0, 2)
    expected = made.pools[method].predict(values)
    np.testing.assert_allclose(online.submission[COLUMNS], expected, atol=1e-6)
    assert online.blend == f"{method}, cross-fitted {made.table.loc[method, 'kl']:.4f}"


def test_a_recording_that_one_run_fails_at_gets_the_mean_of_the_others(
    opened, competition, blended
):
    class Failing:
        def predict_on_batch(self, signals):
            raise RuntimeError("not today")

    first, second = opened
    runs = [dataclasses.replace(first, models={"fold0": Failing()}), second]
    made = predict(runs, competition, load_blend(blended / "blend.json"), progress=False)
    alone = predict([second], competition, progress=False).submission[COLUMNS]
    np.testing.assert_allclose(made.submission[COLUMNS], alone, atol=1e-6)
    assert not made.fallbacks


def test_a_blend_file_of_version_0_3_gives_the_numbers_worked_out_by_hand():
    """One window, members a and b: a²b is 16, 16, 2, 1, 1, 1 thousandths; class 2 is doubled."""
    members = [{"name": n, "run": "", "weights": [w] * 6} for n, w in (("a", 2.0), ("b", 1.0))]
    content = {
        "method": "stack", "kind": "log", "members": members, "scale": [1.0] * 6,
        "bias": [0, 0, np.log(2), 0, 0, 0], "kl": 0.3, "windows": 100,
    }  # fmt: skip
    values = np.array([[[0.4, 0.2, 0.1, 0.1, 0.1, 0.1]], [[0.1, 0.4, 0.2, 0.1, 0.1, 0.1]]])
    pooled = load_blend(json.dumps(content)).combine(values)
    np.testing.assert_allclose(pooled, [np.array([16, 16, 4, 1, 1, 1]) / 39])


def test_a_blend_without_its_runs_is_refused(opened, blended, competition):
    file = load_blend(blended / "blend.json")
    with pytest.raises(InputError, match="its member second is not among the runs"):
        predict(opened[1:], competition, file)
    stranger = file.members[1].model_copy(update={"run": ""})
    foreign = file.model_copy(update={"members": (file.members[0], stranger)})
    with pytest.raises(InputError, match="is no run of this kit"):
        predict(opened, competition, foreign)


def test_the_attached_blend_is_opened_and_an_invalid_one_refused(blended, tmp_path):
    assert open_blend(folder=tmp_path) is None
    shutil.copy(blended / "blend.json", tmp_path)
    assert open_blend(folder=tmp_path) == load_blend(blended / "blend.json")
    (tmp_path / "b").mkdir()
    shutil.copy(blended / "blend.json", tmp_path / "b")
    with pytest.raises(InputError, match="2 blends are attached"):
        open_blend(folder=tmp_path)
    content = json.loads((blended / "blend.json").read_text())
    (tmp_path / "blend.json").write_text(json.dumps(content | {"kind": "cubic"}))
    with pytest.raises(InputError, match="kind"):
        load_blend(tmp_path / "blend.json")
    with pytest.raises(InputError, match="blend: not JSON"):
        load_blend("{no")
