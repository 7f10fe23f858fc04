"""Training on mixtures, scored on a store's windows; weights to start from."""

import numpy as np
import pandas as pd
import pytest

from hbac_utils.labels import N_CLASSES
from hbac_utils.models.classifier import build_classifier, load_classifier
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.runs import check_training
from hbac_utils.training.simulated import SimulatedData, fold_data
from hbac_utils.training.trainer import train
from hbac_utils.utils.errors import InputError

SMALL = {
    "data.simulated": {"components": 12, "seed": 3, "windows": 48},
    "backbone.width": 4, "stages.0.epochs": 2, "stages.0.batch_size": 16,
    "stages.0.warmup_epochs": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def recipe():
    return override(load_recipe("simulated"), SMALL)


@pytest.fixture(scope="module")
def trained(recipe, store, tmp_path_factory):
    run = tmp_path_factory.mktemp("simulated")
    train(recipe, store, run, folds=[0])
    return run


def test_a_run_on_mixtures_is_scored_on_the_held_out_windows(recipe, store, trained):
    history = pd.read_csv(trained / "fold0" / "history.csv")
    assert len(history) == 2
    assert np.isfinite(history["loss"]).all()
    predicted = pd.read_parquet(trained / "oof.parquet")
    held_out = store.windows.iloc[fold_data(store, recipe, 0).evaluation]
    assert list(predicted["label_id"]) == list(held_out["label_id"])


def test_batches_do_not_depend_on_where_the_training_was_resumed(recipe, store):
    data = fold_data(store, recipe, 0)
    assert isinstance(data, SimulatedData)
    assert data.steps_per_epoch(0) == 3
    whole = list(data.training_dataset(0))
    rest = list(data.training_dataset(0, first_epoch=1))
    assert len(whole) == 6
    for (inputs, targets), (again, same) in zip(whole[3:], rest, strict=True):
        np.testing.assert_array_equal(inputs["eeg"], again["eeg"])
        np.testing.assert_array_equal(targets, same)


def test_targets_are_probabilities_or_votes(recipe, store):
    def targets(votes):
        data = fold_data(store, override(recipe, {"data.simulated.votes": votes}), 0)
        return next(iter(data.training_dataset(0)))[1].numpy()

    truth, drawn = targets(0), targets(4)
    for values in (truth, drawn):
        assert values.shape == (16, N_CLASSES)
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-6)
    assert set(np.unique(drawn)) <= {0, 0.25, 0.5, 0.75, 1}
    assert not set(np.unique(truth)) <= {0, 0.25, 0.5, 0.75, 1}


def test_a_recipe_starts_from_weights(recipe, trained):
    weights = trained / "fold0" / "model.weights.h5"
    started = build_classifier(override(recipe, {"weights": str(weights)}))
    saved = load_classifier(recipe, weights)
    for value, same in zip(started.get_weights(), saved.get_weights(), strict=True):
        np.testing.assert_array_equal(value, same)
    kernel = next(
        v for v in started.trainable_variables if v.path.endswith("segment_stem_conv/kernel")
    )
    fresh = {v.path: v for v in build_classifier(recipe).trainable_variables}
    assert np.abs(kernel - fresh[kernel.path]).max() > 0
    other = override(recipe, {"weights": str(weights), "backbone.width": 8})
    with pytest.raises(InputError, match="not weights of recipe"):
        build_classifier(other)


def test_missing_initial_weights_are_refused_before_packing(recipe, tmp_path):
    with pytest.raises(InputError, match=r"weights gone\.h5: no such file"):
        check_training(override(recipe, {"weights": "gone.h5"}), tmp_path / "run")


def test_what_mixtures_lack_is_refused(recipe):
    with pytest.raises(InputError, match=r"stages\.0\.weight: mixtures have no votes"):
        override(recipe, {"stages.0.weight": "votes"})
    with pytest.raises(InputError, match="EEG only"):
        override(load_recipe("paper-resnet50v2"), {"data": "simulated"})
    with pytest.raises(InputError, match="shifted and mixed already"):
        override(load_recipe("compact"), {"data": "simulated"})
