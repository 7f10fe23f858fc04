"""Malformed recordings and test tables, and what the kit makes of each.

Inference never loses a row: it predicts what it can, and the reason for falling back to the prior
is part of the expectation. Training refuses, in one line.
"""

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hbac_utils.data.competition import Competition
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.montage import ELECTRODES

# -- recordings ------------------------------------------------------------------------


@dataclass(frozen=True)
class FileKind:
    """A way to spoil one recording, and what becomes of it."""

    recording: str  # eeg or spectrogram
    name: str
    spoil: Callable[[Path], object]
    lost: str = ""  # part of the reason for falling back to the prior; empty: it is predicted
    repaired: str = ""  # part of the note when it is predicted; empty: there is none
    same: bool = False  # whether the prediction is that of the unspoiled file
    refused: str = ""  # part of the line with which training refuses it; empty: it is accepted


def change(made: Callable[[pd.DataFrame], pd.DataFrame], **options) -> Callable[[Path], None]:
    """Spoil a recording by changing its table."""
    return lambda path: made(pd.read_parquet(path)).to_parquet(path, **options)


def fill(rows: slice, value: float) -> Callable[[Path], None]:
    def filled(table):
        table = table.astype(np.float32)
        table.iloc[rows] = np.float32(value)
        return table

    return change(filled)


def electrodes(number: int, value: float) -> Callable[[Path], None]:
    """Give the first electrodes a constant value."""
    constant = dict.fromkeys(ELECTRODES[:number], np.float32(value))
    return change(lambda table: table.assign(**constant))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def double_a_column(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.append_column(table.column_names[5], pa.nulls(len(table))), path)


def damage_a_page(path: Path) -> None:
    chunk = pq.read_metadata(path).row_group(0).column(5)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + 1000] = bytes(255 - byte for byte in content[at : at + 1000])
    path.write_bytes(content)


EEG, SPECTROGRAM, EITHER = ("eeg",), ("spectrogram",), ("eeg", "spectrogram")
NO_FILE, UNREADABLE, NO_PARQUET = "no such file", "not a readable parquet file", "not a parquet"
NEWER = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
ENDS, NO_VALUE = "a window of train.csv ends at row", "no finite value"

FILES = [
    FileKind(recording, f"{recording} {name}", spoil, **expected)
    for recordings, name, spoil, expected in (
        (EITHER, "missing", Path.unlink, {"lost": NO_FILE, "refused": NO_FILE}),
        (EITHER, "truncated", truncate, {"lost": UNREADABLE, "refused": NO_PARQUET}),
        (EEG, "of no bytes", lambda path: path.write_bytes(b""),
         {"lost": UNREADABLE, "refused": NO_PARQUET}),
        (EITHER, "of no rows", change(lambda t: t.iloc[:0]),
         {"lost": "0 rows instead of", "refused": "0 rows, but a window"}),
        (EEG, "all NaN", fill(slice(None), np.nan),
         {"lost": NO_VALUE, "refused": "holds no value"}),
        # a gap in training, as some real rows are
        (SPECTROGRAM, "all NaN", fill(slice(None), np.nan), {"lost": NO_VALUE}),
        (EITHER, "all infinite", fill(slice(None), np.inf),
         {"lost": NO_VALUE, "refused": "infinite"}),
        (EITHER, "numbers as text", change(lambda t: t.astype(str)),
         {"same": True, "refused": "not numbers"}),
        (EITHER, "doubles", change(lambda t: t.astype(np.float64)), {"same": True}),
        (EITHER, "whole numbers", change(lambda t: t.round().fillna(0).astype(np.int32)), {}),
        (EITHER, "columns in reverse", change(lambda t: t[t.columns[::-1]]), {"same": True}),
        (EITHER, "with another column", change(lambda t: t.assign(note="at night")),
         {"same": True}),
        (EITHER, "names in other case", change(lambda t: t.rename(columns=str.swapcase)),
         {"same": True}),
        (EEG, "newer names", change(lambda t: t.rename(columns=NEWER)), {"same": True}),
        (EEG, "names with a reference", change(lambda t: t.add_prefix("EEG ").add_suffix("-Ref")),
         {"same": True}),
        (EITHER, "names of something else", change(lambda t: t.add_prefix("x")),
         {"lost": "it has x", "refused": "missing column"}),
        (EEG, "an electrode under two names", change(lambda t: t.assign(T7=t["T3"])),
         {"repaired": "without T3 and T7, which mean the same",
          "refused": "T3 occurs twice (T3 and T7)"}),
        (EITHER, "a column of words", change(lambda t: t.assign(**{t.columns[5]: "much"})),
         {"repaired": "without", "refused": "not numbers"}),
        (EITHER, "a column missing", change(lambda t: t.drop(columns=t.columns[5])),
         {"repaired": "without", "refused": "missing column"}),
        (EITHER, "a column twice", double_a_column,
         {"repaired": "the first of two columns", "same": True, "refused": "occurs twice"}),
        (EITHER, "a damaged page", damage_a_page, {"repaired": "without", "refused": UNREADABLE}),
        (EEG, "in many row groups", change(lambda t: t, row_group_size=700), {"same": True}),
        (EEG, "longer", change(lambda t: pd.concat([t, t.iloc[:2000]])),
         {"repaired": "12000 rows instead of 10000"}),
        (SPECTROGRAM, "longer", change(lambda t: pd.concat([t, t.iloc[:50]])),
         {"repaired": "350 rows instead of 300"}),
        (EEG, "shorter", change(lambda t: t.iloc[:6000]),
         {"repaired": "6000 rows instead of 10000", "refused": ENDS}),
        (SPECTROGRAM, "shorter", change(lambda t: t.iloc[:100]),
         {"repaired": "100 rows instead of 300", "refused": ENDS}),
        (EEG, "shorter than its label", change(lambda t: t.iloc[:1999]),
         {"lost": "1999 rows instead of 10000", "refused": ENDS}),
        (EEG, "nine NaN channels", electrodes(9, np.nan), {}),
        (EEG, "ten NaN channels", electrodes(10, np.nan),
         {"lost": "9 of 19 channels have a signal"}),
        (EEG, "nine flat channels", electrodes(9, 7), {}),
        (EEG, "flat", electrodes(19, 7),
         {"lost": "0 of 19 channels have a signal", "refused": "no signal"}),
        (EEG, "all zero", electrodes(19, 0),
         {"lost": "0 of 19 channels have a signal", "refused": "no signal"}),
        (EEG, "gaps", fill(slice(1000, 4000), np.nan), {}),
        (SPECTROGRAM, "gaps", fill(slice(0, None, 3), np.nan), {}),
        (EEG, "some infinities", fill(slice(0, None, 500), -np.inf), {"refused": "infinite"}),
        (EEG, "a giant sample", change(lambda t: t.assign(Cz=t["Cz"].where(t.index != 5000, 3e38))),
         {"repaired": "1 samples beyond 1 V left out",
          "refused": "column Cz reaches 3e+38 microvolts"}),
        (EEG, "in volts", change(lambda t: t * np.float32(1e-6)),
         {"repaired": "taken for volts", "same": True, "refused": "microvolts"}),
        (EEG, "in millivolts", change(lambda t: t * np.float32(1e-3)),
         {"repaired": "taken for millivolts", "same": True, "refused": "multiply all values"}),
        (EEG, "at 256 Hz", change(lambda t: pd.concat([t, t.iloc[:2800]])),
         {"repaired": "taken for 256 Hz", "refused": "50 s at 256 Hz, not at 200 Hz"}),
        (EEG, "a million times too large", change(lambda t: t * np.float32(1e6)),
         {"repaired": "taken for millionths", "same": True, "refused": "microvolts"}),
        (EEG, "without EKG", change(lambda t: t.drop(columns="EKG")), {"same": True}),
        (SPECTROGRAM, "without time", change(lambda t: t.drop(columns="time")), {"same": True}),
    )
    for recording in recordings
]  # fmt: skip


# -- test.csv --------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """The submission for a spoiled table: its ids in order, and those that get the prior."""

    ids: list
    lost: set = field(default_factory=set)


TABLES: list[Callable[[Path], Expected]] = []


def table(spoil: Callable[[Path, pd.DataFrame], Expected | None]) -> Callable[[Path], Expected]:
    """Add a function of the folder and its table to the catalogue; by default no id changes."""

    @wraps(spoil)
    def apply(folder: Path) -> Expected:
        test = pd.read_csv(folder / "test.csv")
        return spoil(folder, test) or Expected(test["eeg_id"].tolist())

    TABLES.append(apply)
    return apply


def write(folder: Path, test: pd.DataFrame, **options) -> None:
    test.to_csv(folder / "test.csv", index=False, **options)


def with_first_id(folder: Path, test: pd.DataFrame, name: object) -> list:
    """Give the first EEG another id, but not its file; return the ids as text."""
    test = test.astype({"eeg_id": object})
    test.loc[0, "eeg_id"] = name
    write(folder, test)
    return [str(i) for i in test["eeg_id"]]


def rename_first(folder: Path, test: pd.DataFrame, name: object) -> None:
    old = test["eeg_id"][0]
    (folder / "test_eegs" / f"{old}.parquet").rename(folder / "test_eegs" / f"{name}.parquet")


@table
def unsorted(folder, test):
    write(folder, test[::-1])
    return Expected(test["eeg_id"].tolist()[::-1])


@table
def ids_twice(folder, test):
    write(folder, pd.concat([test] * 2))


@table
def more_columns(folder, test):
    write(folder, test.assign(age=71.5, note='said "well", then left'))


@table
def only_ids(folder, test):
    write(folder, test[["eeg_id"]])


@table
def no_rows(folder, test):
    write(folder, test.head(0))
    return Expected([])


@table
def id_beyond_doubles(folder, test):
    # beside a column of floats, which must not make the ids float
    name = 2**53 + 1
    rename_first(folder, test, name)
    write(folder, test.assign(eeg_id=[name, *test["eeg_id"][1:]], age=71.5))
    return Expected([name, *test["eeg_id"][1:]])


@table
def id_of_words(folder, test):
    rename_first(folder, test, "patient 7, night")
    return Expected(with_first_id(folder, test, "patient 7, night"))


@table
def id_missing(folder, test):
    return Expected(with_first_id(folder, test, ""), {""})


@table
def id_that_leads_out(folder, test):
    name = "../test_spectrograms/elsewhere"
    return Expected(with_first_id(folder, test, name), {name})


@table
def ids_as_floats(folder, test):
    write(folder, test.assign(eeg_id=[f"{i}.0" for i in test["eeg_id"]]))
    return Expected([f"{i}.0" for i in test["eeg_id"]])


@table
def saved_by_a_spreadsheet(folder, test):
    options = {"encoding": "utf-8-sig", "lineterminator": "\r\n", "quoting": csv.QUOTE_ALL}
    write(folder, test[["eeg_id", "spectrogram_id"]].astype(str), **options)


@table
def in_latin1(folder, test):
    write(folder, test.assign(name="Jörg"), encoding="latin-1")


@table
def blank_lines(folder, test):
    path = folder / "test.csv"
    path.write_text(path.read_text().replace("\n", "\n\n") + "\n ,,\n\n")


@table
def columns_in_capitals(folder, test):
    write(folder, test.rename(columns=lambda name: f" {name.upper()}"))


@table
def no_ids_but_in_the_sample(folder, test):
    sample = test[["eeg_id"]].assign(**dict.fromkeys(VOTE_COLUMNS, 1 / 6))
    sample.to_csv(folder / "sample_submission.csv", index=False)
    (folder / "test.csv").write_bytes(np.random.default_rng(0).bytes(1000))


@table
def no_folder_of_eegs(folder, test):
    shutil.rmtree(folder / "test_eegs")
    ids = test["eeg_id"].tolist()
    return Expected(ids, set(ids))


# -- test folders ----------------------------------------------------------------------


def hidden_set(competition: Competition, folder: Path, rows: int = 2) -> Path:
    """Copy the first rows of a competition's test set and their files."""
    test = competition.test.head(rows)
    for recording in EITHER:
        (folder / f"test_{recording}s").mkdir(parents=True)
        for i in test[f"{recording}_id"]:
            name = f"test_{recording}s/{i}.parquet"
            shutil.copy(competition.path / name, folder / name)
    write(folder, test)
    return folder


def one_of_each(competition: Competition, folder: Path, kinds: list[FileKind]) -> Path:
    """Lay out a test folder with a copy of the first recording for each kind, numbered from 0."""
    source = competition.test.iloc[0]
    for recording in EITHER:
        (folder / f"test_{recording}s").mkdir(parents=True)
        original = competition.path / f"test_{recording}s/{source[f'{recording}_id']}.parquet"
        for i, kind in enumerate(kinds):
            path = Path(shutil.copy(original, folder / f"test_{recording}s/{i}.parquet"))
            if recording == kind.recording:
                kind.spoil(path)
    ids = {f"{name}_id": range(len(kinds)) for name in (*EITHER, "patient")}
    write(folder, pd.DataFrame(ids))
    return folder
