import numpy as np
import pytest

from hbac_utils.data.dataset import (
    FoldData,
    empty_aligned,
    evaluation_dataset,
    labelled_share,
    mix,
    paste,
)
from hbac_utils.data.splits import patient_folds
from hbac_utils.labels import VOTE_COLUMNS, vote_fractions
from hbac_utils.recipe import override
from hbac_utils.utils.backend import tf
from hbac_utils.utils.errors import InputError


@pytest.fixture(scope="module")
def plain(tiny_recipe):
    """Nothing random but the choice and the order."""
    return override(tiny_recipe, {"augment": {}})


def batches(store, recipe, stage=0, first_epoch=0):
    dataset = FoldData(store, recipe).training_dataset(stage, first_epoch=first_epoch)
    return [
        ({k: v.numpy() for k, v in inputs.items()}, targets.numpy(), weights.numpy())
        for inputs, targets, weights in dataset
    ]


def test_a_fold_trains_on_other_patients_than_it_scores(store, plain):
    folds = patient_folds(store.windows, 2, plain.seed)
    data = FoldData(store, plain, 1)
    np.testing.assert_array_equal(data.training, np.flatnonzero(folds != 1))
    middle = store.evaluation_windows()
    np.testing.assert_array_equal(data.evaluation, middle[folds[middle] == 1])
    np.testing.assert_array_equal(data.training_middle, middle[folds[middle] != 1])
    assert set(data.rows_of_epoch(0, 0)) <= set(data.training)
    patients = store.windows["patient_id"].to_numpy()
    assert not set(patients[data.training]) & set(patients[data.evaluation])
    with pytest.raises(InputError, match="fold 2 does not exist"):
        FoldData(store, plain, 2)


def test_tensorflow_takes_an_aligned_array_without_a_copy():
    made = [empty_aligned((n, 19), np.float16) for n in range(1, 9)]
    dataset = tf.data.Dataset.range(len(made)).map(
        lambda i: tf.numpy_function(lambda k: made[int(k)], [i], tf.float16)
    )
    taken = [np.asarray(tensor) for tensor in dataset]
    assert [array.ctypes.data for array in taken] == [array.ctypes.data for array in made]
    assert [array.shape for array in taken] == [(n, 19) for n in range(1, 9)]


def test_an_epoch_shows_one_window_of_each_group(store, plain):
    recipe = override(plain, {"stages.0.epochs": 3})
    data = FoldData(store, recipe)
    groups = store.windows["group"].to_numpy()
    drawn = [data.rows_of_epoch(0, epoch) for epoch in range(3)]
    for rows in drawn:
        assert sorted(groups[rows]) == sorted(set(groups))
    assert any((drawn[0] != rows).any() for rows in drawn[1:]), "orders differ"
    assert set(map(frozenset, drawn)) != {frozenset(drawn[0])}, "other windows are drawn too"
    assert data.steps_per_epoch(0) == -(-len(set(groups)) // 16)


def test_a_batch_holds_the_stores_windows_and_their_fractions(store, plain):
    inputs, targets, weights = batches(store, plain)[0]
    rows = FoldData(store, plain).rows_of_epoch(0, 0)[: len(targets)]
    starts = store.windows["eeg_start"].to_numpy()[rows]
    for eeg, start in zip(inputs["eeg"], starts, strict=True):
        np.testing.assert_array_equal(eeg, store.eeg[start : start + 10_000])
    votes = store.windows[list(VOTE_COLUMNS)].to_numpy()[rows]
    np.testing.assert_allclose(targets, vote_fractions(votes), rtol=1e-6)
    np.testing.assert_array_equal(weights, 1)


def test_the_same_seed_gives_the_same_batches_also_from_the_middle(store, tiny_recipe):
    recipe = override(tiny_recipe, {"stages.0.epochs": 2, "augment.cutmix": 0.5})
    first, second = batches(store, recipe), batches(store, recipe)
    later = batches(store, recipe, first_epoch=1)
    for one, other in [
        *zip(first, second, strict=True),
        *zip(first[-len(later) :], later, strict=True),
    ]:
        np.testing.assert_array_equal(one[0]["eeg"], other[0]["eeg"])
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])
    other_seed = batches(store, override(recipe, {"seed": 1}))
    assert (first[0][1] != other_seed[0][1]).any()


def test_a_shift_moves_the_window_and_stays_in_the_recording(store, plain):
    recipe = override(plain, {"augment.shift": 5})
    inputs, _, _ = batches(store, recipe)[0]
    rows = FoldData(store, recipe).rows_of_epoch(0, 0)[: len(inputs["eeg"])]
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


def test_a_shift_beyond_the_recording_leaves_zeros(store, plain):
    recipe = override(plain, {"augment.shift": 500})
    eeg = np.concatenate([inputs["eeg"] for inputs, _, _ in batches(store, recipe)])
    assert np.isfinite(eeg).all()
    empty = ~eeg.any(axis=(1, 2))
    assert empty.any()
    assert not empty.all()


def test_a_context_shift_keeps_the_label_in_the_middle(store, plain):
    recipe = override(plain, {"augment.context_shift": 17})
    (clear, _, _), *_ = batches(store, plain)
    (inputs, _, _), *_ = batches(store, recipe)
    rows = FoldData(store, recipe).rows_of_epoch(0, 0)[: len(inputs["eeg"])]
    moved = 0
    for eeg, centred, (_, window) in zip(
        inputs["eeg"], clear["eeg"], store.windows.iloc[rows].iterrows(), strict=True
    ):
        same = (eeg == centred).all(axis=1)
        assert same[4000:6000].all(), "the labelled segment"
        # where the moved window ends, the samples before its begin have become those after its end
        before = np.argmin(same[:4000][::-1])
        if same.all() or before == 0:
            continue
        moved += 1
        recording = store.eeg[window["eeg_first"] : window["eeg_last"]]
        padded = np.pad(recording, ((10_000, 10_000), (0, 0)))
        end = window["eeg_start"] - window["eeg_first"] + 20_000
        count = 4000 - before
        np.testing.assert_array_equal(eeg[:count], padded[end : end + count])
        assert same[count:].all()
    assert moved >= 2


def test_mixup_mixes_each_sample_by_its_own_share(store, plain):
    """The input tells share and partner; target and weight must show the same."""
    weighted = override(plain, {"stages.0.weight": "votes"})
    mixed = override(weighted, {"augment.mixup": 1.0})
    (clear_inputs, clear, clear_weights), *_ = batches(store, weighted)
    (inputs, targets, weights), *_ = batches(store, mixed)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-5)
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
        expected = share * clear_weights[i] + (1 - share) * clear_weights[partner]
        assert weights[i] == pytest.approx(expected, abs=5e-3)
    assert len(shares) > len(targets) / 2
    assert np.ptp(shares) > 0.3, "shares differ within a batch"


@pytest.mark.parametrize("n", [1, 7])
def test_mixing_is_numpys_and_a_gap_in_either_stays_a_gap(n):
    random = np.random.default_rng(n)
    values = random.normal(0, 30, (n, 300, 400)).astype(np.float16)
    values[random.random(values.shape) < 0.01] = np.nan
    values[0, :3, 0] = 0, 1e-6, 65_504  # zero, subnormal, the largest
    share, partner = random.random(n, np.float32), random.permutation(n)
    single = values.astype(np.float32)
    own = share[:, None, None]
    expected = own * single + (1 - own) * single[partner]
    mixed = mix(tf.constant(values), tf.constant(share), tf.constant(partner)).numpy()
    np.testing.assert_array_equal(np.isnan(mixed), np.isnan(single) | np.isnan(single[partner]))
    np.testing.assert_allclose(mixed, expected.astype(np.float16), rtol=1e-3, atol=5e-6)


def test_a_stretch_is_pasted_over_the_same_seconds_of_every_input():
    eeg = np.repeat(np.arange(3, dtype=np.float16), 10_000).reshape(3, 10_000, 1)
    spectrogram = np.repeat(np.arange(3, dtype=np.float16), 300).reshape(3, 300, 1)
    begin, end = np.array([-20.0, 2.0, 0.0]), np.array([4.0, 25.0, 0.0])
    partner = np.array([1, 2, 0])
    pasted = paste(eeg, begin, end, partner, 1 / 200)[..., 0]
    expected = eeg[..., 0].copy()
    expected[0, 1000:5800], expected[1, 5400:] = 1, 2
    np.testing.assert_array_equal(pasted, expected)
    pasted = paste(spectrogram, begin, end, partner, 2)[..., 0]
    expected = spectrogram[..., 0].copy()
    expected[0, 140:152], expected[1, 151:162] = 1, 2
    np.testing.assert_array_equal(pasted, expected)
    # of the segment from -5 to 5 s
    np.testing.assert_allclose(labelled_share(begin, end), [0.9, 0.3, 0])
    np.testing.assert_allclose(labelled_share(np.array([-25.0, 5]), np.array([25.0, 9])), [1, 0])


def test_cutmix_mixes_labels_by_the_replaced_share_of_the_segment(store, plain):
    """The samples of the EEG tell what was replaced; target and weight must show the same."""
    weighted = override(plain, {"stages.0.weight": "votes"})
    (clear_inputs, clear, clear_weights), *_ = batches(store, weighted)
    (inputs, targets, weights), *_ = batches(store, override(weighted, {"augment.cutmix": 0.8}))
    partners = clear_inputs["eeg"]
    shares = []
    for i, eeg in enumerate(inputs["eeg"]):
        replaced = (eeg != partners[i]).any(axis=1)
        if not replaced.any():
            np.testing.assert_allclose(targets[i], clear[i], rtol=1e-5)
            continue
        first, last = np.flatnonzero(replaced)[[0, -1]]
        (partner,) = [
            j for j, other in enumerate(partners)
            if (eeg[first : last + 1] == other[first : last + 1]).all()
        ]  # fmt: skip
        np.testing.assert_array_equal(eeg[:first], partners[i][:first])
        np.testing.assert_array_equal(eeg[last + 1 :], partners[i][last + 1 :])
        share = max(min(last + 1, 6000) - max(first, 4000), 0) / 2000
        shares.append(share)
        expected = (1 - share) * clear[i] + share * clear[partner]
        np.testing.assert_allclose(targets[i], expected, atol=5e-3)
        expected = (1 - share) * clear_weights[i] + share * clear_weights[partner]
        assert weights[i] == pytest.approx(expected, abs=5e-3)
    assert 4 < len(shares) < len(targets)
    assert any(0 < share < 1 for share in shares)


def test_vote_weights_are_votes_over_twenty(store, plain):
    recipe = override(plain, {"stages.0.weight": "votes"})
    rows = FoldData(store, recipe).rows_of_epoch(0, 0)
    weights = np.concatenate([w for _, _, w in batches(store, recipe)])
    np.testing.assert_allclose(weights, store.windows["total_votes"].to_numpy()[rows] / 20)


def test_root_weights_are_the_square_root_of_vote_weights(store, plain):
    """One vote in place of twenty: a weight of 0.22, not 0.05."""
    recipe = override(plain, {"stages.0.weight": "root"})
    votes = store.windows["total_votes"].to_numpy()[FoldData(store, recipe).rows_of_epoch(0, 0)]
    weights = np.concatenate([w for _, _, w in batches(store, recipe)])
    np.testing.assert_allclose(weights**2, votes / 20, rtol=1e-5)
    assert (weights[votes < 20] > votes[votes < 20] / 20).all()


def test_weights_may_come_from_a_table_by_number_of_votes(store, plain):
    recipe = override(plain, {"stages.0.weight": {"4": 0.25, "1": 0.125, "12": 1.0}})
    totals = store.windows["total_votes"].to_numpy()[FoldData(store, recipe).rows_of_epoch(0, 0)]
    weights = np.concatenate([w for _, _, w in batches(store, recipe)])
    expected = [0.125 if n < 4 else 0.25 if n < 12 else 1.0 for n in totals]
    np.testing.assert_array_equal(weights, expected)
    assert len(set(expected)) > 1


def test_smoothing_adds_votes_of_the_stages_mean(store, plain):
    recipe = override(plain, {"stages.0.smoothing": 2, "stages.0.min_votes": 2})
    data = FoldData(store, recipe)
    table = store.windows.iloc[data.training]
    table = table[table["total_votes"] >= 2].drop_duplicates("group")[list(VOTE_COLUMNS)]
    prior = table.div(table.sum(axis=1), axis=0).mean().to_numpy()
    votes = store.windows[list(VOTE_COLUMNS)].to_numpy()[data.rows_of_epoch(0, 0)]
    targets = np.concatenate([t for _, t, _ in batches(store, recipe)])
    for target, row in zip(targets, votes, strict=True):
        np.testing.assert_allclose(target, (row + 2 * prior) / (row.sum() + 2), rtol=1e-5)


def test_a_stage_can_learn_the_consensus_alone(store, plain):
    _, votes, _ = batches(store, plain)[0]
    recipe = override(plain, {"stages.0.target": "consensus"})
    _, targets, _ = batches(store, recipe)[0]
    np.testing.assert_array_equal(targets.sum(axis=1), 1)
    np.testing.assert_array_equal(targets.argmax(axis=1), votes.argmax(axis=1))
    assert set(np.unique(targets)) == {0, 1}


def test_a_stage_takes_only_windows_with_enough_votes(store, plain):
    recipe = override(plain, {"stages.0.min_votes": 10})
    rows = np.concatenate([FoldData(store, recipe).rows_of_epoch(0, i) for i in range(30)])
    assert (store.windows["total_votes"].to_numpy()[rows] >= 10).all()
    with pytest.raises(InputError, match=r"stages.0: no training window has 99 votes"):
        FoldData(store, override(plain, {"stages.0.min_votes": 99}))


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
