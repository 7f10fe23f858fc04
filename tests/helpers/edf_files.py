"""Recordings with a known signal, written by edfio or byte by byte."""

from pathlib import Path

import edfio
import numpy as np

from hbac_utils.montage import ELECTRODES

FREQUENCIES = np.array([1.3, 6.1, 11.7, 23.9])  # Hz


def truth(seconds: np.ndarray) -> np.ndarray:
    """The signal, in closed form: microvolts, shape (n_times, 19)."""
    phases = np.random.default_rng(3).uniform(0, 2 * np.pi, (len(FREQUENCIES), 19))
    angles = 2 * np.pi * FREQUENCIES * np.asarray(seconds)[:, None]
    return (20 * np.sin(angles[:, :, None] + phases)).sum(axis=1)


def times(seconds: float, rate: float) -> np.ndarray:
    return np.arange(round(seconds * rate)) / rate


def write_edf(
    path: Path,
    seconds: float = 30,
    rate: float = 200,
    *,
    labels=ELECTRODES,
    unit: str = "uV",
    factor: float = 1,
    order=None,
    record: float | None = None,
    annotations=None,
    offset: float = 0,
    **header,
) -> Path:
    """Write the true signal by edfio; ``factor`` converts microvolts to the unit."""
    bdf = path.suffix == ".bdf"
    file, signal = (edfio.Bdf, edfio.BdfSignal) if bdf else (edfio.Edf, edfio.EdfSignal)
    digital = (-(2**23), 2**23 - 1) if bdf else (-(2**15), 2**15 - 1)
    limit = (offset + 200) * factor
    values = (truth(times(seconds, rate)) + offset) * factor
    signals = [
        signal(
            values[:, i], rate, label=labels[i], physical_dimension=unit,
            physical_range=(-limit, limit), digital_range=digital,
        )
        for i in (range(len(labels)) if order is None else order)
    ]  # fmt: skip
    file(signals, data_record_duration=record, annotations=annotations, **header).write(path)
    return path


def set_field(path: Path, begin: int, value: bytes, length: int) -> None:
    """Overwrite a header field."""
    raw = bytearray(path.read_bytes())
    raw[begin : begin + length] = value.ljust(length)
    path.write_bytes(raw)


def set_unit(path: Path, unit: bytes) -> None:
    """Overwrite the unit of every signal."""
    n = int(path.read_bytes()[252:256])
    set_field(path, 256 + n * (16 + 80), unit.ljust(8) * n, 8 * n)


def cut_records(path: Path, first: int, stop: int) -> None:
    """Remove data records of an EDF+ file, which makes it discontinuous."""
    raw = path.read_bytes()
    begin, n = int(raw[184:192]), int(raw[236:244])
    size = (len(raw) - begin) // n
    path.write_bytes(raw[: begin + first * size] + raw[begin + stop * size :])
    set_field(path, 192, b"EDF+D", 44)
    set_field(path, 236, b"%d" % (n - stop + first), 8)
