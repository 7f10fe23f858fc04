"""Several runs blended: found wherever Kaggle mounts them, every model counting the same."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest

from hbac_utils.inference.predict import find_runs, mean_prior, open_run, open_runs, predict
from hbac_utils.inference.submission import write_submission
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


def attach(run, folder):
    folder.mkdir(parents=True)
    for name in ("recipe.json", "metrics.json"):
        shutil.copy(run / name, folder)
    return folder


@pytest.mark.parametrize(
    "place",
    ["hbac-training/run", "notebooks/alice/hbac-training/run", "datasets/alice/weights", "weights"],
)
def test_a_run_is_found_in_every_layout(run, tmp_path, place):
    assert find_runs(attach(run, tmp_path / place).parents[place.count("/")]) == [tmp_path / place]


def test_all_runs_are_found_and_nothing_else(run, tmp_path):
    first = attach(run, tmp_path / "notebooks" / "alice" / "hbac-training" / "run")
    second = attach(run, tmp_path / "notebooks" / "alice" / "hbac-training-2" / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "metrics.json").write_text("{}")
    assert find_runs(tmp_path) == [first, second]
    # a competition is not searched: it has thirty thousand files
    attach(run, tmp_path / "competitions" / "hms" / "run")
    (tmp_path / "competitions" / "hms" / "test.csv").touch()
    assert find_runs(tmp_path) == [first, second]


def test_no_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="attach the training notebook's output, or name a run"):
        find_runs(tmp_path)


@pytest.fixture(scope="module")
def parts(run):
    """The run with both its models, and a run of the first alone with another prior."""
    whole = open_run(run)
    one = dataclasses.replace(
        whole, models={"fold0": whole.models["fold0"]}, prior=np.full(6, 1 / 6)
    )
    return whole, one


def test_one_run_is_predicted_as_ever(run, competition):
    runs = open_runs(run)
    expected = predict([runs[0]], competition, progress=False)
    pd.testing.assert_frame_equal(
        predict(runs, competition, progress=False).submission, expected.submission
    )


def test_every_model_counts_the_same(parts, competition, tmp_path):
    whole, _ = parts
    blend = predict(parts, competition, progress=False)
    first, second = (predict([run], competition, progress=False).by_fold for run in parts)
    models = [first["fold0"], first["fold1"], second["fold0"]]
    np.testing.assert_allclose(blend.submission[COLUMNS], np.mean(models, axis=0), atol=1e-6)
    assert list(blend.by_fold) == ["tiny 1, fold0", "tiny 1, fold1", "tiny 2, fold0"]
    assert [summary["models"] for summary in blend.runs] == [2, 1]
    np.testing.assert_allclose(mean_prior(parts), (2 * whole.prior + 1 / 6) / 3)
    write_submission(blend, tmp_path)


def test_what_one_run_cannot_read_is_left_to_the_others(parts, own_competition, monkeypatch):
    from hbac_utils.data import test_loader as batches

    ids = own_competition.test["eeg_id"].tolist()
    own_competition.eeg_path("test", ids[0]).unlink()  # none can
    read = batches.read_input
    whole, one = parts
    # treated otherwise, its recordings are read for it alone
    other = one.recipe.model_copy(
        update={"data": one.recipe.data.model_copy(update={"clip": 900.0})}
    )
    parts = whole, dataclasses.replace(one, recipe=other)

    def read_input(competition, row, name, data):
        if row["eeg_id"] == ids[1] and data == whole.recipe.data:  # the first run cannot
            raise InputError("not today")
        return read(competition, row, name, data)

    monkeypatch.setattr(batches, "read_input", read_input)
    blend = predict(parts, own_competition, progress=False)
    assert list(blend.fallbacks) == [ids[0]]
    assert [summary["lost"] for summary in blend.runs] == [2, 1]
    values = blend.submission[COLUMNS].to_numpy()
    np.testing.assert_allclose(values[0], mean_prior(parts), atol=1e-9)
    alone = predict([parts[1]], own_competition, progress=False).submission[COLUMNS].to_numpy()
    np.testing.assert_allclose(values[1], alone[1], atol=1e-6)
