"""Blending: weights that are proved best, scores that are honest, members that are refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from hbac_utils.cli import main
from hbac_utils.ensembling.blend import METHODS, blend, load_blend, open_blend
from hbac_utils.ensembling.calibration import stack, temperature, vector_scaling
from hbac_utils.ensembling.members import Members, collect, read_member
from hbac_utils.ensembling.optimize import (
    class_weights,
    convex_weights,
    pose,
    selected_weights,
)
from hbac_utils.ensembling.pooling import Pool, geometric_mean, mean, softmax
from hbac_utils.inference.predict import open_runs, predict
from hbac_utils.labels import CLASSES, VOTE_COLUMNS
from hbac_utils.metric import kl_divergence, resampled_means
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


def simulated(n: int, members: int, seed: int = 0, spread: float = 0.5) -> np.ndarray:
    """Members that agree in part; shape (6, n, members)."""
    random = np.random.default_rng(seed)
    common = random.dirichlet(np.full(6, 0.5), n)
    own = random.dirichlet(np.ones(6), (members, n))
    return np.moveaxis((1 - spread) * common + spread * own, [0, 1, 2], [2, 1, 0])


def members_of(values: np.ndarray, votes: np.ndarray, windows_a_patient: int = 5) -> Members:
    n = len(votes)
    windows = pd.DataFrame(votes, columns=COLUMNS)
    windows["label_id"] = windows["eeg_id"] = windows["group"] = np.arange(n)
    windows["patient_id"] = np.arange(n) // windows_a_patient
    windows["expert_consensus"] = np.array(CLASSES)[votes.argmax(axis=1)]
    names = tuple(f"m{i}" for i in range(values.shape[-1]))
    return Members(names, ("",) * len(names), windows, values)


def entropy(pool: Pool, values: np.ndarray, truth: np.ndarray) -> float:
    return kl_divergence(truth, pool.predict(values))


# -- weights -------------------------------------------------------------------


@pytest.mark.parametrize("members", [2, 7, 30])
def test_known_weights_are_found(members):
    """The truth is itself a pool of the members: its weights are the unique minimum."""
    values = simulated(4000, members)
    random = np.random.default_rng(members)
    wanted = random.dirichlet(np.full(members, 0.3))
    wanted[: members // 3] = 0
    wanted /= wanted.sum()
    solution = convex_weights(pose(values, (values @ wanted).T))
    assert np.abs(solution.weights - wanted).max() < 1e-6
    assert 0 <= solution.gap < 1e-9
    assert solution.weights.sum() == pytest.approx(1)


def test_the_gap_bounds_the_distance_from_the_minimum():
    values = simulated(500, 4)
    votes = np.random.default_rng(1).multinomial(12, values.mean(axis=2).T)
    truth = votes / 12
    problem = pose(values, truth)
    solution = convex_weights(problem)
    rough = convex_weights(problem, tolerance=1e-2)
    score = problem.score(solution.weights)
    assert problem.score(rough.weights) - score <= rough.gap <= 1e-2
    # no other point of the simplex is better, nor what a general solver finds
    for weights in np.random.default_rng(2).dirichlet(np.ones(4), 200):
        assert problem.score(weights) >= score - solution.gap
    found = minimize(
        problem.score, np.full(4, 0.25), bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1}, tol=1e-12,
    )  # fmt: skip
    assert score <= found.fun + 1e-9


def test_twins_and_certain_members_do_no_harm():
    values = simulated(800, 3)
    truth = values[:, :, 0].T
    twins = np.concatenate([values, values[:, :, :1]], axis=2)
    solution = convex_weights(pose(twins, truth))
    assert solution.weights[[0, 3]].sum() == pytest.approx(1, abs=1e-5)
    hard = values.copy()
    hard[:, :, 2] = np.eye(6)[values[:, :, 1].argmax(axis=0)].T  # zeros where the truth is not
    assert np.isfinite(convex_weights(pose(hard, truth)).weights).all()


def test_selection_approaches_the_weights():
    values = simulated(3000, 6)
    truth = (values @ [0.5, 0.3, 0.2, 0, 0, 0]).T
    problem = pose(values, truth)
    weights = selected_weights(problem)
    best = problem.score(convex_weights(problem).weights)
    assert problem.score(weights) < best + 1e-3
    assert weights[3:].sum() < 0.1
    np.testing.assert_allclose(weights.sum(), 1)


def test_weights_by_class_use_what_a_class_knows():
    """Each member knows one half of the classes."""
    random = np.random.default_rng(0)
    truth = random.dirichlet(np.full(6, 0.4), 3000)
    noise = random.dirichlet(np.ones(6), (2, 3000))
    first = np.where(np.arange(6) < 3, truth, noise[0])
    second = np.where(np.arange(6) < 3, noise[1], truth)
    values = np.stack([p / p.sum(axis=1, keepdims=True) for p in (first, second)], -1)
    values = values.transpose(1, 0, 2)
    common = convex_weights(pose(values, truth)).weights
    own = class_weights(values, truth, common, penalty=1e-4)
    assert entropy(own, values, truth) < 0.8 * entropy(Pool("linear", common), values, truth)
    assert (own.weights[:3, 0] > own.weights[:3, 1]).all()
    # with a great penalty they are the common ones
    tied = class_weights(values, truth, common, penalty=1e6)
    np.testing.assert_allclose(tied.weights, np.tile(common, (6, 1)), atol=1e-4)


# -- logits ----------------------------------------------------------------------


def test_temperature_and_scales_are_recovered():
    values = simulated(5000, 1, spread=0.0)
    logits = np.log(np.maximum(values[:, :, 0].T, 1e-6))
    cooled = temperature(mean(1), values, softmax(0.6 * logits))
    np.testing.assert_allclose(cooled.scale, 0.6, atol=1e-4)
    scale, bias = np.array([0.5, 1, 1, 1, 1, 1.2]), np.array([0.4, 0, 0, 0, 0, -0.4])
    scaled = vector_scaling(mean(1), values, softmax(bias + scale * logits))
    np.testing.assert_allclose(scaled.scale, scale, atol=0.05)
    assert scaled.bias[0] - scaled.bias[5] == pytest.approx(0.8, abs=0.1)


def test_a_stack_is_drawn_to_the_geometric_mean_and_learns_otherwise():
    values = simulated(3000, 3)
    truth = Pool("log", np.array([0.9, 0.1, 0.2]), bias=np.linspace(-0.5, 0.5, 6)).predict(values)
    tied = stack(values, truth, penalty=1e6)
    np.testing.assert_allclose(tied.predict(values), geometric_mean(3).predict(values), atol=1e-4)
    learnt = stack(values, truth, penalty=1e-6)
    assert entropy(learnt, values, truth) < 1e-3


def test_pools_average_as_they_say():
    values = simulated(50, 3)
    np.testing.assert_allclose(mean(3).predict(values), values.mean(axis=2).T, atol=1e-12)
    geometric = np.exp(np.log(values).mean(axis=2).T)
    geometric /= geometric.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(geometric_mean(3).predict(values), geometric, atol=1e-9)
    for pool in (mean(3), geometric_mean(3)):
        np.testing.assert_allclose(pool.predict(values).sum(axis=1), 1)


# -- honest scores -----------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_noise_gains_nothing(seed):
    """One member knows the probabilities, the others are noise: nothing is better than the one.

    Fitted and scored on the same windows, every method with weights would be.
    """
    random = np.random.default_rng(seed)
    values = np.stack([random.dirichlet(np.full(6, 0.6), 300) for _ in range(12)], -1)
    values = values.transpose(1, 0, 2)
    votes = random.multinomial(10, values[:, :, 0].T)
    made = blend(members_of(values, votes))
    best = made.table.loc["m0", "kl"]
    assert made.best_member == "m0"
    for method in METHODS:
        assert made.table.loc[method, "kl"] > best - 0.003, method
    truth = votes / 10
    assert entropy(made.pools["stack"], values, truth) < best
    assert made.table.loc["stack", "kl"] > best


def test_a_window_has_no_part_in_its_own_prediction():
    values = simulated(200, 3)
    votes = np.random.default_rng(0).multinomial(12, values.mean(axis=2).T)
    before = blend(members_of(values, votes))
    other = votes.copy()
    # the first patient's, with the same consensus, or other folds would be drawn
    other[:5] = 12 * np.eye(6, dtype=int)[votes[:5].argmax(axis=1)]
    after = blend(members_of(values, other))
    changed = [
        np.abs(before.predictions[m] - after.predictions[m]).max(axis=1) > 1e-9 for m in METHODS
    ]
    assert not any(rows[:5].any() for rows in changed)
    assert any(rows[5:].any() for rows in changed)


def test_intervals_draw_patients_not_windows():
    """Ten windows alike of each patient are as sure as one of each."""
    random = np.random.default_rng(0)
    single = pd.DataFrame({"a": random.normal(size=40)})
    tenfold = single.loc[single.index.repeat(10)].reset_index(drop=True)
    one = resampled_means(single, pd.Series(np.arange(40)))
    ten = resampled_means(tenfold, pd.Series(np.arange(40).repeat(10)))
    np.testing.assert_allclose(one, ten)
    assert one.std() == pytest.approx(single["a"].std() / np.sqrt(40), rel=0.1)


def test_the_simplest_method_is_chosen_that_will_do():
    values = simulated(1500, 4)
    votes = np.random.default_rng(0).multinomial(15, values.mean(axis=2).T)
    assert blend(members_of(values, votes)).chosen == "mean"
    votes = np.random.default_rng(0).multinomial(15, (values @ [0.8, 0.2, 0, 0]).T)
    assert blend(members_of(values, votes)).chosen == "weights"


def test_what_a_member_adds_is_what_is_lost_without_it():
    values = simulated(2000, 3)
    votes = np.random.default_rng(0).multinomial(40, (values @ [0.7, 0.3, 0]).T)
    made = blend(members_of(values, votes))
    shares = made.shares()
    assert list(shares.index[:2]) == ["m0", "m1"]
    assert shares["added"].iloc[0] > shares["added"].iloc[1] > 0
    assert shares["added"].iloc[2] == pytest.approx(0, abs=1e-3)
    correlation = made.correlation
    np.testing.assert_allclose(np.diag(correlation), 1)
    assert np.abs(correlation - correlation.T).max() < 1e-12


# -- members -------------------------------------------------------------------


@pytest.fixture
def outside(run, tmp_path):
    """Write another model's file beside a run: the run's own numbers, mixed with uniform."""

    def write(name: str = "other.csv", change=None, key: str = "label_id"):
        table = pd.read_parquet(run / "oof.parquet")
        table[COLUMNS] = 0.7 * table[COLUMNS] + 0.3 / 6
        table = table[[key, *COLUMNS]].drop_duplicates(key)
        if change is not None:
            table = change(table)
        path = tmp_path / name
        (table.to_csv if path.suffix == ".csv" else table.to_parquet)(path, index=False)
        return path

    return write


def test_runs_and_files_come_to_the_same_windows(run, outside, competition):
    first = read_member(run)
    by_label = read_member(outside("a.parquet"))
    by_eeg = read_member(outside("b.csv", key="eeg_id"))
    members = collect([first, by_label, by_eeg], competition)
    oof = pd.read_parquet(run / "oof.parquet")
    assert members.windows["label_id"].tolist() == oof["label_id"].tolist()
    np.testing.assert_allclose(members.probabilities[:, :, 0].T, oof[COLUMNS], atol=1e-6)
    np.testing.assert_allclose(
        members.probabilities[:, :, 1].T, 0.7 * oof[COLUMNS] + 0.05, atol=1e-6
    )
    votes = competition.train.set_index("label_id").loc[oof["label_id"], COLUMNS]
    np.testing.assert_array_equal(members.votes, votes)
    assert [note for note in members.notes if "its folds are not known" in note]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.drop(columns="lpd_vote"), "missing column lpd_vote"),
        (lambda t: t.drop(columns="label_id"), "missing column label_id or eeg_id"),
        (lambda t: pd.concat([t, t.iloc[:1]]), "occurs more than once"),
        (lambda t: t.assign(lpd_vote=t["lpd_vote"] - 1), "hold no probabilities"),
        (lambda t: t.assign(lpd_vote=np.nan), "hold no probabilities"),
        (lambda t: t.assign(lpd_vote=3.0), "logits need a softmax first"),
        (lambda t: t.assign(lpd_vote="x"), "lpd_vote is not numeric"),
        (lambda t: t.iloc[2:], "lacks 2 of"),
        (lambda t: t.assign(label_id=t["label_id"] + 10**9), "are not of this competition"),
        (lambda t: t.assign(fold=np.arange(len(t)) % 2), "is in the folds 0, 1"),
    ],
)
def test_what_cannot_be_blended_is_refused(run, outside, competition, change, reason):
    with pytest.raises(InputError, match=reason):
        collect([read_member(run), read_member(outside(change=change))], competition)


def test_what_a_rule_changes_is_noted(run, outside, competition):
    rounded = read_member(outside("rounded.csv", lambda t: t.assign(**t[COLUMNS].round(3))))
    certain = {column: float(column == "lpd_vote") for column in COLUMNS}
    zeros = read_member(outside("zeros.csv", lambda t: t.assign(**certain)))
    fewer = read_member(outside("fewer.csv", lambda t: t.iloc[3:]))
    members = collect([read_member(run), rounded, zeros, fewer], competition, common=True)
    notes = "\n".join(members.notes)
    assert "rounded: " in notes
    assert "rows normalised" in notes
    assert "zeros where experts voted" in notes
    oof = pd.read_parquet(run / "oof.parquet")
    assert len(members.windows) == len(oof) - 3
    assert f"{len(oof) - 3} windows are common to all members, of {len(oof)}" in notes


def test_trials_of_two_sweeps_have_two_names(run, tmp_path):
    trials = [tmp_path / sweep / "trials" / "000" for sweep in ("first", "second")]
    names = [read_member(shutil.copytree(run, trial)).name for trial in trials]
    assert names == ["first/000", "second/000"]


def test_the_same_member_twice_is_refused(run, competition, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(InputError, match="the same name or run twice"):
        collect([read_member(run), read_member(copy)], competition)
    with pytest.raises(InputError, match="two members or more"):
        collect([read_member(run)], competition)


def test_a_file_under_other_names_is_read_by_a_mapping(outside):
    names = {c: f"p_{c}" for c in COLUMNS} | {"label_id": "id"}
    path = outside(change=lambda t: t.rename(columns=names))
    with pytest.raises(InputError, match="MAPPING="):
        read_member(path)
    assert list(read_member(path, names).table) == ["label_id", *COLUMNS]


def test_ids_in_the_index_are_read(outside):
    path = outside("indexed.parquet")
    plain = read_member(path)
    pd.read_parquet(path).set_index("label_id").to_parquet(path)
    pd.testing.assert_frame_equal(read_member(path).table, plain.table)


# -- the verb, and inference with what it wrote ------------------------------------


@pytest.fixture(scope="module")
def second(run, store, tiny_recipe, tmp_path_factory):
    """A run of the same recipe from another first state: its last epoch is not the same."""
    from hbac_utils.recipe import override
    from hbac_utils.training.trainer import train

    folder = tmp_path_factory.mktemp("runs") / "second"
    train(override(tiny_recipe, {"stages.0.learning_rate": 5e-3}), store, folder)
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
    file = load_blend(blended / "blend.json")
    assert [member.name for member in file.members] == [run.name, second.name]
    assert all((blended / name).stat().st_size > 5000 for name in ("errors.png", "shares.png"))
    verb = ["blend", run, second, "--data", competition.path, "--out", blended, "--method", "sum"]
    assert main([str(argument) for argument in verb]) == 2
    assert "method 'sum': there are mean, geometric mean" in capsys.readouterr().err


@pytest.fixture(scope="module")
def opened(run, second, competition):
    """Both runs, in another order than the blend's, and what each predicts alone."""
    runs = open_runs([str(second), str(run)])
    apart = [predict([one], competition, progress=False).submission[COLUMNS] for one in runs]
    return runs, [one.to_numpy() for one in apart[::-1]]


@pytest.mark.parametrize("method", ["weights by class", "weights, vector scaling", "stack"])
def test_inference_equals_the_offline_computation(
    run, second, competition, opened, tmp_path, method
):
    made = blend(collect([read_member(run), read_member(second)], competition))
    file = load_blend(made.save(tmp_path, method))
    runs, apart = opened
    online = predict(runs, competition, file, progress=False).submission[COLUMNS].to_numpy()
    offline = made.pools[method].predict(np.stack(apart, -1).transpose(1, 0, 2))
    np.testing.assert_allclose(online, offline, atol=1e-6)
    # the content does as well as the file, as a pushed notebook carries it
    again = load_blend((tmp_path / "blend.json").read_text())
    assert again == file


def test_a_blend_wants_its_runs(run, blended, competition, tmp_path):
    file = load_blend(blended / "blend.json")
    with pytest.raises(InputError, match="its member second is not among the runs"):
        predict(open_runs(run), competition, file)
    stranger = file.model_copy(
        update={"members": (file.members[0], file.members[1].model_copy(update={"run": ""}))}
    )
    with pytest.raises(InputError, match="is no run of this kit"):
        predict(open_runs(run), competition, stranger)
    assert open_blend(folder=tmp_path) is None
    shutil.copy(blended / "blend.json", tmp_path)
    assert open_blend(folder=tmp_path) == file
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


def test_what_a_member_cannot_read_is_left_to_the_mean_of_the_others(
    run, second, own_competition, blended, monkeypatch
):
    from hbac_utils.data import test_loader as batches

    ids = own_competition.test["eeg_id"].tolist()
    first, other = open_runs([str(run), str(second)])
    clipped = other.recipe.model_copy(
        update={"data": other.recipe.data.model_copy(update={"clip": 900.0})}
    )
    other = replace(other, recipe=clipped)
    read = batches.read_input

    def read_input(competition, row, name, data):
        if row["eeg_id"] == ids[0] and data.clip == 900.0:
            raise InputError("not today")
        return read(competition, row, name, data)

    monkeypatch.setattr(batches, "read_input", read_input)
    file = load_blend(blended / "blend.json")
    made = predict([first, other], own_competition, file, progress=False)
    alone = predict([first], own_competition, progress=False)
    np.testing.assert_allclose(
        made.submission[COLUMNS].iloc[0], alone.submission[COLUMNS].iloc[0], atol=1e-6
    )
    assert not made.fallbacks
