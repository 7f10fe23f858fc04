"""Write a long EDF+C file in parts: edfio makes the header, records are appended.

Format: Kemp & Olivan (2003), doi:10.1016/S1388-2457(03)00123-8.
"""

from collections.abc import Iterable
from datetime import date
from typing import BinaryIO

import numpy as np

from hbac_utils.data.layout import SAMPLING_RATE

LARGEST = 32_767  # of a sample; the smallest is its negative, so that zero is 0 µV
TIME_SAMPLES = 8  # 16 bytes for the time of a record
START_DATE = date(2000, 1, 1)


def edf_header(units: dict[str, float], seconds: int) -> bytes:
    """Make the header of a recording with 1-s records, without any identity.

    ``units`` are the channels' names and their resolution (µV).
    """
    from edfio import Edf, EdfAnnotation, EdfSignal, Recording

    limits = {name: round(LARGEST * unit, 3) for name, unit in units.items()}
    silence = np.zeros(SAMPLING_RATE, dtype=np.int16)
    signals = [
        EdfSignal.from_digital(
            silence, SAMPLING_RATE, label=name, physical_dimension="uV",
            physical_range=(-limit, limit), digital_range=(-LARGEST, LARGEST),
        )
        for name, limit in limits.items()
    ]  # fmt: skip
    # a file of one record, with a text that makes room for the times of the others
    room = EdfAnnotation(0, None, "x" * (2 * TIME_SAMPLES - len("+0\x14\x14\x00+0\x14\x14\x00")))
    file = Edf(signals, recording=Recording(startdate=START_DATE), annotations=[room])
    header = bytearray(file.to_bytes()[: file.bytes_in_header_record])
    header[236:244] = str(seconds).encode().ljust(8)  # number of records
    return bytes(header)


def append_records(
    file: BinaryIO, signals: np.ndarray, units: Iterable[float], second: int
) -> None:
    """Append whole seconds of signals, shape (n_channels, n_times), µV, at 200 Hz.

    They begin ``second`` seconds after the start. Samples outside the range are clipped.
    """
    scaled = signals / np.array(list(units), dtype=np.float32)[:, None]
    digital = np.clip(scaled.round(), -LARGEST, LARGEST).astype("<i2")
    records = digital.reshape(len(signals), -1, SAMPLING_RATE).transpose(1, 0, 2)
    times = [f"+{second + i}\x14\x14".encode() for i in range(len(records))]
    stamps = np.array(times, dtype=f"S{2 * TIME_SAMPLES}").view("<i2").reshape(len(records), -1)
    file.write(np.hstack([records.reshape(len(records), -1), stamps]).tobytes())
