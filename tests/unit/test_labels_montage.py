import numpy as np
import pytest

from hbac_utils.labels import (
    CLASSES,
    DECISION_PATHS,
    DECISIONS,
    VOTE_COLUMNS,
    consensus,
    vote_fractions,
)
from hbac_utils.montage import (
    CHAINS,
    CHANNELS,
    DOUBLE_BANANA,
    ELECTRODES,
    LEFT,
    RIGHT,
    derivation_matrix,
    electrode_name,
    mirror_electrode,
    mirror_permutation,
)


def test_classes_and_columns_are_in_the_competitions_order():
    assert CLASSES == ("Seizure", "LPD", "GPD", "LRDA", "GRDA", "Other")
    assert VOTE_COLUMNS == (
        "seizure_vote", "lpd_vote", "gpd_vote", "lrda_vote", "grda_vote", "other_vote",
    )  # fmt: skip


def test_vote_fractions_sum_to_one():
    fractions = vote_fractions(np.array([[3, 0, 0, 0, 0, 1], [0, 0, 5, 0, 0, 0]]))
    np.testing.assert_array_equal(fractions, [[0.75, 0, 0, 0, 0, 0.25], [0, 0, 1, 0, 0, 0]])


@pytest.mark.parametrize("votes", [[0, 0, 0, 0, 0, 0], [2, -1, 0, 0, 0, 0]])
def test_vote_fractions_refuse_no_votes_and_negative_ones(votes):
    with pytest.raises(ValueError, match="at least one vote"):
        vote_fractions(np.array([votes]))


def test_consensus_is_the_first_of_equals():
    votes = np.array([[0, 2, 0, 2, 0, 0], [0, 0, 0, 0, 0, 1]])
    assert consensus(votes).tolist() == ["LPD", "Other"]


def test_the_data_has_nineteen_electrodes_and_an_ekg():
    assert len(ELECTRODES) == 19
    assert CHANNELS == (*ELECTRODES, "EKG")


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("Fp1", ["Fp1", "FP1", " fp1 ", "Fp1.", "Fp1..", "EEG FP1", "EEGFp1", "EEG Fp1-Ref",
                 "FP1-LE", "EEG_FP1_REF", "EEG Fp1-A1A2", "EEG FP1-AVG", "fp1-m2", "EEG.Fp1.Ref",
                 "Fp1-(A1+A2)/2", "Fp1 [µV]", "EEG FP1-Ref (uV)", "Fp1-CPz",
                 "POL Fp1", "Fp1-Ave", "FP1-AR", "Fp1-G2", "EEG Fp1-vRef", "EEG Fp1-Org"]),
        ("T3", ["T3", "T7", "EEG T7-REF"]), ("T4", ["T8", "t4-Ref"]),
        ("T5", ["P7", "EEG T5-LE"]), ("T6", ["P8", "eeg p8"]),
        ("EKG", ["EKG", "ECG", "ecg-ref"]),
        # derivations, other positions, other signals
        (None, ["Fp1-F7", "T7-P7", "Cz-Fz", "Fpz", "T9", "Fp1 [mV]", "EEG Fp1-Cz",
                "Fp11", "A1", "EEG", "", "LL_0.59"]),
    ],
)  # fmt: skip
def test_other_recorders_names_are_translated(name, texts):
    assert [electrode_name(text) for text in texts] == [name] * len(texts)


def test_the_datas_own_names_stay():
    assert tuple(map(electrode_name, CHANNELS)) == CHANNELS


def test_bipolar_signals_by_hand():
    eeg = np.arange(19, dtype=np.float32)[None]  # electrode i is at i microvolts
    place = {name: i for i, name in enumerate(ELECTRODES)}
    bipolar = (eeg @ derivation_matrix(DOUBLE_BANANA))[0]
    expected = [place[name.split("-")[0]] - place[name.split("-")[1]] for name in DOUBLE_BANANA]
    np.testing.assert_array_equal(bipolar, expected)


def test_a_chain_runs_from_the_front_to_the_back_and_telescopes():
    for chain in CHAINS.values():
        anodes, cathodes = zip(*(name.split("-") for name in chain), strict=True)
        assert anodes[1:] == cathodes[:-1]
        assert anodes[0] in ("Fp1", "Fp2")
        assert cathodes[-1] in ("O1", "O2")


@pytest.mark.parametrize("name", ["Fp1", "Fp1-F99", "Fz-Fz", "Fp1F7"])
def test_an_invalid_derivation_is_refused(name):
    with pytest.raises(ValueError, match="is not a derivation"):
        derivation_matrix([name])


def test_mirroring_exchanges_odd_and_even():
    assert [mirror_electrode(n) for n in ("Fp1", "T4", "Pz", "O2")] == ["Fp2", "T3", "Pz", "O1"]


def test_mirroring_derivations_exchanges_the_halves():
    permutation = mirror_permutation(DOUBLE_BANANA)
    mirrored = [DOUBLE_BANANA[i] for i in permutation]
    assert [mirrored[DOUBLE_BANANA.index(name)] for name in LEFT] == list(RIGHT)
    np.testing.assert_array_equal(permutation[permutation], np.arange(18))


def test_mirroring_refuses_one_sided_names():
    with pytest.raises(ValueError, match="mirror image missing: Fp2"):
        mirror_permutation(["Fp1", "Fz"])


def test_the_decision_paths_lead_to_six_different_classes():
    assert set(DECISION_PATHS) == set(CLASSES)
    paths = [tuple(path.items()) for path in DECISION_PATHS.values()]
    assert len(set(paths)) == 6
    for path in paths:
        # the decisions are made in order, and no path continues another one
        assert [name for name, _ in path] == list(DECISIONS[: len(path)])
        assert not any(other != path and other[: len(path)] == path for other in paths)
