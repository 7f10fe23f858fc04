"""Members of a blend: out-of-fold predictions of runs and of other models, on common groups."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition
from hbac_utils.data.splits import group_windows, middle_windows
from hbac_utils.labels import CLASSES, N_CLASSES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import CLIP
from hbac_utils.training.runs import run_digest, verified
from hbac_utils.utils.errors import InputError, one_line

COLUMNS = list(VOTE_COLUMNS)

BY_EEG, BY_OFFSET = ("eeg_id",), ("eeg_id", "eeg_label_offset_seconds")
KEYS = (("label_id",), ("eeg_id", "eeg_sub_id"), BY_OFFSET, BY_EEG)
"""Columns that may identify a file's rows; the first ones that are present count."""

PREDICTED = {
    "p", "y", "oof", "pred", "preds", "predicted", "prediction", "predictions", "prob", "probs",
    "proba", "probability",
}  # fmt: skip
"""Words that mark a column of predictions, as ``seizure_vote_pred`` beside ``seizure_vote``."""

DECLARE = "if it has another name, declare it: MAPPING='seizure_vote=p_seizure eeg_id=id …'"

ROUNDED = 5e-3  # rows that sum to 1 within this were rounded to three decimals: normalised


@dataclass(frozen=True)
class Member:
    """One model's out-of-fold predictions."""

    name: str
    folder: str  # that holds it: distinguishes members of the same name
    key: tuple[str, ...]  # one of `KEYS`; a row per EEG stands for all its groups
    table: pd.DataFrame  # the key, six probabilities, and ``fold`` if it is known
    digest: str = ""  # of the run, by which inference recognises it; empty for another model
    notes: tuple[str, ...] = ()  # changes made by a rule


def read_member(path: str | Path, columns: Mapping[str, str] | None = None) -> Member:
    """Read the out-of-fold predictions of a run's folder, or of a parquet or csv file.

    Columns are recognised in any case and in common forms, such as ``LPD``, ``lpd_vote`` and
    ``pred_lpd``; ``columns`` maps ours to other names. Raises InputError if the file is missing or
    was changed after it was scored, a column is missing, a window occurs twice, or a row holds no
    probabilities.
    """
    path = Path(path)
    if path.is_dir():
        file, columns, digest = verified(path, "oof.parquet"), {}, run_digest(path)
        folder = path.resolve()
        name = folder.name
        if folder.parent.name == "trials":  # of a sweep, where they are numbered
            name = f"{folder.parents[1].name}/{name}"
    else:
        file, name, digest = path, path.stem, ""
    table = _recognise_columns(_read(file), columns or {}, file)
    key = next((key for key in KEYS if set(key) <= set(table)), ())
    if not key:
        raise InputError(f"{file}: missing column label_id or eeg_id; {DECLARE}")
    for column in key:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    doubled = table.loc[table.duplicated(list(key)), list(key)]
    if len(doubled) and key != BY_EEG:
        raise InputError(
            f"{file}: {_row_name(doubled.iloc[0])} occurs more than once; keep one row per window"
        )
    values, sums = _probabilities(table, key, file)
    rounded = (np.abs(sums - 1) > 1e-6).sum()
    notes = (f"{rounded} rows normalised, which summed to 1 ± {ROUNDED:g}",) if rounded else ()
    table = table[[*key, "fold"] if "fold" in table else list(key)].reset_index(drop=True)
    table[COLUMNS] = values / sums[:, None]
    return Member(name, path.resolve().parent.name, key, table, digest, notes)


def _read(file: Path) -> pd.DataFrame:
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if file.suffix not in readers:
        raise InputError(f"{file}: neither a run's folder nor a .parquet or .csv file")
    if not file.is_file():
        raise InputError(f"{file}: no such file; is the run finished?")
    try:
        table = readers[file.suffix](file)
    except Exception as error:  # each reader has its own
        raise InputError(f"{file}: cannot be read ({one_line(error)})") from None
    return table.reset_index() if any(table.index.names) else table


def _recognise_columns(
    table: pd.DataFrame, declared: Mapping[str, str], file: Path
) -> pd.DataFrame:
    """Select ids, ``fold`` and predictions under our names; ``declared`` maps them to theirs."""
    declared = {ours: theirs for ours, theirs in declared.items() if theirs in table}
    known: dict[str, str] = {}
    forms: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
    for column in table.columns.difference(list(declared.values()), sort=False):
        words = re.findall(r"[a-z0-9]+", str(column).lower())
        classes = [f"{name.lower()}_vote" for name in CLASSES if name.lower() in words]
        marks = tuple(word for word in words if f"{word}_vote" not in classes)
        if len(classes) == 1 and set(marks) <= PREDICTED | {"vote", "votes"}:
            forms[marks][classes[0]] = column
        elif (name := "_".join(words)) in {"fold", *chain(*KEYS)}:
            known[name] = column
    # files that hold the votes as well mark the predictions
    marked = [columns for marks, columns in forms.items() if PREDICTED & set(marks)]
    found = sorted(marked or forms.values(), key=len, reverse=True)
    if len(found) > 1 and len(found[1]) == N_CLASSES and not set(COLUMNS) <= set(declared):
        listed = ", ".join(columns[COLUMNS[0]] for columns in found[:2])
        raise InputError(
            f"{file}: {listed}: both may be predictions; declare all six columns: "
            "MAPPING='seizure_vote=p_seizure …'"
        )
    names = {**known, **(found[0] if found else {}), **declared}
    if missing := [column for column in COLUMNS if column not in names]:
        raise InputError(f"{file}: missing column {', '.join(missing)}; {DECLARE}")
    return pd.DataFrame({ours: table[theirs] for ours, theirs in names.items()})


def _probabilities(
    table: pd.DataFrame, key: tuple[str, ...], file: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Check that rows hold probabilities; return them, shape (n, 6), and their sums."""
    for column in table[COLUMNS].select_dtypes(exclude=["number", "bool"]):
        raise InputError(f"{file}: column {column} is not numeric")
    values = table[COLUMNS].to_numpy(dtype=np.float64)
    sums = values.sum(axis=1)
    wrong = ~((values >= 0).all(axis=1) & (np.abs(sums - 1) <= ROUNDED))  # NaN is wrong, too
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{file}: {wrong.sum()} rows hold no probabilities, such as that of "
            f"{_row_name(table[list(key)].iloc[row])}: "
            f"{np.array2string(values[row], precision=4)}; logits need a softmax first"
        )
    return values, sums


def _row_name(key: pd.Series) -> str:
    return ", ".join(f"{column} {value:.0f}" for column, value in key.items())


@dataclass(frozen=True)
class Members:
    """Members on common groups, each represented by its middle window."""

    names: tuple[str, ...]
    digests: tuple[str, ...]
    windows: pd.DataFrame  # rows of train.csv with their ``group``
    probabilities: np.ndarray  # (6, n, members), float32
    notes: tuple[str, ...] = ()  # changes and omissions made by a rule

    @property
    def truth(self) -> np.ndarray:
        """Vote fractions, shape (n, 6)."""
        return vote_fractions(self.windows[COLUMNS])


def collect(members: Sequence[Member], competition: Competition, common: bool = False) -> Members:
    """Bring members to the same (EEG, vote vector) groups of a competition.

    Every window of a group counts for it; several rows of a group are averaged. Raises InputError
    if there are fewer than two members, two are the same, or one has ids that the competition
    lacks, a patient in two folds, or (unless only ``common`` groups are used) lacks groups that
    others have.
    """
    if len(members) < 2:
        raise InputError("a blend needs two members or more")
    train = competition.train.reset_index(drop=True)
    train["group"] = group_windows(train)
    members = [_with_known_offsets(member, train) for member in _distinct(members)]
    matched = [_match(member, train) for member in members]
    predictions = [rows.groupby("group", sort=False)[COLUMNS].mean() for rows in matched]
    middle = train.iloc[middle_windows(train)].set_index("group", drop=False)
    groups = _common_groups(members, predictions, middle, common)
    windows = middle.loc[groups].reset_index(drop=True)
    values = np.empty((N_CLASSES, len(windows), len(members)), np.float32)
    folds: dict[str, pd.Series] = {}
    notes: dict[str, list[str]] = defaultdict(list)  # the names of the members by note
    seen: dict[bytes, list[str]] = defaultdict(list)
    for place, (member, rows, table) in enumerate(zip(members, matched, predictions, strict=True)):
        values[:, :, place] = table.loc[groups].to_numpy().T
        seen[values[:, :, place].round(5).tobytes()].append(member.name)
        several = (rows["group"].value_counts() > 1).sum()
        how = f"{len(member.table):,} rows matched by {' and '.join(member.key)}"
        how += f" to {len(table):,} groups (EEG and vote vector)"
        if several:
            how += f"; {several:,} groups get the mean of several rows"
        zeros = ((values[:, :, place].T <= CLIP) & (windows[COLUMNS].to_numpy() > 0)).sum()
        if zeros:
            note = (
                f"{zeros} zeros where experts voted; they count as {CLIP:g}, as in the competition"
            )
            notes[note].append(member.name)
        for note in (how, *member.notes):
            notes[note].append(member.name)
        if "fold" in rows:
            folds[member.name] = _folds_by_patient(member.name, rows)
        else:
            notes["folds are not known, so a leak would not be seen"].append(member.name)
    if others := _members_with_other_folds(folds):
        note = f"other folds than {next(iter(folds))}; every row is still out of fold, and the "
        notes[note + "blend is cross-fitted by patients"] = others
    lines = [f"{_listed(names, len(members))}: {note}" for note, names in notes.items()]
    for twins in seen.values():
        if len(twins) > 1:
            lines.append(f"{', '.join(twins)}: identical predictions; keep one of them")
    if common:
        most = len(set().union(*(table.index for table in predictions)))
        lines.append(f"{len(windows)} groups are common to all members, of {most}")
    names, digests = (tuple(getattr(m, field) for m in members) for field in ("name", "digest"))
    return Members(names, digests, windows, values, tuple(lines))


def _listed(names: Sequence[str], members: int) -> str:
    if len(names) == members:
        return f"all {members} members"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _distinct(members: Sequence[Member]) -> list[Member]:
    """Name members of equal names after their folders; refuse the same one twice."""
    count = Counter(member.name for member in members)
    named = [
        replace(m, name=m.folder if len(count) == 1 else f"{m.folder}/{m.name}")
        if count[m.name] > 1 else m
        for m in members
    ]  # fmt: skip
    for a, b in combinations(named, 2):
        if a.name == b.name or a.digest == b.digest != "":
            raise InputError(f"{a.name}, {b.name}: the same name or run twice; members must differ")
    return named


def _with_known_offsets(member: Member, train: pd.DataFrame) -> Member:
    """Ignore offsets of no window, such as means over a group: a row then stands for its EEG."""
    key = list(member.key)
    if key == list(BY_OFFSET) and len(member.table.merge(train, on=key)) < len(member.table):
        return replace(member, key=BY_EEG)
    return member


def _match(member: Member, train: pd.DataFrame) -> pd.DataFrame:
    """Give each row of a member its ``group`` and ``patient_id``.

    A row per EEG stands for all groups of the EEG.
    """
    key = list(member.key)
    known = train[[*key, "group", "patient_id"]].drop_duplicates()
    rows = member.table.merge(known, "left", key)
    unknown = rows[rows["group"].isna()]
    if len(unknown):
        raise InputError(
            f"{member.name}: {len(unknown)} rows are not of this competition, such as that of "
            f"{_row_name(unknown[key].iloc[0])}; is it the right one?"
        )
    vague = member.table[member.table.duplicated(key, keep=False)] if key == list(BY_EEG) else rows
    vague = vague.merge(known[known.duplicated(key)], "inner", key)
    if len(vague):
        raise InputError(
            f"{member.name}: {_row_name(vague[key].iloc[0])} may stand for several groups (EEG and "
            "vote vector); add a column eeg_sub_id or label_id"
        )
    return rows


def _common_groups(
    members: Sequence[Member],
    predictions: Sequence[pd.DataFrame],
    windows: pd.DataFrame,
    common: bool,
) -> pd.Index:
    """Select the groups that the members predict, in the order of the first one.

    A member by EEG does not ask for all groups of its EEGs if another one names windows.
    """
    predicted = [table.index for table in predictions]
    named = [groups for m, groups in zip(members, predicted, strict=True) if m.key != BY_EEG]
    wanted = (named or predicted)[0]
    for groups in predicted if common else named or predicted:
        wanted = (wanted.intersection if common else wanted.union)(groups, sort=False)
    for member, groups in zip(members, predicted, strict=True):
        absent = wanted.difference(groups)
        if len(absent):
            listed = ", ".join(map(str, windows.loc[absent, "eeg_id"].unique()[:3]))
            raise InputError(
                f"{member.name}: lacks {len(absent)} of {len(wanted)} groups (EEG and vote vector) "
                f"that others have (eeg_id {listed} …); train its other folds, or use COMMON=1"
            )
    if wanted.empty:
        raise InputError("no group (EEG and vote vector) is common to all members")
    return wanted


def _folds_by_patient(name: str, rows: pd.DataFrame) -> pd.Series:
    """Return the fold of each patient; refuse patients in two folds."""
    folds = rows.groupby("patient_id")["fold"]
    torn = folds.nunique() > 1
    if torn.any():
        patient = torn.idxmax()
        listed = ", ".join(map(str, sorted(folds.get_group(patient).unique())))
        raise InputError(
            f"{name}: patient {patient} is in the folds {listed}: models that saw the patient "
            "made its predictions; train it again with folds by patient"
        )
    return folds.first()


def _members_with_other_folds(folds: Mapping[str, pd.Series]) -> list[str]:
    """List the members whose folds differ from the first one's."""
    others, first = [], next(iter(folds), "")
    for name in folds:
        pairs = pd.DataFrame({"first": folds[first], "other": folds[name]})
        pairs = pairs.dropna().drop_duplicates()
        if pairs["first"].duplicated().any() or pairs["other"].duplicated().any():
            others.append(name)
    return others
