"""Headers of EDF, EDF+ and BDF files.

References: Kemp et al. (1992), doi:10.1016/0013-4694(92)90009-7 (EDF); Kemp and Olivan (2003),
doi:10.1016/S1388-2457(03)00123-8 (EDF+); https://www.biosemi.com/faq/file_format.htm (BDF).
"""

import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from hbac_utils.utils.errors import InputError

GENERAL = {
    "version": 8, "patient": 80, "recording": 80, "date": 8, "time": 8, "header bytes": 8,
    "reserved": 44, "number of data records": 8, "duration of a data record": 8,
    "number of signals": 4,
}  # fmt: skip
"""Fields of the first 256 bytes of a header, and their lengths in bytes."""
SIGNAL = {
    "label": 16, "transducer": 80, "unit": 8, "physical minimum": 8, "physical maximum": 8,
    "digital minimum": 8, "digital maximum": 8, "prefiltering": 80, "samples per record": 8,
    "reserved": 32,
}  # fmt: skip
"""Fields of a signal. A header has the first field of all signals, then the second of all, …"""

KINDS = {b"0       ": "EDF", b"\xffBIOSEMI": "BDF"}  # by the first field
LARGEST = 10**15  # of a number in a header
SAMPLE_BYTES = {"EDF": 2, "BDF": 3}


@dataclass(frozen=True)
class Header:
    """Header of an EDF or BDF file: each field's bytes without the padding."""

    path: Path
    general: dict[str, bytes] = field(repr=False)  # with the patient's identity
    signals: list[dict[str, bytes]] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """EDF or BDF."""
        return KINDS[self.general["version"].ljust(8)]

    def number(self, name: str, signal: int | None = None) -> Decimal:
        """Read a number, of the file or of a signal; raises InputError if it is none."""
        raw = self.general[name] if signal is None else self.signals[signal][name]
        text = decode(raw).strip(" \0")
        with suppress(InvalidOperation):
            value = Decimal(text.replace(",", "."))  # some recorders write decimal commas
            if value.is_finite() and abs(value) < LARGEST:
                return value
        of = "" if signal is None else f" of signal {signal + 1}"
        raise InputError(
            f"{self.path}: header field {name!r}{of} is {text!r}, not a number; "
            "the header is damaged, export the recording again"
        )

    @property
    def samples(self) -> list[int]:
        """Samples in a data record, signal by signal."""
        return [int(self.number("samples per record", i)) for i in range(len(self.signals))]

    @property
    def are_annotations(self) -> list[bool]:
        """Whether each signal holds annotations instead of samples."""
        label = f"{self.kind} Annotations"
        return [decode(signal["label"]).strip() == label for signal in self.signals]

    def to_bytes(self) -> bytes:
        """Encode the header as it stands in a file."""
        fields = [self.general[name].ljust(length) for name, length in GENERAL.items()]
        for name, length in SIGNAL.items():
            fields += [signal[name].ljust(length) for signal in self.signals]
        return b"".join(fields)


def decode(raw: bytes) -> str:
    """Decode a text that should be ASCII or UTF-8; some recorders write Latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def read_header(path: Path) -> Header:
    """Read the header of an EDF or BDF file; raises InputError if it is none or damaged."""
    cut = f"{path}: cut off within the header; copy or export the recording again"
    with path.open("rb") as file:
        if not (raw := file.read(256)):
            raise InputError(f"{path}: the file is empty; copy or export the recording again")
        if raw[:8] not in KINDS:
            raise InputError(
                f"{path}: not an EDF or BDF file, it begins with {raw[:8]!r}; "
                "export the recording as EDF"
            )
        if len(raw) < 256:
            raise InputError(cut)
        ends = np.cumsum(list(GENERAL.values()))
        header = Header(
            path,
            {
                name: raw[end - length : end].rstrip()
                for (name, length), end in zip(GENERAL.items(), ends, strict=True)
            },
        )
        n = int(header.number("number of signals"))
        if n <= 0:
            raise InputError(f"{path}: has no signals; export the recording with its EEG")
        if path.stat().st_size < 256 * (n + 1):
            raise InputError(cut)
        raw = file.read(256 * n)
    header.signals.extend({} for _ in range(n))
    begin = 0
    for name, length in SIGNAL.items():
        for signal in header.signals:
            signal[name] = raw[begin : begin + length].rstrip()
            begin += length
    return header


def read_start(header: Header) -> datetime | None:
    """Read date and time of the first record; None if they are unknown or anonymised.

    The field of EDF+ comes first, because the other one has two digits for the year.
    """
    start = None
    with suppress(ValueError):
        digits = re.split(r"\D", decode(header.general["date"]).strip())
        day, month, year = map(int, digits)
        hour, minute, second = map(int, re.split(r"\D", decode(header.general["time"]).strip()))
        year += 1900 if year >= 85 else 2000
        start = datetime(year, month, day, hour, minute, second)
        field = re.match(
            r"Startdate (\d\d?-[A-Za-z]{3}-\d{4})\b", decode(header.general["recording"])
        )
        if field:
            date = datetime.strptime(field[1].title(), "%d-%b-%Y")
            start = start.replace(date.year, date.month, date.day)
    # what anonymised files have
    return None if start == datetime(1985, 1, 1) else start
