"""Members of a blend: out-of-fold predictions of runs and of other models, on common windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition
from hbac_utils.data.splits import group_windows, middle_windows
from hbac_utils.labels import N_CLASSES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import CLIP
from hbac_utils.training.runs import run_digest, verified
from hbac_utils.utils.errors import InputError, one_line

COLUMNS = list(VOTE_COLUMNS)

KEYS = ("label_id", "eeg_id")  # may identify a file's rows; the first one present counts
ROUNDED = 5e-3  # rows that sum to 1 within this were rounded to three decimals: normalised


@dataclass(frozen=True)
class Member:
    """One model's out-of-fold predictions."""

    name: str
    key: str  # label_id, or eeg_id: a row stands for all windows of the recording
    table: pd.DataFrame  # the key, six probabilities, and ``fold`` if it is known
    digest: str = ""  # of the run, by which inference recognises it; empty for another model
    notes: tuple[str, ...] = ()  # changes made by a rule


def read_member(path: str | Path, columns: Mapping[str, str] | None = None) -> Member:
    """Read the out-of-fold predictions of a run's folder, or of a parquet or csv file.

    ``columns`` maps our column to its name in another model's file. Raises InputError if the file
    is missing or was changed after it was scored, a column is missing, an id occurs twice, or a row
    holds no probabilities.
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
    table = _read(file).rename(columns={theirs: ours for ours, theirs in (columns or {}).items()})
    key = next((key for key in KEYS if key in table), "")
    missing = [c for c in COLUMNS if c not in table] + ([] if key else ["label_id or eeg_id"])
    if missing:
        raise InputError(
            f"{file}: missing column {', '.join(missing)}; if it has another name, declare it: "
            "MAPPING='seizure_vote=p_seizure …'"
        )
    if table[key].duplicated().any():
        doubled = table[key][table[key].duplicated()].iloc[0]
        raise InputError(f"{file}: {key} {doubled} occurs more than once; keep one row per id")
    for column in table[COLUMNS].select_dtypes(exclude=["number", "bool"]):
        raise InputError(f"{file}: column {column} is not numeric")
    values = table[COLUMNS].to_numpy(dtype=np.float64)
    sums = values.sum(axis=1)
    wrong = ~((values >= 0).all(axis=1) & (np.abs(sums - 1) <= ROUNDED))  # NaN is wrong, too
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{file}: {wrong.sum()} rows hold no probabilities, such as that of {key} "
            f"{table[key].iloc[row]}: {np.array2string(values[row], precision=4)}; logits need a "
            "softmax first"
        )
    rounded = (np.abs(sums - 1) > 1e-6).sum()
    notes = (f"{rounded} rows normalised, which summed to 1 ± {ROUNDED:g}",) if rounded else ()
    table = table[[key, "fold"] if "fold" in table else [key]].reset_index(drop=True)
    table[COLUMNS] = values / sums[:, None]
    return Member(name, key, table, digest, notes)


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
    return table.reset_index() if table.index.name else table


@dataclass(frozen=True)
class Members:
    """Members on common windows."""

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
    """Bring members to the same windows of a competition, which has votes and patients.

    Raises InputError if there are fewer than two members, two are the same, or one has ids that the
    competition lacks, a patient in two folds, or (unless only ``common`` windows are used) lacks
    windows that others have.
    """
    if len(members) < 2:
        raise InputError("a blend needs two members or more")
    for a, b in combinations(members, 2):
        if a.name == b.name or a.digest == b.digest != "":
            raise InputError(f"{a.name}, {b.name}: the same name or run twice; members must differ")
    windows = _windows(members, competition.train, common)
    notes = [f"{member.name}: {note}" for member in members for note in member.notes]
    values = np.empty((N_CLASSES, len(windows), len(members)), np.float32)
    folds: dict[str, pd.Series] = {}
    for place, member in enumerate(members):
        rows = member.table.set_index(member.key).loc[windows[member.key]]
        values[:, :, place] = rows[COLUMNS].to_numpy().T
        if "fold" in rows:
            folds[member.name] = _folds_by_patient(member.name, rows["fold"], windows)
        if zeros := ((values[:, :, place].T <= CLIP) & (windows[COLUMNS].to_numpy() > 0)).sum():
            notes.append(
                f"{member.name}: {zeros} zeros where experts voted; they count as {CLIP:g}, as in "
                "the competition"
            )
    names = tuple(member.name for member in members)
    unknown = [name for name in names if name not in folds]
    notes += [f"{name}: its folds are not known, so a leak would not be seen" for name in unknown]
    first = next(iter(folds), "")
    for name in folds:
        pairs = pd.DataFrame({"first": folds[first], "other": folds[name]}).drop_duplicates()
        if pairs["first"].duplicated().any() or pairs["other"].duplicated().any():
            notes.append(
                f"{name}: other folds than {first}; every row is still out of fold, and the "
                "blend is cross-fitted by patients"
            )
    if common:
        total = competition.train["label_id"].nunique()
        most = max(len(m.table) if m.key == "label_id" else total for m in members)
        notes.append(f"{len(windows)} windows are common to all members, of {most}")
    return Members(names, tuple(m.digest for m in members), windows, values, tuple(notes))


def _windows(members: Sequence[Member], train: pd.DataFrame, common: bool) -> pd.DataFrame:
    """Select the windows that the members predict, in the order of the first one.

    A row per ``eeg_id`` stands for the recording's middle window of each vote vector.
    """
    for member in members:
        ids = member.table[member.key]
        unknown = ids[~ids.isin(train[member.key])]
        if len(unknown):
            raise InputError(
                f"{member.name}: {len(unknown)} {member.key} are not of this competition, such as "
                f"{unknown.iloc[0]}; is it the right one?"
            )
    train = train.assign(group=group_windows(train))
    named = [pd.Index(m.table["label_id"]) for m in members if m.key == "label_id"]
    if not named:
        middle = train.iloc[middle_windows(train)].set_index("label_id")["eeg_id"]
        named = [middle.index[middle.isin(m.table["eeg_id"])] for m in members]
    wanted = named[0]
    for ids in named[1:]:
        wanted = (wanted.intersection if common else wanted.union)(ids, sort=False)
    windows = train.set_index("label_id").loc[wanted].reset_index()
    for member in members:
        absent = ~windows[member.key].isin(member.table[member.key])
        if common:
            windows = windows[~absent].reset_index(drop=True)
        elif absent.any():
            listed = ", ".join(map(str, windows[member.key][absent].unique()[:3]))
            raise InputError(
                f"{member.name}: lacks {absent.sum()} of {len(windows)} windows that others have "
                f"({member.key} {listed} …); train its other folds, or use COMMON=1"
            )
    if windows.empty:
        raise InputError("no window is common to all members")
    return windows


def _folds_by_patient(name: str, fold: pd.Series, windows: pd.DataFrame) -> pd.Series:
    """Return the fold of each patient; refuse patients in two folds."""
    folds = pd.Series(fold.to_numpy()).groupby(windows["patient_id"].to_numpy())
    torn = folds.nunique() > 1
    if torn.any():
        patient = torn.idxmax()
        listed = ", ".join(map(str, sorted(folds.get_group(patient).unique())))
        raise InputError(
            f"{name}: patient {patient} is in the folds {listed}: models that saw the patient "
            "made its predictions; train it again with folds by patient"
        )
    return folds.first()
