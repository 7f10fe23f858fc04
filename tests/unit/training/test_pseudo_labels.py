"""Pseudo-labels: votes of windows with few of them, averaged with predictions out of fold."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data.dataset import FoldData
from hbac_utils.labels import VOTE_COLUMNS, vote_fractions
from hbac_utils.models.classifier import load_classifier
from hbac_utils.recipe import PseudoLabels, override
from hbac_utils.recipe import TestTime as Changes
from hbac_utils.training import trainer
from hbac_utils.training.pseudo_labels import pseudo_labels
from hbac_utils.training.runs import read_recipe
from hbac_utils.training.test_time import Variant, predict_stored
from hbac_utils.training.trainer import train
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


@pytest.fixture(scope="module")
def data(store, tiny_recipe):
    """Fold 0."""
    return FoldData(store, tiny_recipe, 0)


def mixed_by_hand(store, training, path, share):
    """Each window's votes, mixed with the prediction of its group's middle window."""
    windows = store.windows
    middle = store.evaluation_windows()
    predicted = predict_stored(
        load_classifier(read_recipe(path.parents[1]), path), store, middle, ("eeg",), Changes()
    )[Variant()]
    by_group = dict(zip(windows["group"].iloc[middle], predicted, strict=True))
    votes = windows[COLUMNS].to_numpy(float, copy=True)
    for row in training:
        total = votes[row].sum()
        if total < 10:
            soft = by_group[windows["group"].iloc[row]]
            votes[row] = total * ((1 - share) * votes[row] / total + share * soft)
    return votes


def test_few_votes_are_mixed_and_many_are_not(run, store, data):
    votes = pseudo_labels(data, PseudoLabels(share=0.4, runs=(str(run),)), None)
    expected = mixed_by_hand(store, data.training, run / "fold0" / "model.weights.h5", 0.4)
    np.testing.assert_allclose(votes, expected, atol=2e-5)
    given = store.windows[COLUMNS].to_numpy()
    totals = given.sum(axis=1)
    np.testing.assert_allclose(votes.sum(axis=1), totals, rtol=1e-6)
    outside = np.setdiff1d(np.arange(len(given)), data.training)
    np.testing.assert_array_equal(votes[outside], given[outside])
    np.testing.assert_array_equal(votes[totals >= 10], given[totals >= 10])
    few = data.training[totals[data.training] < 10]
    assert len(few)
    assert np.abs(votes[few] - given[few]).max() > 0.1


def test_runs_that_cannot_make_labels_are_refused_before_any_work(
    run, store, tiny_recipe, tmp_path
):
    def refused(reason, run, **changes):
        labels = {"stages.1.pseudo_labels": {"runs": [str(run)]}}
        with pytest.raises(InputError, match=reason):
            train(override(tiny_recipe, labels | changes), store, tmp_path / "new", folds=[0])
        assert not (tmp_path / "new").exists()

    refused("holds out other patients in fold 0", run, **{"data.folds": 4})
    refused("nowhere: not a finished run", tmp_path / "nowhere")
    lacking = shutil.copytree(run, tmp_path / "lacking")
    shutil.rmtree(lacking / "fold0")
    refused("fold0/model.weights.h5: missing; copy the whole run", lacking)
    metrics = json.loads((lacking / "metrics.json").read_text())
    del metrics["sha256"]["fold0/model.weights.h5"]  # as of a run of other folds
    (lacking / "metrics.json").write_text(json.dumps(metrics))
    refused("has no fold 0; train it first", lacking)


def test_the_first_stage_needs_other_runs(tiny_recipe):
    with pytest.raises(InputError, match="the model is untrained yet; name runs"):
        override(tiny_recipe, {"stages.0.pseudo_labels": {"share": 0.5}})
    override(tiny_recipe, {"stages.1.pseudo_labels": {"share": 0.5}})


def test_a_stage_trains_on_soft_labels_and_resumes_with_the_same(store, tiny_recipe, tmp_path):
    """Stopped within the stage, it goes on with the labels that it began with."""
    soft = override(
        tiny_recipe, {"stages.1.pseudo_labels": {"share": 0.5, "below": 21}, "stages.1.epochs": 2}
    )
    kept = tmp_path / "fold0" / "labels1.npy"

    def stop(histories: pd.DataFrame) -> None:
        if len(histories) == 2:
            (tmp_path / "stop").touch()

    train(soft, store, tmp_path, folds=[0], on_epoch=stop)
    given = store.windows[COLUMNS].to_numpy()
    labels = np.load(kept)
    assert np.abs(vote_fractions(labels) - vote_fractions(given)).max() > 0.05

    # votes that no window has: only a stage that trains on what was kept has this loss
    certain = np.zeros_like(labels)
    certain[:, 0] = 1
    np.save(kept, certain)
    (tmp_path / "stop").unlink()
    train(soft, store, tmp_path, folds=[0])
    np.testing.assert_array_equal(np.load(kept), certain)
    history = pd.read_csv(tmp_path / "fold0" / "history.csv")
    assert len(history) == 3
    assert history["loss"].iloc[2] != pytest.approx(history["loss"].iloc[1], rel=0.05)


class Stopped(Exception):
    """Ends a training before its next epoch."""


def test_a_stage_gets_labels_from_the_averaged_weights(
    store, tiny_recipe, data, tmp_path, monkeypatch
):
    def stop(*arguments):
        raise Stopped

    soft = {"stages.1.pseudo_labels": {"share": 0.5, "below": 21}, "ema": 0.8}
    recipe = override(tiny_recipe, soft)
    train(recipe, store, tmp_path, folds=[0], max_hours=1e-9)  # one epoch, the first stage
    first = load_classifier(recipe, tmp_path / "fold0" / "model.weights.h5")
    expected = pseudo_labels(data, recipe.stages[1].pseudo_labels, first)
    monkeypatch.setattr(trainer, "_fit", stop)  # the labels are made before
    with pytest.raises(Stopped):
        train(recipe, store, tmp_path, folds=[0])
    np.testing.assert_allclose(np.load(tmp_path / "fold0" / "labels1.npy"), expected, atol=1e-4)
