"""Tables of a simulated competition against the statistics of the real ones."""

import numpy as np
import pytest

from hbac_utils.labels import VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import score
from hbac_utils.synthetic.plan import make_plan
from hbac_utils.synthetic.sessions import REAL_TAILS, draw_sessions

VOTES = list(VOTE_COLUMNS)
# real tables, one row per EEG and vote vector: mean vote shares, share of unanimous votes, entropy
FEW = ((0.2448, 0.1376, 0.0923, 0.0624, 0.1100, 0.3529), 0.7266, 0.1934)  # fewer than 8 votes
MANY = ((0.0521, 0.1895, 0.1234, 0.0827, 0.0883, 0.4640), 0.1362, 0.6547)  # 10 votes or more


@pytest.fixture(scope="module")
def plan():
    return make_plan(eegs=1500, patients=171, test_eegs=150, seed=0)


@pytest.fixture(scope="module")
def groups(plan):
    return plan.train.drop_duplicates(["eeg_id", *VOTES])


@pytest.mark.parametrize(("fewest", "most", "facts"), [(1, 7, FEW), (10, 28, MANY)])
def test_votes_have_the_real_statistics(groups, fewest, most, facts):
    votes = groups[VOTES].to_numpy()
    fractions = vote_fractions(votes[(votes.sum(1) >= fewest) & (votes.sum(1) <= most)])
    prior, unanimous, entropy = facts
    np.testing.assert_allclose(fractions.mean(axis=0), prior, atol=0.03)
    assert (fractions.max(axis=1) == 1).mean() == pytest.approx(unanimous, abs=0.07)
    logs = np.log(fractions, out=np.zeros_like(fractions), where=fractions > 0)
    assert -(fractions * logs).sum(axis=1).mean() == pytest.approx(entropy, abs=0.10)


def test_sizes_have_the_real_quantiles(plan):
    windows = plan.train.groupby("eeg_id").size()
    eegs = plan.train.groupby("patient_id")["eeg_id"].nunique()
    assert (len(windows), len(eegs)) == (1500, 171)
    levels = [0.25, 0.5, 0.75, 0.9, 0.95]
    np.testing.assert_allclose(windows.quantile(levels), [1, 3, 7, 13, 20], rtol=0.25)
    np.testing.assert_allclose(eegs.quantile(levels), [2, 3, 5, 19, 37], rtol=0.25)


def test_votes_change_and_spectrograms_are_shared_as_in_reality(plan, groups):
    assert (groups.groupby("eeg_id").size() > 1).mean() == pytest.approx(0.105, abs=0.03)
    per_spectrogram = plan.train.groupby("spectrogram_id")["eeg_id"].nunique()
    assert per_spectrogram.mean() == pytest.approx(17_089 / 11_138, rel=0.15)
    steps = plan.train.groupby("eeg_id")["eeg_label_offset_seconds"].diff().dropna()
    assert steps.median() == 4
    assert steps.between(2, 6).mean() > 0.7


def test_splits_share_no_patient_and_ids_are_unique(plan):
    train, test = plan.train, plan.test
    assert train["label_id"].is_unique
    for column in ("patient_id", "eeg_id", "spectrogram_id"):
        assert not set(train[column]) & set(test[column])
        assert train.groupby(column)["patient_id"].nunique().max() == 1
    assert list(plan.solution["eeg_id"]) == list(test["eeg_id"])
    assert plan.solution[VOTES].sum(axis=1).between(3, 20).all()


def test_windows_of_eeg_and_spectrogram_share_a_centre_within_an_episode(plan):
    train = plan.train.set_index("eeg_id")
    for session in plan.sessions:
        parts = np.array([placed.labelled for placed in session.episodes])
        assert (parts[:, 0] < parts[:, 1]).all()
        assert (parts[1:, 0] >= parts[:-1, 1]).all()
        for recording in session.recordings if session.split == "train" else ():
            rows = train.loc[[recording.eeg_id]]
            centres = (recording.start + rows["eeg_label_offset_seconds"] + 25).to_numpy()
            assert list(centres) == list(rows["spectrogram_label_offset_seconds"] + 300)
            inside = (parts[:, :1] <= centres) & (centres <= parts[:, 1:])
            assert inside.any(axis=0).all()


def test_truth_is_the_oracle(plan):
    truth = plan.truth[plan.truth["split"] == "test"][["eeg_id", *VOTES]]
    uniform = truth.assign(**dict.fromkeys(VOTES, 1 / 6))
    assert score(plan.solution, truth) < 0.4 < 0.9 < score(plan.solution, uniform)
    assert (plan.truth["label_id"].isna() == (plan.truth["split"] == "test")).all()


def test_evidence_makes_classes_clear_and_balanced_makes_them_equally_frequent():
    def truth(**options):
        return make_plan(200, 200, 8, seed=3, **options).truth[VOTES].to_numpy()

    entropies = [-(p * np.log(p + 1e-12)).sum(1).mean() for p in (truth(), truth(evidence=5))]
    assert entropies[0] > 2 * entropies[1]
    assert truth().mean(axis=0).min() < 0.1  # LRDA
    np.testing.assert_allclose(truth(balanced=True).mean(axis=0), 1 / 6, atol=0.1)


def test_uncut_tails_have_the_real_sums_and_extremes():
    sessions = draw_sessions(np.random.default_rng([0, 0]), 17_089, 1_950, 1, REAL_TAILS)[:-1]
    recordings = [recording for session in sessions for recording in session.recordings]
    windows = [len(recording.offsets) for recording in recordings]
    assert len(recordings) == 17_089
    assert sum(windows) == pytest.approx(106_800, rel=0.01)
    assert len(sessions) == pytest.approx(11_138, rel=0.03)
    assert sum(r.seconds for r in recordings) / 3600 == pytest.approx(379, rel=0.02)
    assert sum(s.seconds for s in sessions) / 3600 == pytest.approx(2_368, rel=0.1)
    assert 500 < max(windows) <= 743
    assert 3_000 < max(recording.seconds for recording in recordings) <= 3_422
    assert 2 * 3_600 < max(session.seconds for session in sessions) <= 18_232
    for recording in recordings:
        assert np.diff(recording.offsets, prepend=-2).min() >= 2
