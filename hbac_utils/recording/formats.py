"""Other formats of recordings: those that MNE reads lazily, and the competition's parquet."""

import io
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.data.readers import PARQUET_ERRORS
from hbac_utils.recording.source import Channel, Piece, Source, annotation_table
from hbac_utils.utils.errors import InputError, one_line

DAY = 86_400  # seconds
CLOCK_JITTER = 0.5  # seconds; a smaller difference between clock and samples is no gap


class MneSource(Source):
    """A file that MNE reads: BrainVision, EEGLAB, Persyst. Values are volts."""

    def __init__(self, path: Path):
        import mne

        try:
            with redirect_stdout(io.StringIO()):  # it prints a birth date that it cannot read
                raw = mne.io.read_raw(path, preload=False, verbose="error")
        except Exception as error:  # each of MNE's readers has its own
            raise InputError(
                f"{path}: MNE cannot read it ({one_line(error)}); export the recording as EDF"
            ) from None
        start = raw.info["meas_date"]
        entries = raw.annotations
        rows = zip(
            entries.onset - raw.first_time, entries.duration, entries.description, strict=True
        )
        rate = Fraction(str(raw.info["sfreq"]))
        pieces = [Piece(0.0, raw.n_times / raw.info["sfreq"])]
        if path.suffix.lower() == ".lay":
            pieces = _place_persyst(path, float(rate), raw.n_times)
        super().__init__(
            path,
            [Channel(name, rate, "V") for name in raw.ch_names],
            pieces,
            start and start.replace(tzinfo=None),
            annotation_table([(float(a), float(b), str(c)) for a, b, c in rows]),
        )
        breaks = self.annotations.text.str.fullmatch(r"boundary|New Segment/.*")
        if later := int((breaks & (self.annotations.onset > 0)).sum()):
            self.notes.append(f"{later} breaks of unknown length, read as if there were none")
        raw.anonymize(verbose="error")
        self.raw = raw

    def read(self, channels: Sequence[int], piece: Piece, begin: int, end: int) -> np.ndarray:
        """Read volts, see `Source.read`."""
        try:
            first = piece.record + begin
            return self.raw.get_data(list(channels), first, first + end - begin, verbose="error")
        except Exception as error:
            raise InputError(f"{self.path}: MNE cannot read it ({one_line(error)})") from None


def _place_persyst(path: Path, rate: float, n_times: int) -> list[Piece]:
    """Place the parts of a Persyst recording in time; MNE reads them as if there were no gap.

    The section SampleTimes has lines ``sample=seconds of the day``.
    """
    section = path.read_text("latin-1").partition("[SampleTimes]")[2].partition("[")[0]
    lines = re.findall(r"^\s*(\d+)\s*=\s*([\d.]+)\s*$", section, re.MULTILINE)
    entries = sorted((int(sample), float(time)) for sample, time in lines if int(sample) < n_times)
    begins, onsets = [0], [0.0]
    for (sample, time), (later, next_time) in pairwise(entries):
        gap = (next_time - time) % DAY - (later - sample) / rate
        if gap > CLOCK_JITTER:
            onsets.append(onsets[-1] + (later - begins[-1]) / rate + gap)
            begins.append(later)
        elif gap < -CLOCK_JITTER:
            raise InputError(
                f"{path}: parts overlap by {-gap:g} s at sample {later}; export it as EDF"
            )
    ends = [*begins[1:], n_times]
    return [
        Piece(onset, (end - begin) / rate, begin)
        for onset, begin, end in zip(onsets, begins, ends, strict=True)
    ]


class ParquetSource(Source):
    """An EEG of the competition: microvolts at 200 Hz, a column per channel."""

    def __init__(self, path: Path):
        try:
            footer = pq.read_metadata(path)
            names = footer.schema.names
        except PARQUET_ERRORS as error:
            raise InputError(f"{path}: not a readable parquet file ({one_line(error)})") from None
        channels = [Channel(name, Fraction(SAMPLING_RATE), "uV") for name in names]
        super().__init__(path, channels, [Piece(0.0, footer.num_rows / SAMPLING_RATE)])
        rows = [footer.row_group(i).num_rows for i in range(footer.num_row_groups)]
        self.begins = np.cumsum([0, *rows])

    def read(self, channels: Sequence[int], piece: Piece, begin: int, end: int) -> np.ndarray:
        """Read microvolts from the row groups that hold them, see `Source.read`."""
        first = int(np.searchsorted(self.begins, begin, "right")) - 1
        stop = int(np.searchsorted(self.begins, end, "left"))
        names = [self.channels[i].label for i in channels]
        try:
            with pq.ParquetFile(self.path) as file:
                table = file.read_row_groups(range(first, stop), columns=names, use_threads=False)
            values = np.array([table.column(name).to_numpy() for name in names], dtype=float)
        except PARQUET_ERRORS as error:
            raise InputError(f"{self.path}: not readable ({one_line(error)})") from None
        values[~np.isfinite(values)] = np.nan
        return values[:, begin - self.begins[first] :][:, : end - begin]
