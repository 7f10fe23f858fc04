"""The table of test recordings, read so that no id is lost.

It is the one file without which there is no submission, so it is read forgivingly: with a byte
order mark, any line ends, short and long lines, columns in any order and case. What stands in
``eeg_id`` is kept as it stands, for a submission has to name it in the same way.
"""

import codecs
import csv
import io
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pandas as pd

from hbac_utils.errors import InputError

ID = "eeg_id"
INT64 = range(-(2**63), 2**63)
LONGEST_NUMBER = 40  # digits; 1e999999999 is a number too, and would fill the memory
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_test_table(folder: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read ``test.csv``, or the ids of ``sample_submission.csv`` if it has none.

    Parameters
    ----------
    folder : Path
        The competition's.
    columns : tuple of str
        Names that are recognised in any case.

    Returns
    -------
    DataFrame
        With ``eeg_id``. A column of ids is int64 if all are whole numbers as one writes them, and
        text as it stands otherwise: 1.0e9 stays ``"1.0e9"``, an empty cell ``""``.

    Raises
    ------
    InputError
        If neither file has a column ``eeg_id``.
    """
    failure: InputError | None = None
    for name in ("test.csv", "sample_submission.csv"):
        try:
            return _read_with_ids(folder / name, columns)
        except InputError as error:
            failure = failure or error
    raise failure


def _read_with_ids(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    lines = _lines(path)
    header = [_known(name, columns) for name in lines[0]] if lines else []
    if ID not in header:
        raise InputError(f"{path}: missing column {ID}; it has {header}")
    # of a name that stands twice the first column counts; a short line is filled up
    places = {name: header.index(name) for name in dict.fromkeys(header)}
    rows = [[line[i] if i < len(line) else "" for i in places.values()] for line in lines[1:]]
    table = pd.DataFrame(rows, columns=list(places), dtype=object)
    return table.apply(lambda column: _numbers(column, column.name in columns))


def read_submitted_ids(path: Path) -> list[int | str]:
    """Read the ids of a submission as `read_test_table` reads those that it has to have.

    Raises
    ------
    InputError
        If the file cannot be read or has no ``eeg_id``.
    """
    return _read_with_ids(path, (ID,))[ID].tolist()


def whole_number(text: object) -> int | None:
    """Tell which whole number a text means, however it is written; None if it means none.

    Examples
    --------
    >>> whole_number("1.0e9"), whole_number(" 007"), whole_number("1.5"), whole_number("")
    (1000000000, 7, None, None)
    """
    try:
        number = Decimal(str(text).strip())
    except InvalidOperation:
        return None
    if not number.is_finite() or abs(number.adjusted()) > LONGEST_NUMBER:
        return None
    return int(number) if number == number.to_integral_value() else None


def _lines(path: Path) -> list[list[str]]:
    """Split a csv file into its lines' cells; lines in which nothing stands are left out."""
    try:
        text = _decoded(path.read_bytes())
        lines = list(csv.reader(io.StringIO(text, newline="")))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: not a readable csv file ({error})") from None
    return [line for line in lines if any(cell.strip() for cell in line)]


def _decoded(raw: bytes) -> str:
    encoding = "utf-16" if raw.startswith(UTF16) else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return raw.decode("latin-1")  # which has a letter for every byte


def _known(name: str, columns: tuple[str, ...]) -> str:
    folded = name.strip().casefold()
    return folded if folded in columns else name


def _numbers(column: pd.Series, is_id: bool) -> pd.Series:
    if is_id:
        as_written = all(_is_plain(text) for text in column)
        return column.astype("int64") if as_written and len(column) else column
    try:
        return pd.to_numeric(column)
    except (ValueError, TypeError):
        return column


def _is_plain(text: str) -> bool:
    number = whole_number(text)
    return number is not None and str(number) == text and number in INT64
