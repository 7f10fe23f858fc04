"""Write a recording as EDF+ or BDF+ with events added as annotations, without the identity.

Samples of an EDF or BDF file are copied byte by byte, record by record, so that a file of 24 hours
needs little memory (edfio holds a file twice when it writes one). Other formats are written as
they are read: 19 electrodes at 200 Hz.

Reference: Kemp and Olivan (2003), doi:10.1016/S1388-2457(03)00123-8, and
https://www.edfplus.info/specs/edfplus.html for the annotations and for anonymised headers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import ELECTRODES
from hbac_utils.recording.edf import EdfSource
from hbac_utils.recording.edf_header import SAMPLE_BYTES, SIGNAL, Header, read_header, read_start
from hbac_utils.recording.reader import Recording, open_recording, open_source
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing, writing

BLOCK_BYTES = 1 << 24  # copied at once
BLOCK_SECONDS = 600
LARGEST = 999_999  # microvolts; the header has eight characters for it
VERSIONS = {"EDF": b"0", "BDF": b"\xffBIOSEMI"}
TEXT_LIMIT = 200  # bytes of an annotation's text; the longest one sets the room in every record


@dataclass
class _Content:
    """Content of an EDF or BDF file: signal headers, onsets (s) and bytes of the records."""

    kind: str
    signals: list[dict[str, bytes]]
    duration: Decimal  # of a record, in seconds
    onsets: list[Decimal]
    is_discontinuous: bool
    start: datetime | None
    annotations: pd.DataFrame
    records: Iterator[np.ndarray]  # uint8, shape (n_records, record_bytes)


def write_annotated(
    recording_path: str | Path,
    events: pd.DataFrame,
    out: str | Path,
    *,
    anonymize: bool = False,
    keep_identity: bool = False,
) -> Path:
    """Write a recording with its own annotations and with events; returns the file written.

    Parameters
    ----------
    recording_path
        A recording in any format that `open_recording` reads.
    events
        Columns onset (s from the first sample), duration (s), pattern and confidence.
    out
        File to write. Its extension becomes .bdf for a BDF file and .edf for others.
    anonymize
        Leave out date and time too, and the recording's own annotations, which may hold names.
    keep_identity
        Copy the header's fields about patient and recording. They are ``X`` otherwise.
    """
    if anonymize and keep_identity:
        raise ValueError("choose anonymize or keep_identity, not both")
    path, out = Path(recording_path), Path(out)
    source = open_source(path)
    identity = {"patient": b"X X X X"}
    if isinstance(source, EdfSource):
        content = _copy(source)
        if keep_identity:
            general = read_header(path).general
            identity = {name: general[name] for name in ("patient", "recording")}
    else:
        content = _render(open_recording(path))
    out = out.with_suffix(f".{content.kind.lower()}")
    if out.resolve() == path.resolve():
        raise InputError(f"{out}: is the recording itself; name another file to write")
    rows = [
        (event.onset, event.duration, f"hbac: {event.pattern} {event.confidence:.2f}")
        for event in events.itertuples()
    ]
    first = content.onsets[0]
    if anonymize:
        content.start, content.onsets = None, [onset - first for onset in content.onsets]
        first = Decimal(0)
    else:
        rows += list(content.annotations.itertuples(index=False, name=None))
    entries = sorted((float(first) + onset, duration, text) for onset, duration, text in rows)
    width = SAMPLE_BYTES[content.kind]
    notes = pack_annotations(entries, content.onsets, float(content.duration), width)
    header = _header(out, content, notes.shape[1] // width, identity)
    out.parent.mkdir(parents=True, exist_ok=True)
    with writing(out), replacing(out) as file:
        file.write(header.to_bytes())
        begin = 0
        for block in content.records:
            end = begin + len(block)
            file.write(np.concatenate([block, notes[begin:end]], axis=1).tobytes())
            begin = end
    return out


def pack_annotations(
    entries: list[tuple[float, float, str]], onsets: list[Decimal], duration: float, width: int
) -> np.ndarray:
    """Encode annotations as the bytes of a signal: uint8, shape (n_records, n_bytes).

    Takes annotations in order of time and the records' onsets, in seconds. Each record begins with
    its onset; an annotation is in the record in which it begins, or in a later one with room.
    n_bytes is a multiple of ``width``.
    """
    times = [b"%s\x14\x14\0" % _seconds(onset, sign=True) for onset in onsets]
    waiting = [(onset, _encode(onset, length, text)) for onset, length, text in entries]
    size = max(map(len, times)) + max((len(text) for _, text in waiting), default=0)
    while True:
        records, i = [bytearray(time) for time in times], 0
        for record, onset in zip(records, onsets, strict=True):
            end = float(onset) + duration
            while i < len(waiting) and waiting[i][0] < end:
                if len(record) + len(waiting[i][1]) > size:
                    break
                record += waiting[i][1]
                i += 1
        for record in reversed(records):  # what begins too late, or had no room
            while i < len(waiting) and len(record) + len(waiting[i][1]) <= size:
                record += waiting[i][1]
                i += 1
        if i == len(waiting):
            break
        size *= 2
    size += -size % width
    packed = b"".join(bytes(record).ljust(size, b"\0") for record in records)
    return np.frombuffer(packed, np.uint8).reshape(len(records), size)


def _seconds(value: Decimal | float, sign: bool = False) -> bytes:
    """Write seconds without an exponent and without needless zeros."""
    text = f"{value:{'+' if sign else ''}.7f}".rstrip("0").rstrip(".")
    return text.encode()


def _encode(onset: float, duration: float, text: str) -> bytes:
    length = b"\x15" + _seconds(duration) if duration > 0 else b""
    plain = "".join(sign if sign.isprintable() else " " for sign in text).encode()[:TEXT_LIMIT]
    plain = plain.decode(errors="ignore").encode()  # a letter may have been cut
    return b"%s%s\x14%s\x14\0" % (_seconds(onset, sign=True), length, plain)


def _header(path: Path, content: _Content, samples: int, identity: dict[str, bytes]) -> Header:
    kind, start = content.kind, content.start
    low = 1 << (8 * SAMPLE_BYTES[kind] - 1)
    annotations = dict.fromkeys(SIGNAL, b"") | {
        "label": f"{kind} Annotations".encode(),
        "physical minimum": b"-1",
        "physical maximum": b"1",
        "digital minimum": b"%d" % -low,
        "digital maximum": b"%d" % (low - 1),
        "samples per record": b"%d" % samples,
    }
    date = start.strftime("%d-%b-%Y").upper() if start else "X"
    general = {
        "version": VERSIONS[kind],
        "recording": f"Startdate {date} X X X".encode(),
        "date": (start or datetime(1985, 1, 1)).strftime("%d.%m.%y").encode(),
        "time": (start or datetime(1985, 1, 1)).strftime("%H.%M.%S").encode(),
        "header bytes": b"%d" % (256 * (len(content.signals) + 2)),
        "reserved": f"{kind}+{'D' if content.is_discontinuous else 'C'}".encode(),
        "number of data records": b"%d" % len(content.onsets),
        "duration of a data record": f"{content.duration.normalize():f}".encode(),
        "number of signals": b"%d" % (len(content.signals) + 1),
    }
    return Header(path, general | identity, [*content.signals, annotations])


def _copy(source: EdfSource) -> _Content:
    """Copy the records of an EDF or BDF file without its annotations."""
    header = source.header
    keep = np.zeros(source.record_bytes, bool)
    for i in source.signals:
        keep[source.offsets[i] : source.offsets[i] + source.bytes[i]] = True
    signals = []
    for i in source.signals:
        unit = header.signals[i]["unit"].replace(b"\xc2\xb5", b"u").replace(b"\xb5", b"u")
        signals.append(header.signals[i] | {"unit": unit})  # EDF+ allows ASCII only

    def records() -> Iterator[np.ndarray]:
        step = max(1, BLOCK_BYTES // source.record_bytes)
        for first in range(0, source.n_records, step):
            yield source.read_records(first, min(first + step, source.n_records))[:, keep]

    onsets = source.onsets or [i * source.duration for i in range(source.n_records)]
    return _Content(
        header.kind, signals, source.duration, onsets, source.is_discontinuous,
        read_start(read_header(source.path)), source.annotations, records(),
    )  # fmt: skip


def _render(recording: Recording) -> _Content:
    """Render a recording as 16-bit EDF, a record a second; missing samples become zero."""
    n = int(np.ceil(recording.seconds))
    blocks = [(a, min(a + BLOCK_SECONDS, n)) for a in range(0, n, BLOCK_SECONDS)]

    def read(block: tuple[int, int]) -> np.ndarray:
        eeg = np.nan_to_num(recording.read(*block))
        return np.clip(eeg, -LARGEST, LARGEST)

    low, high = np.zeros(len(ELECTRODES)), np.ones(len(ELECTRODES))
    for block in blocks:
        eeg = read(block)
        low, high = np.minimum(low, eeg.min(axis=0)), np.maximum(high, eeg.max(axis=0))
    low, high = np.floor(low), np.ceil(high)
    signals = [
        dict.fromkeys(SIGNAL, b"") | {
            "label": f"EEG {name}".encode(), "unit": b"uV",
            "physical minimum": b"%d" % low[i], "physical maximum": b"%d" % high[i],
            "digital minimum": b"-32768", "digital maximum": b"32767",
            "samples per record": b"%d" % SAMPLING_RATE,
        }
        for i, name in enumerate(ELECTRODES)
    ]  # fmt: skip

    def records() -> Iterator[np.ndarray]:
        for block in blocks:
            digital = np.round((read(block) - low) * (65535 / (high - low))) - 32768
            samples = digital.astype("<i2").reshape(-1, SAMPLING_RATE, len(ELECTRODES))
            yield (
                np.ascontiguousarray(samples.transpose(0, 2, 1))
                .reshape(len(samples), -1)
                .view(np.uint8)
            )

    return _Content(
        "EDF", signals, Decimal(1), [Decimal(i) for i in range(n)], False,
        recording.start, recording.annotations, records(),
    )  # fmt: skip
