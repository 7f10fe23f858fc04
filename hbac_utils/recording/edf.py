"""EDF, EDF+ and BDF files, read in blocks: data records and annotations.

edfio and MNE read these formats too. Here 24 hours must be read with bounded memory, and damaged
files as far as they are intact: edfio loads a BDF file whole, neither library places the records
of a discontinuous file in time, and both stop at an annotation that is not UTF-8.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from hbac_utils.recording.edf_header import SAMPLE_BYTES, decode, read_header, read_start
from hbac_utils.recording.source import Channel, Piece, Source, annotation_table
from hbac_utils.utils.errors import InputError

JITTER = 0.005  # seconds, a sample at 200 Hz; smaller gaps and overlaps of records are no gaps


class EdfSource(Source):
    """An EDF, EDF+ or BDF file. Its channels are the header's signals, annotations excluded."""

    def __init__(self, path: Path):
        header = read_header(path)
        start = read_start(header)
        # nothing of the patient's identity stays in memory
        self.header = replace(header, general=header.general | {"patient": b"", "recording": b""})
        self.width = SAMPLE_BYTES[header.kind]
        self.duration = header.number("duration of a data record")
        samples = header.samples
        self.signals = [i for i, is_text in enumerate(header.are_annotations) if not is_text]
        if self.signals and self.duration <= 0:
            raise InputError(
                f"{path}: data records of {self.duration} s; export the recording again"
            )
        for i, count in enumerate(samples):
            if count <= 0:
                raise InputError(
                    f"{path}: header field 'samples per record' of signal {i + 1} is {count}; "
                    "the header is damaged, export the recording again"
                )
        self.bytes = [count * self.width for count in samples]  # of each signal in a record
        self.offsets = [sum(self.bytes[:i]) for i in range(len(samples))]
        super().__init__(
            path,
            [
                Channel(
                    decode(header.signals[i]["label"]).strip(),
                    Fraction(samples[i]) / Fraction(self.duration),
                    decode(header.signals[i]["unit"]).strip(),
                )
                for i in self.signals
            ],
            [],
        )
        self.n_records = self._count_records()
        self.onsets, rows = self._read_annotations()
        first = self.onsets[0] if self.onsets else Decimal(0)
        self.annotations = annotation_table(
            [(float(onset - first), float(duration), text) for onset, duration, text in rows]
        )
        self.start = start and start + timedelta(seconds=float(first))
        self.pieces = self._place_records()

    @property
    def record_bytes(self) -> int:
        """Length of a data record."""
        return sum(self.bytes)

    @property
    def data_begin(self) -> int:
        """Offset of the first data record in the file, bytes."""
        return 256 * (len(self.header.signals) + 1)

    @property
    def is_discontinuous(self) -> bool:
        """Whether the file says that there may be gaps between its records (EDF+D, BDF+D)."""
        return self.header.general["reserved"].startswith((b"EDF+D", b"BDF+D"))

    def read(self, channels: Sequence[int], piece: Piece, begin: int, end: int) -> np.ndarray:
        """Read physical values, see `Source.read`."""
        count = self.bytes[self.signals[channels[0]]] // self.width
        first, stop = begin // count, -(-end // count)
        raw = self.read_records(piece.record + first, piece.record + stop)
        values = np.empty((len(channels), end - begin))
        for row, channel in zip(values, channels, strict=True):
            i = self.signals[channel]
            block = raw[:, self.offsets[i] : self.offsets[i] + self.bytes[i]]
            digital = to_integers(block, self.width)[begin - first * count :][: len(row)]
            low, high, minimum, maximum = (
                float(self.header.number(f"{kind} {end}", i))
                for kind in ("digital", "physical") for end in ("minimum", "maximum")
            )  # fmt: skip
            if low == high or minimum == maximum:
                raise InputError(
                    f"{self.path}: signal {self.channels[channel].label} has no range in the "
                    "header (minimum equals maximum), so its unit is lost; export it again"
                )
            row[:] = (digital - low) * ((maximum - minimum) / (high - low)) + minimum
        return values

    def read_records(self, first: int, stop: int) -> np.ndarray:
        """Read data records: uint8, shape (n_records, record_bytes)."""
        raw = np.fromfile(
            self.path,
            np.uint8,
            count=(stop - first) * self.record_bytes,
            offset=self.data_begin + first * self.record_bytes,
        )
        if len(raw) < (stop - first) * self.record_bytes:
            raise InputError(f"{self.path}: became shorter while it was read; start again")
        return raw.reshape(stop - first, self.record_bytes)

    def _count_records(self) -> int:
        """Count the complete data records; note where the header says something else."""
        stated = int(self.header.number("number of data records"))
        there = (self.path.stat().st_size - self.data_begin) // self.record_bytes
        if there <= 0:
            raise InputError(
                f"{self.path}: only the header, no data; copy or export the recording again"
            )
        seconds = float(there * self.duration)
        if stated <= 0:  # -1 while a recorder is writing
            self.notes.append(f"not closed by the recorder: {seconds:g} s are there")
        elif there < stated:
            whole = float(stated * self.duration)
            self.notes.append(f"truncated: {seconds:g} s of {whole:g} s are there")
        elif there > stated:
            self.notes.append(f"{there - stated} data records more than the header says, left out")
            return stated
        return there

    def _read_annotations(self) -> tuple[list[Decimal], list[tuple[Decimal, Decimal, str]]]:
        """Read the onset of each record, if the file has them, and all annotations."""
        onsets: list[Decimal] = []
        rows = []
        texts = [i for i, is_text in enumerate(self.header.are_annotations) if is_text]
        if not (texts or self.is_discontinuous):
            return onsets, rows
        with self.path.open("rb") as file:
            for record in range(self.n_records):
                for i in texts:
                    file.seek(self.data_begin + record * self.record_bytes + self.offsets[i])
                    found = list(parse_annotations(file.read(self.bytes[i])))
                    # the first one of a record is empty and says when the record begins
                    if i == texts[0] and found and not found[0][2]:
                        onsets.append(found[0][0])
                    rows += [row for row in found if row[2]]
        if len(onsets) < self.n_records:
            if self.is_discontinuous:
                raise InputError(
                    f"{self.path}: EDF+D, but {self.n_records - len(onsets)} of {self.n_records} "
                    "data records have no onset; export the recording as continuous EDF"
                )
            onsets = []
        return onsets, rows

    def _place_records(self) -> list[Piece]:
        """Join the records of a discontinuous file to pieces without a gap."""
        length = float(self.duration)
        if not self.is_discontinuous:
            return [Piece(0.0, self.n_records * length)]
        onsets = np.array([float(onset - self.onsets[0]) for onset in self.onsets])
        overlap = onsets[:-1] + length - onsets[1:]
        if (overlap > JITTER).any():
            i = int((overlap > JITTER).argmax())
            raise InputError(
                f"{self.path}: data record {i + 2} begins at {onsets[i + 1]:g} s, before the "
                f"record before it ends ({onsets[i] + length:g} s); export the recording again"
            )
        pieces, begin = [], 0
        for i in range(1, self.n_records + 1):
            # compared with the piece's begin, so that small deviations do not add up
            if (
                i == self.n_records
                or abs(onsets[i] - onsets[begin] - (i - begin) * length) > JITTER
            ):
                pieces.append(Piece(onsets[begin], (i - begin) * length, begin))
                begin = i
        return pieces


def to_integers(block: np.ndarray, width: int) -> np.ndarray:
    """Decode little-endian integers of 2 or 3 bytes: uint8, any shape, to a flat array."""
    if width == 2:
        return np.ascontiguousarray(block).view("<i2").ravel()
    low, middle, high = block.reshape(-1, 3).astype(np.int32).T
    return ((low | middle << 8 | high << 16) ^ (1 << 23)) - (1 << 23)


_ONSET = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?")


def parse_annotations(raw: bytes) -> Iterator[tuple[Decimal, Decimal, str]]:
    """Parse the annotations of a data record: onset, duration (0 if none) and text.

    An onset may have several texts. What is no annotation is left out.
    """
    for entry in raw.split(b"\0"):
        head, *texts = entry.split(b"\x14")
        if texts and (match := _ONSET.fullmatch(head)):
            onset, duration = Decimal(match[1].decode()), Decimal((match[2] or b"0").decode())
            for text in texts[:-1] or texts:
                yield onset, duration, decode(text).strip()
