"""Members of a blend: files of out-of-fold predictions, brought to the same windows.

Nothing is dropped or mended in silence: what cannot be used is refused, what is changed by a rule
is noted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition
from hbac_utils.data.splits import group_windows, middle_windows
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import CLIP
from hbac_utils.training.runs import run_digest, verified
from hbac_utils.utils.errors import InputError, one_line

KEYS = ("label_id", "eeg_id")
"""Columns by which a file may name its rows; the first one that is there counts."""

ROUNDED = 5e-3
"""Rows that sum to 1 up to this were rounded, to three decimals or more, and are normalised."""

SHOWN = 3  # ids in a message


@dataclass(frozen=True)
class Member:
    """One model's out-of-fold predictions.

    Attributes
    ----------
    name : str
    key : {"label_id", "eeg_id"}
        With ``eeg_id`` a row stands for all windows of the recording.
    table : DataFrame
        The key, the six probabilities, and ``fold`` if it is known.
    digest : str
        Of the run, by which inference recognises it; empty for another model's file.
    notes : tuple of str
        What was changed by a rule.
    """

    name: str
    key: str
    table: pd.DataFrame
    digest: str = ""
    notes: tuple[str, ...] = ()


def read_member(path: str | Path, columns: Mapping[str, str] | None = None) -> Member:
    """Read a run's out-of-fold predictions, or a file of another model's.

    Parameters
    ----------
    path : str or Path
        The folder of a run, a parquet or a csv file.
    columns : mapping, optional
        From ``label_id``, ``eeg_id``, ``fold`` or a competition's column of votes to what a file
        calls it. A run needs none.

    Raises
    ------
    InputError
        If it is not there, a run's file is not the one that was scored, a column is missing, an id
        is doubled, or a row holds no probabilities.
    """
    path = Path(path)
    if path.is_dir():
        file, name, columns = verified(path, "oof.parquet"), _run_name(path), {}
        digest = run_digest(path)
    else:
        file, name, digest = path, path.stem, ""
    table = _read(file).rename(columns={theirs: ours for ours, theirs in (columns or {}).items()})
    key = next((key for key in KEYS if key in table), None)
    missing = [c for c in VOTE_COLUMNS if c not in table] + ([] if key else ["label_id or eeg_id"])
    if missing:
        raise InputError(
            f"{file}: missing column {', '.join(missing)}; if it is called otherwise, say so: "
            "MAPPING='seizure_vote=p_seizure …'"
        )
    if table[key].duplicated().any():
        doubled = table[key][table[key].duplicated()].iloc[0]
        raise InputError(f"{file}: {key} {doubled} occurs more than once; keep one row per id")
    values, notes = _probabilities(table, key, file)
    kept = [key, "fold"] if "fold" in table else [key]
    table = table[kept].reset_index(drop=True)
    table[list(VOTE_COLUMNS)] = values
    return Member(name, key, table, digest, notes)


def _run_name(path: Path) -> str:
    """Call a run as its folder; trials of sweeps are numbered, so the sweep goes along."""
    path = path.resolve()
    return f"{path.parents[1].name}/{path.name}" if path.parent.name == "trials" else path.name


def _read(file: Path) -> pd.DataFrame:
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if file.suffix not in readers:
        raise InputError(f"{file}: neither a run's folder nor a .parquet or .csv file")
    if not file.is_file():
        raise InputError(f"{file}: no such file; is the run finished?")
    try:
        table = readers[file.suffix](file)
        return table.reset_index() if table.index.name else table
    except Exception as error:  # each reader has its own
        raise InputError(f"{file}: cannot be read ({one_line(error)})") from None


def _probabilities(table: pd.DataFrame, key: str, file: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    numbers = [c for c in VOTE_COLUMNS if not pd.api.types.is_numeric_dtype(table[c])]
    if numbers:
        raise InputError(f"{file}: column {numbers[0]} is not numeric")
    values = table[list(VOTE_COLUMNS)].to_numpy(dtype=np.float64)
    sums = values.sum(axis=1)
    wrong = ~((values >= 0).all(axis=1) & (np.abs(sums - 1) <= ROUNDED))  # NaN is wrong, too
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{file}: {wrong.sum()} rows hold no probabilities, such as that of {key} "
            f"{table[key].iloc[row]}: {np.array2string(values[row], precision=4)}; logits need a "
            "softmax first"
        )
    rounded = np.abs(sums - 1) > 1e-6
    notes = (f"{rounded.sum()} rows normalised, which summed to 1 ± {ROUNDED:g}",)
    return values / sums[:, None], notes if rounded.any() else ()


@dataclass(frozen=True)
class Members:
    """Members on common windows.

    Attributes
    ----------
    names, digests : tuple of str
    windows : DataFrame
        ``label_id``, ``eeg_id``, ``patient_id``, ``expert_consensus``, ``group`` and votes.
    probabilities : array of float32, shape (6, n, members)
    notes : tuple of str
        What was changed or left out by a rule.
    """

    names: tuple[str, ...]
    digests: tuple[str, ...]
    windows: pd.DataFrame
    probabilities: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def votes(self) -> np.ndarray:
        """Shape (n, 6)."""
        return self.windows[list(VOTE_COLUMNS)].to_numpy()

    @property
    def truth(self) -> np.ndarray:
        """Vote fractions, shape (n, 6)."""
        return vote_fractions(self.votes)


def collect(members: Sequence[Member], competition: Competition, common: bool = False) -> Members:
    """Bring members to the same windows of a competition.

    Parameters
    ----------
    members : sequence of Member
    competition : Competition
        For votes and patients.
    common : bool
        Use the windows that all members have; otherwise a window that one lacks is an error.

    Raises
    ------
    InputError
        If there are fewer than two members, two are the same, one knows an id that the competition
        does not have, lacks one that others have, or has a patient in two folds.
    """
    if len(members) < 2:
        raise InputError("a blend needs two members or more")
    _refuse_doubles(members)
    train = competition.train
    windows = _windows(members, train, common)
    notes = [f"{member.name}: {note}" for member in members for note in member.notes]
    values = np.empty((N_CLASSES, len(windows), len(members)), np.float32)
    folds: dict[str, pd.Series] = {}
    for place, member in enumerate(members):
        rows = member.table.set_index(member.key).loc[windows[member.key]]
        values[:, :, place] = rows[list(VOTE_COLUMNS)].to_numpy().T
        if "fold" in rows:
            folds[member.name] = _fold_of_patient(member.name, rows["fold"], windows)
        notes += _zeros(member.name, values[:, :, place].T, windows)
    notes += _other_folds(folds, [member.name for member in members])
    if common:
        most = max(_count(member, train) for member in members)
        notes.append(f"{len(windows)} windows are common to all members, of {most}")
    names = tuple(member.name for member in members)
    return Members(names, tuple(m.digest for m in members), windows, values, tuple(notes))


def _refuse_doubles(members: Sequence[Member]) -> None:
    seen: dict[str, str] = {}
    for member in members:
        for mark in filter(None, (member.name, member.digest)):
            if mark in seen:
                raise InputError(
                    f"{seen[mark]}, {member.name}: the same name or run twice; members must differ"
                )
            seen[mark] = member.name


def _windows(members: Sequence[Member], train: pd.DataFrame, common: bool) -> pd.DataFrame:
    """Choose the windows that are scored: those that the members name, in the order of the first.

    A recording stands for its middle window of each vote vector.
    """
    train = train.assign(group=group_windows(train))
    middle = train.iloc[middle_windows(train)]
    named = []
    for member in members:
        unknown = member.table[member.key][~member.table[member.key].isin(train[member.key])]
        if len(unknown):
            raise InputError(
                f"{member.name}: {len(unknown)} {member.key} are not of this competition, such as "
                f"{unknown.iloc[0]}; is it the right one?"
            )
        if member.key == "label_id":
            named.append((member, pd.Index(member.table["label_id"])))
    if not named:
        ids = [middle["label_id"][middle["eeg_id"].isin(m.table["eeg_id"])] for m in members]
        named = [(m, pd.Index(i)) for m, i in zip(members, ids, strict=True)]
    wanted = named[0][1]
    for _, ids in named[1:]:
        wanted = wanted.intersection(ids, sort=False) if common else wanted.union(ids, sort=False)
    windows = train.set_index("label_id").loc[wanted].reset_index()
    for member in members:
        absent = windows[~windows[member.key].isin(member.table[member.key])]
        if common:
            windows = windows.drop(index=absent.index).reset_index(drop=True)
        elif len(absent):
            listed = ", ".join(map(str, absent[member.key].unique()[:SHOWN]))
            raise InputError(
                f"{member.name}: lacks {len(absent)} of {len(windows)} windows that others have "
                f"({member.key} {listed} …); train its other folds, or use COMMON=1"
            )
    if windows.empty:
        raise InputError("no window is common to all members")
    return windows


def _count(member: Member, train: pd.DataFrame) -> int:
    return len(member.table) if member.key == "label_id" else train["label_id"].nunique()


def _fold_of_patient(name: str, fold: pd.Series, windows: pd.DataFrame) -> pd.Series:
    table = pd.DataFrame({"fold": fold.to_numpy(), "patient_id": windows["patient_id"].to_numpy()})
    folds = table.groupby("patient_id")["fold"]
    torn = folds.nunique()
    if (torn > 1).any():
        patient = torn.index[torn > 1][0]
        listed = ", ".join(map(str, sorted(folds.get_group(patient).unique())))
        raise InputError(
            f"{name}: patient {patient} is in the folds {listed}: models that saw the patient "
            "made its predictions; train it again with folds by patient"
        )
    return folds.first()


def _other_folds(folds: dict[str, pd.Series], names: list[str]) -> list[str]:
    notes = [f"{name}: its folds are not known, so a leak would not be seen" for name in names
             if name not in folds]  # fmt: skip
    known = list(folds)
    for name in known[1:]:
        if not _same_partition(folds[known[0]], folds[name]):
            notes.append(
                f"{name}: other folds than {known[0]}; every row is still out of fold, and the "
                "blend is cross-fitted by patients"
            )
    return notes


def _same_partition(first: pd.Series, second: pd.Series) -> bool:
    both = pd.DataFrame({"first": first, "second": second}).drop_duplicates()
    return not (both["first"].duplicated().any() or both["second"].duplicated().any())


def _zeros(name: str, values: np.ndarray, windows: pd.DataFrame) -> list[str]:
    zeros = ((values <= CLIP) & (windows[list(VOTE_COLUMNS)].to_numpy() > 0)).sum()
    if not zeros:
        return []
    return [
        f"{name}: {zeros} zeros where experts voted; they count as {CLIP:g}, as in the competition"
    ]
