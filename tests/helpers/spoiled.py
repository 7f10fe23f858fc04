"""A catalogue of what can be wrong with a competition folder, and what is expected of each kind.

A kind of file spoils one recording in its place; a kind of table spoils ``test.csv``; a kind of
training table spoils ``train.csv``. Inference never loses a row: it predicts what it can, and the
reason why something fell back to the prior is part of the expectation. Training refuses, in one
line.
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
import pyarrow.feather
import pyarrow.parquet as pq

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
        Part of the reason why it falls back to the prior; empty: it is predicted.
    mended : str
        Part of what is noted when it is predicted; empty: nothing is.
    same : bool
        Whether the prediction is that of the unspoiled file.
    refused : str
        Part of the line with which training refuses it; empty: it is as good as any.
    """

    recording: str
    spoil: Callable[[Path], object]
    lost: str
    mended: str
    same: bool
    refused: str

    @property
    def name(self) -> str:
        return f"{self.recording} {self.spoil.__name__.replace('_', ' ')}"


FILES: list[FileKind] = []


def of_eeg(lost="", *, mended="", same=False, refused="", both=False):
    def add(spoil):
        for recording in ("eeg", "spectrogram") if both else ("eeg",):
            FILES.append(FileKind(recording, spoil, lost, mended, same, refused))
        return spoil

    return add


def of_spectrogram(lost="", *, mended="", same=False, refused=""):
    def add(spoil):
        FILES.append(FileKind("spectrogram", spoil, lost, mended, same, refused))
        return spoil

    return add


def change(path: Path, made: Callable[[pd.DataFrame], pd.DataFrame], **options) -> None:
    made(pd.read_parquet(path)).to_parquet(path, **options)


def change_columns(path: Path, made: Callable[[list], list]) -> None:
    """Write a table anew whose columns, pairs of name and values, were changed."""
    table = pq.read_table(path)
    pairs = made(list(zip(table.column_names, table.columns, strict=True)))
    names, columns = zip(*pairs, strict=True)
    pq.write_table(pa.table(list(columns), list(names)), path)


def fill_rows(path: Path, rows: slice, value: float) -> None:
    """Put a value into whole rows."""

    def filled(table):
        table = table.astype(np.float32)
        table.iloc[rows] = np.float32(value)
        return table

    change(path, filled)


def flip(path: Path, at: int) -> None:
    """Turn a kilobyte of a file into something else."""
    content = bytearray(path.read_bytes())
    content[at : at + 1000] = bytes(255 - byte for byte in content[at : at + 1000])
    path.write_bytes(content)


def at_page(path: Path, column: int) -> int:
    """Tell where the header of a column's first page begins."""
    chunk = pq.read_metadata(path).row_group(0).column(column)
    return chunk.dictionary_page_offset or chunk.data_page_offset


# -- files of either recording ---------------------------------------------------------

UNREADABLE = "not a readable parquet file"
NO_PARQUET = "not a parquet file"


@of_eeg("no such file", refused="no such file", both=True)
def missing(path):
    path.unlink()


@of_eeg(UNREADABLE, refused=NO_PARQUET, both=True)
def of_no_bytes(path):
    path.write_bytes(b"")


@of_eeg(UNREADABLE, refused=NO_PARQUET, both=True)
def truncated(path):
    os.truncate(path, path.stat().st_size // 2)


@of_eeg(UNREADABLE, refused=NO_PARQUET, both=True)
def without_its_last_byte(path):
    os.truncate(path, path.stat().st_size - 1)


@of_eeg(UNREADABLE, refused=UNREADABLE)
def without_its_first_bytes(path):
    path.write_bytes(path.read_bytes()[1000:])


@of_eeg(UNREADABLE, refused=NO_PARQUET)
def of_noise(path):
    path.write_bytes(np.random.default_rng(0).bytes(100_000))


@of_eeg(UNREADABLE, refused=NO_PARQUET)
def in_csv(path):
    pd.read_parquet(path).head(100).to_csv(path)


@of_eeg(UNREADABLE, refused=NO_PARQUET)
def in_feather(path):
    pa.feather.write_feather(pq.read_table(path), path)


@of_eeg("no such file", refused="no such file", both=True)
def a_folder(path):
    path.unlink()
    path.mkdir()


@of_eeg("no such file", refused="no such file")
def a_dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere")


@of_eeg("no such file", refused="no such file")
def a_link_to_itself(path):
    path.unlink()
    path.symlink_to(path.name)


@of_eeg("no such file", refused="no such file")
def a_named_pipe(path):
    path.unlink()
    os.mkfifo(path)


@of_eeg("0 rows instead of", refused="0 rows, but a window", both=True)
def of_no_rows(path):
    change(path, lambda t: t.iloc[:0])


@of_eeg("1 rows instead of", refused="1 rows, but a window", both=True)
def of_one_row(path):
    change(path, lambda t: t.iloc[:1])


@of_eeg("no finite value", refused="holds no value")
def all_nan(path):
    change_columns(
        path,
        lambda pairs: [(n, np.full(len(v), np.nan, np.float32)) for n, v in pairs],
    )


@of_spectrogram("no finite value")  # a gap in training, as some real rows are
@of_eeg("no finite value", refused="holds no value")
def all_null(path):
    change(path, lambda t: t * np.float32("nan"))


@of_eeg("no finite value", refused="infinite", both=True)
def all_infinite(path):
    change(path, lambda t: t * np.float32(0) + np.float32("inf"))


@of_eeg("no finite value", refused="not numbers", both=True)
def all_words(path):
    change(path, lambda t: t.astype(str).replace(".*", "much", regex=True))


@of_eeg(same=True, refused="not numbers", both=True)
def numbers_as_text(path):
    change(path, lambda t: t.astype(str))


@of_eeg(same=True, both=True)
def doubles(path):
    change(path, lambda t: t.astype(np.float64))


@of_eeg()
def halves(path):
    change_columns(path, lambda pairs: [(n, np.asarray(v).astype(np.float16)) for n, v in pairs])


@of_eeg(both=True)
def whole_numbers(path):
    change(path, lambda t: t.round().fillna(0).astype(np.int32))


@of_eeg(same=True, both=True)
def columns_in_reverse(path):
    change(path, lambda t: t[t.columns[::-1]])


@of_eeg(same=True, both=True)
def with_another_column(path):
    change(path, lambda t: t.assign(note="recorded at night"))


@of_eeg(same=True, both=True)
def with_an_index(path):
    change(path, lambda t: t.set_index(pd.Index(range(100, 100 + len(t)), name="sample")))


@of_eeg(same=True, refused="missing column", both=True)
def names_in_other_case(path):
    change(path, lambda t: t.rename(columns=str.swapcase))


@of_eeg(same=True, refused="missing column")
def names_with_spaces(path):
    change(path, lambda t: t.rename(columns=lambda name: f" {name} "))


@of_eeg(mended="without", refused="not numbers", both=True)
def a_column_of_words(path):
    change(path, lambda t: t.assign(**{t.columns[5]: "much"}))


@of_eeg(mended="without", refused="not numbers", both=True)
def a_column_of_lists(path):
    change(path, lambda t: t.assign(**{t.columns[5]: [[1.0, 2.0]] * len(t)}))


@of_eeg(mended="without", refused="not numbers")
def a_column_of_times(path):
    change(path, lambda t: t.assign(**{t.columns[5]: pd.Timestamp("2024-02-29")}))


@of_eeg(mended="without", refused="missing column", both=True)
def a_column_missing(path):
    change(path, lambda t: t.drop(columns=t.columns[5]))


@of_eeg(mended="the first of two columns", same=True, refused="occurs twice", both=True)
def a_column_twice(path):
    change_columns(path, lambda pairs: [*pairs, (pairs[5][0], pa.nulls(len(pairs[5][1])))])


@of_eeg(mended="without", refused=UNREADABLE, both=True)
def a_damaged_page(path):
    flip(path, at_page(path, 5))


@of_eeg(UNREADABLE, refused=UNREADABLE)
def all_pages_damaged(path):
    for column in range(20):
        flip(path, at_page(path, column))


@of_eeg(same=True)
def in_zstd(path):
    change(path, lambda t: t, compression="zstd")


@of_eeg(same=True)
def in_gzip(path):
    change(path, lambda t: t, compression="gzip")


@of_eeg(same=True, both=True)
def not_compressed(path):
    change(path, lambda t: t, compression=None)


@of_eeg(same=True)
def in_many_row_groups(path):
    change(path, lambda t: t, row_group_size=700)


@of_eeg(same=True)
def without_statistics(path):
    change(path, lambda t: t, write_statistics=False)


# -- EEGs ------------------------------------------------------------------------------


@of_eeg(mended="rows instead of 10000")
def longer(path):
    change(path, lambda t: pd.concat([t, t.iloc[:2000]]))


@of_eeg(mended="9999 rows instead of 10000", refused="but a window of train.csv ends at row")
def a_sample_short(path):
    change(path, lambda t: t.iloc[:9999])


@of_eeg(mended="6000 rows instead of 10000", refused="but a window of train.csv ends at row")
def shorter(path):
    change(path, lambda t: t.iloc[:6000])


@of_eeg("1999 rows instead of 10000", refused="but a window of train.csv ends at row")
def shorter_than_its_label(path):
    change(path, lambda t: t.iloc[:1999])


@of_eeg("rows instead of 10000")
def endless(path):
    change(path, lambda t: t.iloc[np.zeros(1_000_001, int)])


@of_eeg()
def a_nan_channel(path):
    change(path, lambda t: t.assign(Cz=np.float32("nan")))


@of_eeg()
def nine_nan_channels(path):
    change(path, lambda t: t.assign(**dict.fromkeys(ELECTRODES[:9], np.float32("nan"))))


@of_eeg("9 of 19 channels have a signal")
def ten_nan_channels(path):
    change(path, lambda t: t.assign(**dict.fromkeys(ELECTRODES[:10], np.float32("nan"))))


@of_eeg()
def gaps(path):
    fill_rows(path, slice(1000, 4000), np.nan)


@of_eeg()
def a_constant_channel(path):
    change(path, lambda t: t.assign(Cz=np.float32(7)))


@of_eeg("0 of 19 channels have a signal")
def constant(path):
    change(path, lambda t: t * np.float32(0) + np.float32(7))


@of_eeg("0 of 19 channels have a signal")
def minus_zero(path):
    change(path, lambda t: t.abs() * np.float32(-0.0))


@of_eeg("0 of 19 channels have a signal", refused="microvolts")
def denormal(path):
    change(path, lambda t: t * np.float32(1e-42))


@of_eeg(refused="infinite")
def some_infinities(path):
    fill_rows(path, slice(0, None, 500), -np.inf)


@of_eeg(mended="1 samples beyond 1 V left out", refused="column Cz reaches 3e+38 microvolts")
def a_giant(path):
    change(path, lambda t: t.assign(Cz=t["Cz"].where(t.index != 5000, 3e38).astype(np.float32)))


@of_eeg(mended="samples beyond 1 V left out", refused="microvolts")
def some_giants(path):
    fill_rows(path, slice(5000, 5001), 3e38)


@of_eeg("no finite value", refused="infinite")
def doubles_too_large(path):
    change(path, lambda t: t.astype(np.float64).fillna(0) * 0 + 1e300)


@of_eeg(mended="taken for volts", same=True, refused="microvolts")
def in_volts(path):
    change(path, lambda t: t * np.float32(1e-6))


@of_spectrogram()
@of_eeg(mended="taken for millionths", same=True, refused="microvolts")
def a_million_times_too_large(path):
    change(path, lambda t: t * np.float32(1e6))


@of_eeg(same=True)
def without_ekg(path):
    change(path, lambda t: t.drop(columns="EKG"))


@of_eeg(same=True)
def with_time(path):
    change(path, lambda t: t.assign(time=np.arange(len(t)) / 200))


# -- spectrograms ----------------------------------------------------------------------


@of_spectrogram(mended="rows instead of 300")
def longer_by_50_rows(path):
    change(path, lambda t: pd.concat([t, t.iloc[:50]]))


@of_spectrogram(mended="299 rows instead of 300", refused="but a window of train.csv ends at row")
def a_row_short(path):
    change(path, lambda t: t.iloc[:299])


@of_spectrogram(mended="100 rows instead of 300", refused="but a window of train.csv ends at row")
def of_100_rows(path):
    change(path, lambda t: t.iloc[:100])


@of_spectrogram()
def gaps_in_time(path):
    fill_rows(path, slice(0, None, 3), np.nan)


@of_spectrogram(refused="infinite")
def infinite_rows(path):
    fill_rows(path, slice(0, None, 50), np.inf)


@of_spectrogram()
def all_zero(path):
    change(path, lambda t: t * np.float32(0))


@of_spectrogram()
def negative(path):
    change(path, lambda t: -t)


@of_spectrogram(same=True)
def without_time(path):
    change(path, lambda t: t.drop(columns="time"))


@of_spectrogram(same=True)
def time_as_float(path):
    change(path, lambda t: t.assign(time=t["time"] / 1))


@of_spectrogram(same=True)
def time_as_int16(path):
    change(path, lambda t: t.assign(time=t["time"].astype(np.int16)))


@of_spectrogram(same=True)
def time_as_text(path):
    change(path, lambda t: t.assign(time=t["time"].astype(str)))


# -- test.csv --------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """What a submission for a spoiled table has to be.

    Attributes
    ----------
    ids : list
        In its order.
    lost : set
        Those of them that get the prior.
    """

    ids: list
    lost: set


TABLES: list[Callable[[Path], Expected]] = []


def of_table(spoil):
    TABLES.append(spoil)
    return spoil


def read(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "test.csv")


def write(folder: Path, table: pd.DataFrame, **options) -> None:
    table.to_csv(folder / "test.csv", index=False, **options)


def as_it_was(folder: Path) -> Expected:
    return Expected(read(folder)["eeg_id"].tolist(), set())


def rename(folder: Path, name: object) -> Expected:
    """Call the first EEG otherwise, its file too."""
    table = read(folder).astype({"eeg_id": object})
    old = table.loc[0, "eeg_id"]
    (folder / "test_eegs" / f"{old}.parquet").rename(folder / "test_eegs" / f"{name}.parquet")
    table.loc[0, "eeg_id"] = name
    write(folder, table)
    return Expected(table["eeg_id"].tolist(), set())


def rewrite(folder: Path, spell: Callable[[int], str]) -> Expected:
    """Spell all ids otherwise, the files keep their names."""
    table = read(folder)
    table["eeg_id"] = [spell(eeg_id) for eeg_id in table["eeg_id"]]
    write(folder, table)
    return Expected(table["eeg_id"].tolist(), set())


@of_table
def unsorted(folder):
    write(folder, read(folder)[::-1])
    return as_it_was(folder)


@of_table
def ids_twice(folder):
    expected = as_it_was(folder)
    write(folder, pd.concat([read(folder)] * 2))
    return expected


@of_table
def more_columns(folder):
    write(folder, read(folder).assign(age=71.5, note='said "well", then left'))
    return as_it_was(folder)


@of_table
def only_ids(folder):
    write(folder, read(folder)[["eeg_id"]])
    return as_it_was(folder)


@of_table
def one_row(folder):
    write(folder, read(folder).head(1))
    return as_it_was(folder)


@of_table
def no_rows(folder):
    write(folder, read(folder).head(0))
    return Expected([], set())


@of_table
def id_zero(folder):
    return rename(folder, 0)


@of_table
def id_negative(folder):
    return rename(folder, -17)


@of_table
def id_beyond_32_bits(folder):
    return rename(folder, 2**31 + 5)


@of_table
def id_beyond_doubles(folder):
    # beside a column of floats, which must not make the ids float
    expected = rename(folder, 2**53 + 1)
    write(folder, read(folder).assign(age=71.5))
    return expected


@of_table
def id_beyond_64_bits(folder):
    expected = rename(folder, 2**64 + 1)
    return Expected([str(i) for i in expected.ids], set())


@of_table
def id_of_words(folder):
    expected = rename(folder, "patient 7, night")
    return Expected([str(i) for i in expected.ids], set())


@of_table
def id_missing(folder):
    table = read(folder).astype({"eeg_id": object})
    table.loc[0, "eeg_id"] = None
    write(folder, table)
    return Expected(["", *map(str, table["eeg_id"][1:])], {""})


@of_table
def id_not_a_number(folder):
    table = read(folder).astype({"eeg_id": object})
    table.loc[0, "eeg_id"] = "NaN"
    write(folder, table)
    return Expected(table["eeg_id"].astype(str).tolist(), {"NaN"})


@of_table
def id_that_leads_out(folder):
    name = "../test_spectrograms/elsewhere"
    expected = rename(folder, name)
    return Expected([str(i) for i in expected.ids], {name})


@of_table
def id_too_long_for_a_name(folder):
    table = read(folder).astype({"eeg_id": object})
    table.loc[0, "eeg_id"] = "9" * 300
    write(folder, table)
    return Expected([str(i) for i in table["eeg_id"]], {"9" * 300})


@of_table
def ids_as_floats(folder):
    return rewrite(folder, lambda i: f"{i}.0")


@of_table
def ids_with_exponents(folder):
    return rewrite(folder, lambda i: f"{i / 10**9:.9f}e9")


@of_table
def ids_with_zeros_before(folder):
    return rewrite(folder, lambda i: f"{i:012d}")


@of_table
def ids_with_spaces(folder):
    return rewrite(folder, lambda i: f" {i}")


@of_table
def ids_quoted(folder):
    write(folder, read(folder).astype(str), quoting=csv.QUOTE_ALL)
    return as_it_was(folder)


@of_table
def with_a_byte_order_mark(folder):
    write(folder, read(folder)[["eeg_id", "spectrogram_id"]], encoding="utf-8-sig")
    return as_it_was(folder)


@of_table
def in_utf16(folder):
    expected = as_it_was(folder)
    write(folder, read(folder), encoding="utf-16")
    return expected


@of_table
def in_latin1(folder):
    expected = as_it_was(folder)
    write(folder, read(folder).assign(name="Jörg"), encoding="latin-1")
    return expected


@of_table
def lines_ended_as_in_windows(folder):
    write(folder, read(folder), lineterminator="\r\n")
    return as_it_was(folder)


@of_table
def lines_ended_as_in_the_nineties(folder):
    expected = as_it_was(folder)
    write(folder, read(folder), lineterminator="\r")
    return expected


@of_table
def no_end_of_the_last_line(folder):
    path = folder / "test.csv"
    path.write_text(path.read_text().rstrip())
    return as_it_was(folder)


@of_table
def blank_lines(folder):
    path = folder / "test.csv"
    path.write_text(path.read_text().replace("\n", "\n\n") + "\n ,,\n\n")
    return Expected(pd.read_csv(path)["eeg_id"].dropna().astype(int).tolist(), set())


@of_table
def commas_at_the_ends(folder):
    expected = as_it_was(folder)
    path = folder / "test.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{line},,1" for line in lines)]))
    return expected


@of_table
def a_short_line(folder):
    table = read(folder)[["eeg_id", "patient_id", "spectrogram_id"]]
    write(folder, table)
    path = folder / "test.csv"
    path.write_text("\n".join([",".join(table), *map(str, table["eeg_id"])]))
    return Expected(table["eeg_id"].tolist(), set())


@of_table
def columns_in_capitals(folder):
    expected = as_it_was(folder)
    write(folder, read(folder).rename(columns=lambda name: f" {name.upper()}"))
    return expected


@of_table
def the_ids_column_twice(folder):
    expected = as_it_was(folder)
    table = read(folder)
    write(folder, pd.concat([table, table[["eeg_id"]] + 1], axis=1))
    return expected


@of_table
def no_ids_but_in_the_sample(folder):
    expected = as_it_was(folder)
    sample = read(folder)[["eeg_id"]].assign(**dict.fromkeys(VOTE_COLUMNS, 1 / 6))
    sample.to_csv(folder / "sample_submission.csv", index=False)
    (folder / "test.csv").write_bytes(np.random.default_rng(0).bytes(1000))
    return expected


@of_table
def no_folder_of_eegs(folder):
    shutil.rmtree(folder / "test_eegs")
    ids = read(folder)["eeg_id"].tolist()
    return Expected(ids, set(ids))


@of_table
def a_file_for_the_folder_of_eegs(folder):
    shutil.rmtree(folder / "test_eegs")
    (folder / "test_eegs").write_text("moved")
    ids = read(folder)["eeg_id"].tolist()
    return Expected(ids, set(ids))


# -- what is wrong for views of spectrograms --

WITHOUT_SPECTROGRAMS: list[Callable[[Path], None]] = []


def of_spectrograms(spoil):
    WITHOUT_SPECTROGRAMS.append(spoil)
    return spoil


@of_spectrograms
def no_folder_of_spectrograms(folder):
    shutil.rmtree(folder / "test_spectrograms")


@of_spectrograms
def no_column_of_spectrograms(folder):
    write(folder, read(folder).drop(columns="spectrogram_id"))


@of_spectrograms
def an_empty_folder_of_spectrograms(folder):
    for path in (folder / "test_spectrograms").iterdir():
        path.unlink()


@of_spectrograms
def an_empty_column_of_spectrograms(folder):
    write(folder, read(folder).assign(spectrogram_id=""))


# -- train.csv -------------------------------------------------------------------------

TRAINING_TABLES: list[tuple[Callable[[Path], object], str]] = []


def of_training_table(refused: str):
    def add(spoil):
        TRAINING_TABLES.append((spoil, refused))
        return spoil

    return add


def change_train(folder: Path, made: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = folder / "train.csv"
    made(pd.read_csv(path)).to_csv(path, index=False)


@of_training_table("no competition folder")
def no_table(folder):
    (folder / "train.csv").unlink()


@of_training_table("not a readable csv file")
def a_table_of_no_bytes(folder):
    (folder / "train.csv").write_bytes(b"")


@of_training_table("train.csv: ")
def a_table_of_noise(folder):
    (folder / "train.csv").write_bytes(np.random.default_rng(0).bytes(1000))


@of_training_table("train.csv: no rows")
def a_table_of_no_rows(folder):
    change_train(folder, lambda t: t.iloc[:0])


@of_training_table("missing column patient_id")
def no_patients(folder):
    change_train(folder, lambda t: t.drop(columns="patient_id"))


@of_training_table("missing column eeg_id")
def capitals(folder):
    change_train(folder, lambda t: t.rename(columns=str.upper))


@of_training_table("column eeg_id occurs twice")
def the_ids_twice(folder):
    change_train(folder, lambda t: pd.concat([t, t[["eeg_id"]]], axis=1))


@of_training_table("line 3: label_id")
def a_row_twice(folder):
    change_train(folder, lambda t: pd.concat([t.iloc[[0]], t]))


@of_training_table("line 2: eeg_id nan is not a number")
def an_id_missing(folder):
    change_train(folder, lambda t: t.assign(eeg_id=t["eeg_id"].where(t.index > 0)))


@of_training_table("line 2: eeg_id EEG")
def ids_of_words(folder):
    change_train(folder, lambda t: t.assign(eeg_id="EEG " + t["eeg_id"].astype(str)))


@of_training_table("line 2: spectrogram_id 0.5 is no whole number")
def a_fraction_for_an_id(folder):
    change_train(folder, lambda t: t.assign(spectrogram_id=0.5))


@of_training_table("line 2: eeg_id -.* is no whole number from 0 up")
def negative_ids(folder):
    change_train(folder, lambda t: t.assign(eeg_id=-t["eeg_id"]))


@of_training_table("line 2: eeg_id 18446744073709551616 is too large")
def ids_beyond_64_bits(folder):
    change_train(folder, lambda t: t.assign(eeg_id="18446744073709551616"))


@of_training_table("no such file")
def an_id_without_a_file(folder):
    change_train(folder, lambda t: t.assign(eeg_id=t["eeg_id"] + 1))


@of_training_table("lpd_vote -1.*is negative")
def negative_votes(folder):
    change_train(folder, lambda t: t.assign(lpd_vote=-1))


@of_training_table("lpd_vote inf is no whole number")
def infinite_votes(folder):
    change_train(folder, lambda t: t.assign(lpd_vote=np.inf))


@of_training_table("lpd_vote many is not a number")
def votes_of_words(folder):
    change_train(folder, lambda t: t.assign(lpd_vote="many"))


@of_training_table("has zero votes")
def no_votes(folder):
    change_train(folder, lambda t: t.assign(**dict.fromkeys(VOTE_COLUMNS, 0)))


@of_training_table("expert_consensus spindle is none of")
def another_class(folder):
    change_train(folder, lambda t: t.assign(expert_consensus="spindle"))


@of_training_table("ends at row")
def a_window_beyond_its_file(folder):
    change_train(folder, lambda t: t.assign(eeg_label_offset_seconds=10_000))


@of_training_table("eeg_label_offset_seconds 1e[+]30 is not a whole number of seconds")
def a_window_beyond_time(folder):
    change_train(folder, lambda t: t.assign(eeg_label_offset_seconds=1e30))


@of_training_table("line 3: patient_id .* is another one")
def an_eeg_of_two_patients(folder):
    def changed(table):
        again = table.iloc[[0]].assign(patient_id=1, label_id=1)
        return pd.concat([table.iloc[[0]], again, table.iloc[1:]])

    change_train(folder, changed)
