"""Training, prediction and scoring on the small competition."""

import json

import numpy as np
import pandas as pd
import pytest

from hbac_utils.cli import main
from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.splits import patient_folds
from hbac_utils.data.test_loader import read_test_recording
from hbac_utils.eda.examples import read_stored_windows
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.inference.submission import check_submission, write_submission
from hbac_utils.labels import VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import (
    SubmissionError,
    both_scores,
    expert_yardstick,
    kl_divergence,
    leading_calibration,
    worth_in_experts,
)
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.evaluation import RunResult, find_truth, score
from hbac_utils.training.runs import constant_priors, read_metrics, run_scores
from hbac_utils.training.trainer import learning_rate_plan, train
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


def test_a_run_holds_what_it_should(run, tiny_recipe):
    assert load_recipe(run / "recipe.json") == tiny_recipe
    for fold in (0, 1):
        history = pd.read_csv(run / f"fold{fold}" / "history.csv")
        assert history["epoch"].tolist() == [0, 1]
        assert history["stage"].tolist() == [0, 1]
        assert (history["fold"] == fold).all()
        assert np.isfinite(history[["loss", "kl_all", "learning_rate"]]).all().all()
        assert (run / f"fold{fold}" / "model.weights.h5").is_file()
        assert list((run / f"fold{fold}" / "tensorboard").glob("events.*"))


def test_out_of_fold_covers_every_scored_window_by_a_model_that_has_not_seen_it(
    run, store, tiny_recipe
):
    oof = pd.read_parquet(run / "oof.parquet")
    evaluation = store.windows.iloc[store.evaluation_windows()]
    assert sorted(oof["label_id"]) == sorted(evaluation["label_id"])
    np.testing.assert_allclose(oof[COLUMNS].sum(axis=1), 1, rtol=1e-5)
    fold = patient_folds(store.windows, tiny_recipe.data.folds, tiny_recipe.seed)
    held_out = dict(zip(store.windows["patient_id"], fold, strict=True))
    assert (oof["patient_id"].map(held_out) == oof["fold"]).all()


def test_the_saved_model_gives_the_out_of_fold_predictions(run, store, tiny_recipe):
    oof = pd.read_parquet(run / "oof.parquet")
    part = oof[oof["fold"] == 1].head(5)
    starts = store.windows.set_index("label_id").loc[part["label_id"], "eeg_start"]
    eeg = np.stack([store.eeg[start : start + 10_000] for start in starts])
    probabilities = load_classifier(
        tiny_recipe, run / "fold1" / "model.weights.h5"
    ).predict_on_batch({"eeg": eeg})
    np.testing.assert_allclose(probabilities, part[COLUMNS], atol=1e-5)


def test_the_metrics_are_the_metric(run, store):
    metrics = json.loads((run / "metrics.json").read_text())
    result = RunResult(run, store)
    assert metrics["scores"]["model"]["kl_all"] == pytest.approx(
        kl_divergence(result.truth, result.probabilities)
    )
    evaluation = store.windows.iloc[store.evaluation_windows()]
    votes = evaluation[COLUMNS].to_numpy()
    assert metrics["scores"]["uniform"] == pytest.approx(both_scores(votes, np.full(6, 1 / 6)))
    assert metrics["prior"] == constant_priors(votes)["kl_reliable"].tolist()
    # the prior is out of fold, so a little worse than the best constant
    best = both_scores(votes, constant_priors(votes)["kl_all"])["kl_all"]
    assert metrics["scores"]["prior"]["kl_all"] >= best


@pytest.fixture(scope="module")
def result(run, store, competition) -> RunResult:
    return RunResult(run, store, find_truth(competition))


def test_every_windows_score_stands_beside_the_priors_and_the_oracles(result, run, competition):
    scores = json.loads((run / "metrics.json").read_text())["scores"]
    assert list(result.scores) == ["model", "best epoch", "prior", "uniform", "oracle"]
    assert result.scores["best epoch"] == scores["best"]
    for name in ("model", "prior", "oracle"):
        assert result.kl[name].mean() == pytest.approx(result.scores[name]["kl_all"])
    truth = pd.read_parquet(competition.path.with_name("competition_truth") / "truth.parquet")
    truth = truth.set_index("label_id").loc[result.windows["label_id"], COLUMNS].to_numpy()
    assert result.scores["oracle"] == pytest.approx(both_scores(result.votes, truth))
    assert result.scores["oracle"]["kl_all"] < result.scores["prior"]["kl_all"]
    assert len(result.agreement) == len(result.vote_groups) == len(result.windows)


def test_the_truth_is_that_of_the_same_competition(competition, run, store, tmp_path):
    truth = pd.read_parquet(find_truth(competition))
    truth.iloc[5:].to_parquet(tmp_path / "truth.parquet")
    with pytest.raises(InputError, match=r"truth.parquet: belongs to .*label_id \d+ is missing"):
        RunResult(run, store, tmp_path / "truth.parquet")
    assert find_truth(Competition(tmp_path / "real")) is None
    assert "oracle" not in RunResult(run, store).scores


def test_the_worst_and_the_best_windows(result, store):
    kl = result.kl["model"]
    rows, probabilities = result.worst(4)
    windows = read_stored_windows(store, rows)
    worst = result.windows.iloc[np.argmax(kl)]
    assert windows[0].title == (
        f"KL {kl.max():.2f} · {worst['expert_consensus']} · EEG {worst['eeg_id']}"
    )
    assert windows[0].votes.tolist() == worst[COLUMNS].tolist()
    np.testing.assert_array_equal(probabilities[0], result.probabilities[np.argmax(kl)])
    start = worst["eeg_start"]
    np.testing.assert_array_equal(windows[0].eeg, store.eeg[start : start + 10_000])
    shown = [float(window.title.split()[1]) for window in windows]
    assert shown == sorted(shown, reverse=True)
    patients = result.windows.set_index("eeg_id")["patient_id"]
    titles = [int(window.title.split()[-1]) for window in windows]
    assert len({np.atleast_1d(patients.loc[eeg_id])[0] for eeg_id in titles}) == 4

    windows = read_stored_windows(store, result.best(6)[0])
    classes = [window.title.split(" · ")[1] for window in windows]
    assert len(classes) == len(set(classes)) == result.windows["expert_consensus"].nunique()
    reliable = result.votes.sum(axis=1) >= 10
    assert windows[0].title.startswith(f"KL {kl[reliable].min():.2f} ")


def test_the_best_epoch_is_kept_beside_the_last(store, tiny_recipe, tmp_path):
    stage = tiny_recipe.stages[0].model_dump() | {"epochs": 3}
    recipe = override(tiny_recipe, {"select": "best", "stages": [stage]})
    metrics = train(recipe, store, tmp_path / "run", folds=[0])
    history = pd.read_csv(tmp_path / "run" / "fold0" / "history.csv")
    reliable = history["kl_reliable"].min()
    assert metrics["scores"]["best"]["kl_reliable"] == pytest.approx(reliable, abs=1e-6)
    assert metrics["scores"]["model"] == metrics["scores"]["best"]
    assert metrics["scores"]["last"]["kl_all"] == pytest.approx(history["kl_all"].iloc[-1])
    assert (tmp_path / "run" / "fold0" / "last.weights.h5").is_file()


def test_the_learning_rate_plan_spans_all_stages(store, tiny_recipe):
    epochs, rates = learning_rate_plan(tiny_recipe, store)
    assert epochs[0] == 0
    assert 1 < epochs[-1] < 2
    assert rates[0] == pytest.approx(2e-3)
    assert rates[-1] == pytest.approx(1e-5, rel=1e-3)


# -- prediction --------------------------------------------------------------


def test_a_written_submission_is_checked_again(run, competition, tmp_path):
    predicted = predict([open_run(run)], competition, progress=False)
    assert predicted.summary()["recordings"].tolist() == [8, 0, 8]
    path = write_submission(predicted, tmp_path)
    found = check_submission(path, competition)["found"]
    assert found["rows"] == "8, one for each eeg_id of test.csv"
    table = pd.read_csv(path)
    table.iloc[1:].to_csv(path, index=False)
    with pytest.raises(SubmissionError, match="1 eeg_id of test.csv are missing and 0 are not"):
        check_submission(path, competition)
    table.assign(lpd_vote=2).to_csv(path, index=False)
    with pytest.raises(SubmissionError, match="between 0 and 1"):
        check_submission(path, competition)


def test_a_test_window_is_treated_as_the_store_treats_it(competition, store, tiny_recipe, tmp_path):
    """A 50-s training recording read as a test recording gives the stored window's numbers."""
    counts = store.windows.groupby("eeg_id")["eeg_last"].first()
    window = next(
        row
        for _, row in store.windows.iterrows()
        if counts[row["eeg_id"]] - row["eeg_first"] == 10_000
    )
    (tmp_path / "test_eegs").mkdir()
    name = f"{window['eeg_id']}.parquet"
    (tmp_path / "test_eegs" / name).write_bytes(
        (competition.path / "train_eegs" / name).read_bytes()
    )
    (tmp_path / "test.csv").write_text(f"eeg_id\n{window['eeg_id']}\n")
    folder = open_competition(tmp_path)
    read = read_test_recording(folder, folder.test.iloc[0], "eeg", tiny_recipe.data)
    start = window["eeg_start"]
    np.testing.assert_array_equal(read.values, store.eeg[start : start + 10_000])


def test_real_recordings_can_be_predicted(run, real_eeg, tmp_path):
    predicted = predict([open_run(run)], real_eeg, progress=False)
    path = write_submission(predicted, tmp_path)
    assert not predicted.fallbacks
    scores = score(path, real_eeg.path / "solution_votes.csv", run)
    assert scores["uniform"] == pytest.approx(1.41, abs=0.01)
    assert np.isfinite(scores["submission"])


# -- scoring -----------------------------------------------------------------


def test_scores_stand_beside_the_constants_the_oracle_and_experts(run, competition, tmp_path):
    path = write_submission(predict([open_run(run)], competition, progress=False), tmp_path)
    truth = competition.path.with_name("competition_truth")
    solution = pd.read_csv(truth / "solution.csv")
    scores = score(path, truth / "solution.csv", run, truth / "truth.parquet")
    assert scores["excess"] == pytest.approx(scores["submission"] - scores["oracle"], abs=2e-4)
    assert scores["oracle"] < scores["prior"]
    experts = expert_yardstick(solution[COLUMNS].to_numpy())
    assert scores[list(experts)].to_dict() == pytest.approx(experts, abs=1e-4)
    assert scores["worth"] == worth_in_experts(scores["submission, ≥ 10 votes"], experts)
    # fractions do not say how many voted
    solution[COLUMNS] = vote_fractions(solution[COLUMNS].to_numpy())
    solution.to_csv(tmp_path / "exact.csv", index=False)
    assert score(tmp_path / "exact.csv", truth / "solution.csv")["submission"] == 0
    assert list(score(path, tmp_path / "exact.csv").index) == ["submission", "uniform"]


def test_a_runs_scores_are_tabulated_beside_experts(run, result, capsys):
    assert read_metrics(run)["experts"] == result.experts == expert_yardstick(result.votes)
    calibration = leading_calibration(result.votes, result.probabilities)
    assert read_metrics(run)["calibration"] == pytest.approx(calibration)
    table = run_scores(run)
    assert table.index.tolist() == ["model", "prior", "uniform", *result.experts]
    assert table.loc["3 experts", "≥ 10 votes"] == round(result.experts["3 experts"], 4)
    expected = 100 * (1 - table.loc["model", "all votes"] / table.loc["prior", "all votes"])
    assert table.loc["model", "all votes, % below prior"] == pytest.approx(expected, abs=0.06)
    assert main(["scores", str(run)]) == 0
    worth = worth_in_experts(result.scores["model"]["kl_reliable"], result.experts)
    assert capsys.readouterr().out.endswith(f"The model is {worth}.\n")
