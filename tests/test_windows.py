import numpy as np
import pytest

from hbac_utils.data.windows import TrainingWindows, evaluation_dataset, example_batch
from hbac_utils.errors import InputError
from hbac_utils.labels import VOTE_COLUMNS, vote_fractions
from hbac_utils.recipe import override


@pytest.fixture(scope="module")
def everything(store):
    return np.arange(len(store.windows))


@pytest.fixture(scope="module")
def plain(tiny_recipe):
    """Nothing random but the choice and the order."""
    return override(tiny_recipe, {"augment": {}})


def batches(store, rows, recipe, stage=0, first_epoch=0):
    windows = TrainingWindows(store, rows, recipe, stage)
    return [
        ({k: v.numpy() for k, v in inputs.items()}, targets.numpy(), weights.numpy())
        for inputs, targets, weights in windows.dataset(first_epoch)
    ]


def test_an_epoch_shows_one_window_of_each_group(store, everything, plain):
    recipe = override(plain, {"stages.0.epochs": 3})
    windows = TrainingWindows(store, everything, recipe, 0)
    groups = store.windows["group"].to_numpy()
    drawn = [windows.rows_of_epoch(epoch) for epoch in range(3)]
    for rows in drawn:
        assert sorted(groups[rows]) == sorted(set(groups))
    assert any((drawn[0] != rows).any() for rows in drawn[1:]), "orders differ"
    assert set(map(frozenset, drawn)) != {frozenset(drawn[0])}, "other windows are drawn too"
    assert windows.steps_per_epoch == -(-len(set(groups)) // 16)


def test_a_batch_holds_the_stores_windows_and_their_fractions(store, everything, plain):
    inputs, targets, weights = batches(store, everything, plain)[0]
    rows = TrainingWindows(store, everything, plain, 0).rows_of_epoch(0)[: len(targets)]
    starts = store.windows["eeg_start"].to_numpy()[rows]
    for eeg, start in zip(inputs["eeg"], starts, strict=True):
        np.testing.assert_array_equal(eeg, store.eeg[start : start + 10_000])
    votes = store.windows[list(VOTE_COLUMNS)].to_numpy()[rows]
    np.testing.assert_allclose(targets, vote_fractions(votes), rtol=1e-6)
    np.testing.assert_array_equal(weights, 1)


def test_the_same_seed_gives_the_same_batches_also_from_the_middle(store, everything, tiny_recipe):
    recipe = override(tiny_recipe, {"stages.0.epochs": 2})
    first, second = batches(store, everything, recipe), batches(store, everything, recipe)
    later = batches(store, everything, recipe, first_epoch=1)
    for one, other in [
        *zip(first, second, strict=True),
        *zip(first[-len(later) :], later, strict=True),
    ]:
        np.testing.assert_array_equal(one[0]["eeg"], other[0]["eeg"])
        np.testing.assert_array_equal(one[1], other[1])
    other_seed = batches(store, everything, override(recipe, {"seed": 1}))
    assert (first[0][1] != other_seed[0][1]).any()


def test_a_shift_moves_the_window_and_stays_in_the_recording(store, everything, plain):
    recipe = override(plain, {"augment.shift": 5})
    inputs, _, _ = batches(store, everything, recipe)[0]
    rows = TrainingWindows(store, everything, recipe, 0).rows_of_epoch(0)[: len(inputs["eeg"])]
    table = store.windows.iloc[rows]
    moved = 0
    for eeg, (_, window) in zip(inputs["eeg"], table.iterrows(), strict=True):
        first, last = window["eeg_first"], window["eeg_last"]
        padded = np.pad(store.eeg[first:last], ((1000, 1000), (0, 0)))
        start = window["eeg_start"] - first + 1000
        middle = eeg[2000:8000]  # inside the window for every shift
        found = [
            shift
            for shift in range(-1000, 1001)
            if (padded[start + shift + 2000, :4] == middle[0, :4]).all()
            and (padded[start + shift : start + shift + 10_000] == eeg).all()
        ]
        assert len(found) == 1
        moved += found[0] != 0
    assert moved > len(table) / 2


def test_mixup_mixes_each_sample_by_its_own_share(store, everything, plain):
    """Where labels are one-hot, the target tells the share, and the input must show the same."""
    mixed = override(plain, {"augment.mixup": 1.0})
    (clear_inputs, clear, _), *_ = batches(store, everything, plain)
    (inputs, targets, weights), *_ = batches(store, everything, mixed)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights, 1, rtol=1e-5)
    shares = []
    for i, eeg in enumerate(inputs["eeg"]):
        own = clear_inputs["eeg"][i].astype(np.float32)
        residuals = []
        for j, other in enumerate(clear_inputs["eeg"]):
            # least squares for the share of sample i in a mixture of i and j
            difference = own - other.astype(np.float32)
            if j == i or not difference.any():
                continue
            rest = eeg.astype(np.float32) - other
            share = float((rest * difference).sum() / (difference**2).sum())
            residuals.append((np.abs(rest - share * difference).max(), share, j))
        error, share, partner = min(residuals)
        if error > 1:  # mixed with itself
            continue
        shares.append(share)
        np.testing.assert_allclose(
            targets[i], share * clear[i] + (1 - share) * clear[partner], atol=5e-3
        )
    assert len(shares) > len(targets) / 2
    assert np.ptp(shares) > 0.3, "shares differ within a batch"


def test_vote_weights_are_votes_over_twenty(store, everything, plain):
    recipe = override(plain, {"stages.0.weight": "votes"})
    rows = TrainingWindows(store, everything, recipe, 0).rows_of_epoch(0)
    weights = np.concatenate([w for _, _, w in batches(store, everything, recipe)])
    np.testing.assert_allclose(weights, store.windows["total_votes"].to_numpy()[rows] / 20)


def test_a_stage_takes_only_windows_with_enough_votes(store, everything, plain):
    recipe = override(plain, {"stages.0.min_votes": 10})
    rows = TrainingWindows(store, everything, recipe, 0).rows
    assert (store.windows["total_votes"].to_numpy()[rows] >= 10).all()
    assert len(rows) == (store.windows["total_votes"] >= 10).sum()
    with pytest.raises(InputError, match=r"stages.0: no training window has 99 votes"):
        TrainingWindows(store, everything, override(plain, {"stages.0.min_votes": 99}), 0)


def test_evaluation_reads_in_order_without_the_random_parts(store):
    rows = store.evaluation_windows()[:21]
    parts = list(evaluation_dataset(store, rows, ("eeg", "spectrogram"), batch_size=8))
    assert [len(part["eeg"]) for part in parts] == [8, 8, 5]
    eeg = np.concatenate([part["eeg"].numpy() for part in parts])
    spectrogram = np.concatenate([part["spectrogram"].numpy() for part in parts])
    for i, row in enumerate(rows):
        window = store.windows.iloc[row]
        begin, first = window["eeg_start"], window["spectrogram_start"]
        np.testing.assert_array_equal(eeg[i], store.eeg[begin : begin + 10_000])
        np.testing.assert_array_equal(spectrogram[i], store.spectrogram[first : first + 300])


def test_the_example_batch_has_shapes_and_soft_labels(store, tiny_recipe):
    inputs, targets = example_batch(store, tiny_recipe)
    assert inputs["eeg"].shape == (16, 10_000, 19)
    np.testing.assert_allclose(targets.numpy().sum(axis=1), 1, rtol=1e-5)
