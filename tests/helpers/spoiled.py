"""A catalogue of malformed recordings and test tables, and what is expected of each.

Inference never loses a row: it predicts what it can, and the reason for falling back to the prior
is part of the expectation. Training refuses, in one line.
"""

import csv
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hbac_utils.data.competition import Competition
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.montage import ELECTRODES


@dataclass(frozen=True)
class FileKind:
    """A way to spoil one recording.

    Attributes
    ----------
    recording : {"eeg", "spectrogram"}
    spoil : callable
        Of the file's path.
    lost : str
        Part of the reason for falling back to the prior; empty: it is predicted.
    repaired : str
        Part of the note when it is predicted; empty: there is none.
    same : bool
        Whether the prediction is that of the unspoiled file.
    refused : str
        Part of the line with which training refuses it; empty: it is accepted.
    """

    recording: str
    spoil: Callable[[Path], object]
    lost: str
    repaired: str
    same: bool
    refused: str

    @property
    def name(self) -> str:
        return f"{self.recording} {self.spoil.__name__.replace('_', ' ')}"


FILES: list[FileKind] = []


def kind(lost="", *, repaired="", same=False, refused="", of=("eeg",)):
    """Add a function to the catalogue of files."""

    def add(spoil):
        FILES.extend(FileKind(recording, spoil, lost, repaired, same, refused) for recording in of)
        return spoil

    return add


EITHER = ("eeg", "spectrogram")
SPECTROGRAM = ("spectrogram",)
UNREADABLE, NO_PARQUET = "not a readable parquet file", "not a parquet file"


def change(path: Path, made: Callable[[pd.DataFrame], pd.DataFrame], **options) -> None:
    made(pd.read_parquet(path)).to_parquet(path, **options)


def change_columns(path: Path, made: Callable[[list], list]) -> None:
    """Write a table anew whose columns, pairs of name and values, were changed."""
    table = pq.read_table(path)
    pairs = made(list(zip(table.column_names, table.columns, strict=True)))
    names, columns = zip(*pairs, strict=True)
    pq.write_table(pa.table(list(columns), list(names)), path)


def fill_rows(path: Path, rows: slice, value: float) -> None:
    def filled(table):
        table = table.astype(np.float32)
        table.iloc[rows] = np.float32(value)
        return table

    change(path, filled)


# -- files of either recording ---------------------------------------------------------


@kind("no such file", refused="no such file", of=EITHER)
def missing(path):
    path.unlink()


@kind("no such file", refused="no such file")
def a_folder(path):
    path.unlink()
    path.mkdir()


@kind(UNREADABLE, refused=NO_PARQUET)
def of_no_bytes(path):
    path.write_bytes(b"")


@kind(UNREADABLE, refused=NO_PARQUET, of=EITHER)
def truncated(path):
    os.truncate(path, path.stat().st_size // 2)


@kind(UNREADABLE, refused=NO_PARQUET)
def of_noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(100_000))


@kind("0 rows instead of", refused="0 rows, but a window", of=EITHER)
def of_no_rows(path):
    change(path, lambda t: t.iloc[:0])


@kind("no finite value", refused="holds no value")
def all_nan(path):
    change_columns(path, lambda pairs: [(n, np.full(len(v), np.nan, np.float32)) for n, v in pairs])


@kind("no finite value", refused="infinite", of=EITHER)
def all_infinite(path):
    change(path, lambda t: t * np.float32(0) + np.float32("inf"))


@kind("no finite value", refused="not numbers")
def all_words(path):
    change(path, lambda t: t.astype(str).replace(".*", "much", regex=True))


@kind(same=True, refused="not numbers", of=EITHER)
def numbers_as_text(path):
    change(path, lambda t: t.astype(str))


@kind(same=True, of=EITHER)
def doubles(path):
    change(path, lambda t: t.astype(np.float64))


@kind(of=EITHER)
def whole_numbers(path):
    change(path, lambda t: t.round().fillna(0).astype(np.int32))


@kind(same=True, of=EITHER)
def columns_in_reverse(path):
    change(path, lambda t: t[t.columns[::-1]])


@kind(same=True, of=EITHER)
def with_another_column(path):
    change(path, lambda t: t.assign(note="recorded at night"))


@kind(same=True, refused="missing column", of=EITHER)
def names_in_other_case(path):
    change(path, lambda t: t.rename(columns=lambda name: f" {name.swapcase()}"))


@kind(repaired="without", refused="not numbers", of=EITHER)
def a_column_of_words(path):
    change(path, lambda t: t.assign(**{t.columns[5]: "much"}))


@kind(repaired="without", refused="missing column", of=EITHER)
def a_column_missing(path):
    change(path, lambda t: t.drop(columns=t.columns[5]))


@kind(repaired="the first of two columns", same=True, refused="occurs twice", of=EITHER)
def a_column_twice(path):
    change_columns(path, lambda pairs: [*pairs, (pairs[5][0], pa.nulls(len(pairs[5][1])))])


@kind(repaired="without", refused=UNREADABLE, of=EITHER)
def a_damaged_page(path):
    chunk = pq.read_metadata(path).row_group(0).column(5)
    at = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[at : at + 1000] = bytes(255 - byte for byte in content[at : at + 1000])
    path.write_bytes(content)


@kind(same=True)
def in_many_row_groups(path):
    change(path, lambda t: t, row_group_size=700)


# -- EEGs ------------------------------------------------------------------------------


@kind(repaired="rows instead of 10000")
def longer(path):
    change(path, lambda t: pd.concat([t, t.iloc[:2000]]))


@kind(repaired="6000 rows instead of 10000", refused="but a window of train.csv ends at row")
def shorter(path):
    change(path, lambda t: t.iloc[:6000])


@kind("1999 rows instead of 10000", refused="but a window of train.csv ends at row")
def shorter_than_its_label(path):
    change(path, lambda t: t.iloc[:1999])


@kind()
def nine_nan_channels(path):
    change(path, lambda t: t.assign(**dict.fromkeys(ELECTRODES[:9], np.float32("nan"))))


@kind("9 of 19 channels have a signal")
def ten_nan_channels(path):
    change(path, lambda t: t.assign(**dict.fromkeys(ELECTRODES[:10], np.float32("nan"))))


@kind()
def gaps(path):
    fill_rows(path, slice(1000, 4000), np.nan)


@kind()
def a_constant_channel(path):
    change(path, lambda t: t.assign(Cz=np.float32(7)))


@kind("0 of 19 channels have a signal")
def constant(path):
    change(path, lambda t: t * np.float32(0) + np.float32(7))


@kind(refused="infinite")
def some_infinities(path):
    fill_rows(path, slice(0, None, 500), -np.inf)


@kind(repaired="1 samples beyond 1 V left out", refused="column Cz reaches 3e+38 microvolts")
def a_giant(path):
    change(path, lambda t: t.assign(Cz=t["Cz"].where(t.index != 5000, 3e38).astype(np.float32)))


@kind(repaired="taken for volts", same=True, refused="microvolts")
def in_volts(path):
    change(path, lambda t: t * np.float32(1e-6))


@kind(repaired="taken for millionths", same=True, refused="microvolts")
def a_million_times_too_large(path):
    change(path, lambda t: t * np.float32(1e6))


@kind(same=True)
def without_ekg(path):
    change(path, lambda t: t.drop(columns="EKG"))


# -- spectrograms ----------------------------------------------------------------------


@kind(repaired="rows instead of 300", of=SPECTROGRAM)
def longer_by_50_rows(path):
    change(path, lambda t: pd.concat([t, t.iloc[:50]]))


@kind(
    repaired="100 rows instead of 300", refused="a window of train.csv ends at row", of=SPECTROGRAM
)
def of_100_rows(path):
    change(path, lambda t: t.iloc[:100])


@kind("no finite value", of=SPECTROGRAM)  # a gap in training, as some real rows are
def all_null(path):
    change(path, lambda t: t * np.float32("nan"))


@kind(of=SPECTROGRAM)
def gaps_in_time(path):
    fill_rows(path, slice(0, None, 3), np.nan)


@kind(refused="infinite", of=SPECTROGRAM)
def infinite_rows(path):
    fill_rows(path, slice(0, None, 50), np.inf)


@kind(of=SPECTROGRAM)
def all_zero(path):
    change(path, lambda t: t * np.float32(0))


@kind(same=True, of=SPECTROGRAM)
def without_time(path):
    change(path, lambda t: t.drop(columns="time"))


# -- test.csv --------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """The submission for a spoiled table: its ids in order, and those that get the prior."""

    ids: list
    lost: set


TABLES: list[Callable[[Path], Expected]] = []


def table(spoil):
    """Add a function to the catalogue of test tables."""
    TABLES.append(spoil)
    return spoil


def read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "test.csv")


def write(folder: Path, table: pd.DataFrame, **options) -> None:
    table.to_csv(folder / "test.csv", index=False, **options)


def as_it_was(folder: Path) -> Expected:
    return Expected(read(folder)["eeg_id"].tolist(), set())


def with_first_id(folder: Path, name: object, *, renamed: bool = True) -> Expected:
    """Give the first EEG another id, its file too; return ids as text, as they are then read."""
    ids = read(folder).astype({"eeg_id": object})
    old = ids.loc[0, "eeg_id"]
    if renamed:
        (folder / "test_eegs" / f"{old}.parquet").rename(folder / "test_eegs" / f"{name}.parquet")
    ids.loc[0, "eeg_id"] = name
    write(folder, ids)
    return Expected([str(i) for i in ids["eeg_id"]], set() if renamed else {str(name)})


def spelled(folder: Path, spell: Callable[[int], str]) -> Expected:
    """Write all ids in another way; the files keep their names."""
    ids = read(folder)
    ids["eeg_id"] = [spell(eeg_id) for eeg_id in ids["eeg_id"]]
    write(folder, ids)
    return Expected(ids["eeg_id"].tolist(), set())


@table
def unsorted(folder):
    write(folder, read(folder)[::-1])
    return as_it_was(folder)


@table
def ids_twice(folder):
    expected = as_it_was(folder)
    write(folder, pd.concat([read(folder)] * 2))
    return expected


@table
def more_columns(folder):
    write(folder, read(folder).assign(age=71.5, note='said "well", then left'))
    return as_it_was(folder)


@table
def only_ids(folder):
    write(folder, read(folder)[["eeg_id"]])
    return as_it_was(folder)


@table
def no_rows(folder):
    write(folder, read(folder).head(0))
    return Expected([], set())


@table
def id_beyond_doubles(folder):
    # beside a column of floats, which must not make the ids float
    expected = with_first_id(folder, 2**53 + 1)
    write(folder, read(folder).assign(age=71.5))
    return Expected([int(i) for i in expected.ids], set())


@table
def id_beyond_64_bits(folder):
    return with_first_id(folder, 2**64 + 1)


@table
def id_of_words(folder):
    return with_first_id(folder, "patient 7, night")


@table
def id_missing(folder):
    return with_first_id(folder, "", renamed=False)


@table
def id_not_a_number(folder):
    return with_first_id(folder, "NaN", renamed=False)


@table
def id_that_leads_out(folder):
    return with_first_id(folder, "../test_spectrograms/elsewhere", renamed=False)


@table
def ids_as_floats(folder):
    return spelled(folder, lambda i: f"{i}.0")


@table
def ids_with_exponents(folder):
    return spelled(folder, lambda i: f"{i / 10**9:.9f}e9")


@table
def ids_with_zeros_before(folder):
    return spelled(folder, lambda i: f"{i:012d}")


@table
def ids_quoted(folder):
    write(folder, read(folder).astype(str), quoting=csv.QUOTE_ALL)
    return as_it_was(folder)


@table
def with_a_byte_order_mark(folder):
    write(folder, read(folder)[["eeg_id", "spectrogram_id"]], encoding="utf-8-sig")
    return as_it_was(folder)


@table
def in_latin1(folder):
    expected = as_it_was(folder)
    write(folder, read(folder).assign(name="Jörg"), encoding="latin-1")
    return expected


@table
def lines_ended_as_in_windows(folder):
    write(folder, read(folder), lineterminator="\r\n")
    return as_it_was(folder)


@table
def blank_lines(folder):
    expected = as_it_was(folder)
    path = folder / "test.csv"
    path.write_text(path.read_text().replace("\n", "\n\n") + "\n ,,\n\n")
    return expected


@table
def commas_at_the_ends(folder):
    expected = as_it_was(folder)
    path = folder / "test.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{line},,1" for line in lines)]))
    return expected


@table
def short_lines(folder):
    ids = read(folder)["eeg_id"].tolist()
    (folder / "test.csv").write_text(
        "\n".join(["eeg_id,patient_id,spectrogram_id", *map(str, ids)])
    )
    return Expected(ids, set())


@table
def columns_in_capitals(folder):
    expected = as_it_was(folder)
    write(folder, read(folder).rename(columns=lambda name: f" {name.upper()}"))
    return expected


@table
def the_ids_column_twice(folder):
    expected = as_it_was(folder)
    ids = read(folder)
    write(folder, pd.concat([ids, ids[["eeg_id"]] + 1], axis=1))
    return expected


@table
def no_ids_but_in_the_sample(folder):
    expected = as_it_was(folder)
    sample = read(folder)[["eeg_id"]].assign(**dict.fromkeys(VOTE_COLUMNS, 1 / 6))
    sample.to_csv(folder / "sample_submission.csv", index=False)
    (folder / "test.csv").write_bytes(np.random.default_rng(0).bytes(1000))
    return expected


@table
def no_folder_of_eegs(folder):
    shutil.rmtree(folder / "test_eegs")
    ids = read(folder)["eeg_id"].tolist()
    return Expected(ids, set(ids))


# -- test folders ----------------------------------------------------------------------


def hidden_set(competition: Competition, folder: Path, rows: int = 2) -> Path:
    """Copy the first rows of a competition's test set and their files."""
    ids = competition.test.head(rows)
    for recording, locate in (("eeg", competition.eeg_path), ("spectrogram", None)):
        locate = locate or competition.spectrogram_path
        (folder / f"test_{recording}s").mkdir(parents=True)
        for i in ids[f"{recording}_id"]:
            shutil.copy(locate("test", i), folder / f"test_{recording}s")
    ids.to_csv(folder / "test.csv", index=False)
    return folder


def one_of_each(competition: Competition, folder: Path, kinds: list[FileKind]) -> Path:
    """Lay out a test folder with a copy of the first recording for each kind, numbered from 0."""
    source = competition.test.iloc[0]
    for recording in EITHER:
        (folder / f"test_{recording}s").mkdir(parents=True)
    for i, kind in enumerate(kinds):
        for recording in EITHER:
            path = folder / f"test_{recording}s" / f"{i}.parquet"
            original = competition.path / f"test_{recording}s"
            shutil.copy(original / f"{source[f'{recording}_id']}.parquet", path)
            if recording == kind.recording:
                kind.spoil(path)
    ids = {f"{name}_id": range(len(kinds)) for name in (*EITHER, "patient")}
    pd.DataFrame(ids).to_csv(folder / "test.csv", index=False)
    return folder
