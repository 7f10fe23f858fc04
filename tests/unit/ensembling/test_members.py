"""Members of a blend: brought to the same groups, or refused with a reason."""

import shutil

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data.splits import group_windows
from hbac_utils.ensembling.members import collect, read_member
from hbac_utils.labels import CLASSES, VOTE_COLUMNS
from hbac_utils.utils.errors import InputError

COLUMNS = list(VOTE_COLUMNS)


@pytest.fixture
def outside(run, tmp_path):
    """Write another model's file: the run's predictions, mixed with uniform ones."""

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


def test_runs_and_files_by_label_or_eeg_come_to_the_same_windows(run, outside, competition):
    paths = [run, outside("a.parquet"), outside("b.csv", key="eeg_id")]
    members = collect([read_member(path) for path in paths], competition)
    oof = pd.read_parquet(run / "oof.parquet")
    assert members.names == (run.name, "a", "b")
    assert members.windows["label_id"].tolist() == oof["label_id"].tolist()
    np.testing.assert_allclose(members.probabilities[:, :, 0].T, oof[COLUMNS], atol=1e-6)
    mixed = 0.7 * oof[COLUMNS] + 0.05
    np.testing.assert_allclose(members.probabilities[:, :, 1].T, mixed, atol=1e-6)
    votes = competition.train.set_index("label_id").loc[oof["label_id"], COLUMNS]
    np.testing.assert_array_equal(members.windows[COLUMNS], votes)
    assert "a, b: folds are not known, so a leak would not be seen" in members.notes


# -- other people's files: keys, names of columns, other windows of the same groups -------


@pytest.fixture
def grouped(competition):
    """The windows with their groups, and known predictions of each window."""
    train = competition.train.copy()
    train["group"] = group_windows(train)
    values = np.random.default_rng(0).dirichlet(np.ones(6), len(train))
    assert train["group"].duplicated().sum() > 10
    return train, pd.DataFrame(values, columns=COLUMNS)


@pytest.mark.parametrize(
    "key", [["label_id"], ["eeg_id", "eeg_sub_id"], ["eeg_id", "eeg_label_offset_seconds"]]
)
def test_all_windows_of_a_group_count_for_it(run, grouped, competition, tmp_path, key):
    train, values = grouped
    train[key].join(values).to_csv(tmp_path / "theirs.csv", index=False)
    oof = pd.read_parquet(run / "oof.parquet")
    members = collect([read_member(run), read_member(tmp_path / "theirs.csv")], competition)
    assert members.windows["label_id"].tolist() == oof["label_id"].tolist()
    means = values.groupby(train["group"]).mean().loc[members.windows["group"]]
    np.testing.assert_allclose(members.probabilities[:, :, 1].T, means, atol=1e-6)
    several = (train["group"].value_counts() > 1).sum()
    assert (
        f"theirs: {len(train)} rows matched by {' and '.join(key)} to {len(oof)} groups "
        f"(EEG and vote vector); {several} groups get the mean of several rows"
    ) in members.notes


def test_families_that_scored_other_windows_of_the_same_groups(grouped, competition, tmp_path):
    train, values = grouped
    rows = train[["eeg_id", "eeg_sub_id"]].join(values)
    for name, keep in (("first", "first"), ("last", "last")):
        (tmp_path / name).mkdir()
        chosen = rows[~train["group"].duplicated(keep=keep)]
        chosen.to_parquet(tmp_path / name / "oof.parquet", index=False)
    paths = [tmp_path / name / "oof.parquet" for name in ("first", "last")]
    members = collect([read_member(path) for path in paths], competition)
    assert members.names == ("first", "last")  # files of equal names: their folders
    assert len(members.windows) == train["group"].nunique()
    differ = np.abs(np.diff(members.probabilities, axis=2)).max(axis=(0, 2)) > 1e-6
    assert differ.sum() == (train["group"].value_counts() > 1).sum()
    shutil.copy(paths[0], tmp_path / "copy.parquet")
    twins = collect([read_member(p) for p in (paths[0], tmp_path / "copy.parquet")], competition)
    assert twins.notes[-1] == "oof, copy: identical predictions; keep one of them"


@pytest.mark.parametrize(
    "form", ["{}", "{}_vote", "{}_pred", "{}_vote_pred", "pred_{}", "P({})", "prob_{}_vote"]
)
def test_columns_are_recognised_in_common_forms_beside_votes(grouped, tmp_path, form):
    train, values = grouped
    table = train[["label_id", *COLUMNS]]
    if form in ("{}", "{}_vote"):
        table = table[["label_id"]]
    for name in CLASSES:
        table = table.assign(**{form.format(name): values[f"{name.lower()}_vote"]})
    table = table.rename(columns={"label_id": "Label_ID"})
    table.to_csv(tmp_path / "theirs.csv")
    read = read_member(tmp_path / "theirs.csv").table
    np.testing.assert_allclose(read[COLUMNS], values)
    assert read["label_id"].tolist() == train["label_id"].tolist()


def test_rows_by_eeg_are_averaged_where_the_eeg_has_one_group(grouped, competition, tmp_path):
    train, values = grouped
    single = train.groupby("eeg_id")["group"].transform("nunique") == 1
    assert 0 < single.sum() < len(train)
    rows = train[["eeg_id"]].join(values)
    rows[single].to_csv(tmp_path / "a.csv", index=False)
    between = train["eeg_label_offset_seconds"] + 0.5  # as a mean over windows may be
    rows.assign(eeg_label_offset_seconds=between)[single].to_csv(tmp_path / "b.csv", index=False)
    members = collect([read_member(tmp_path / f"{n}.csv") for n in "ab"], competition)
    means = values[single].groupby(train["eeg_id"]).mean().loc[members.windows["eeg_id"]]
    for place in range(2):
        np.testing.assert_allclose(members.probabilities[:, :, place].T, means, atol=1e-6)
    rows.to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(InputError, match="may stand for several groups .* add a column eeg_sub_id"):
        collect([read_member(tmp_path / f"{n}.csv") for n in "ac"], competition)


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
        (lambda t: t.join(t[COLUMNS].add_suffix("_p")).join(t[COLUMNS].add_suffix("_oof")), "both"),
        (lambda t: t.assign(fold=np.arange(len(t)) % 2), "is in the folds 0, 1"),
    ],
)
def test_an_invalid_file_is_refused(run, outside, competition, change, reason):
    with pytest.raises(InputError, match=reason):
        collect([read_member(run), read_member(outside(change=change))], competition)


def test_changes_by_a_rule_are_noted(run, outside, competition):
    rounded = read_member(outside("rounded.csv", lambda t: t.assign(**t[COLUMNS].round(3))))
    certain = {column: float(column == "lpd_vote") for column in COLUMNS}
    zeros = read_member(outside("zeros.csv", lambda t: t.assign(**certain)))
    fewer = read_member(outside("fewer.csv", lambda t: t.iloc[3:]))
    oof = pd.read_parquet(run / "oof.parquet")
    folds = dict(zip(oof["patient_id"].unique(), np.arange(99) % 3, strict=False))
    other = outside("other.csv", lambda t: t.assign(fold=oof["patient_id"].map(folds)))
    given = [read_member(run), rounded, zeros, fewer, read_member(other)]
    members = collect(given, competition, common=True)
    notes = "\n".join(members.notes)
    assert "rounded: " in notes
    assert "rows normalised" in notes
    assert "zeros where experts voted" in notes
    assert f"other: other folds than {run.name}" in notes
    assert len(members.windows) == len(oof) - 3
    assert f"{len(oof) - 3} groups are common to all members, of {len(oof)}" in notes


def test_the_same_member_twice_is_refused(run, competition, tmp_path):
    copy = shutil.copytree(run, tmp_path / "copy")
    with pytest.raises(InputError, match="the same name or run twice"):
        collect([read_member(run), read_member(copy)], competition)
    with pytest.raises(InputError, match="two members or more"):
        collect([read_member(run)], competition)


def test_a_trial_is_named_after_its_sweep(run, tmp_path):
    trial = shutil.copytree(run, tmp_path / "first" / "trials" / "000")
    assert read_member(trial).name == "first/000"


def test_columns_with_other_names_need_a_mapping_and_ids_may_be_the_index(outside):
    names = {c: f"p_{c}" for c in COLUMNS} | {"label_id": "id"}
    path = outside(change=lambda t: t.rename(columns=names))
    with pytest.raises(InputError, match="MAPPING="):
        read_member(path)
    mapped = read_member(path, names).table
    assert list(mapped) == ["label_id", *COLUMNS]
    indexed = outside("indexed.parquet")
    pd.read_parquet(indexed).set_index("label_id").to_parquet(indexed)
    pd.testing.assert_frame_equal(read_member(indexed).table, mapped)
