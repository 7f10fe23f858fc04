"""Open a recording in any supported format and read 19 electrodes at 200 Hz from it.

Channels are found by their names, units are converted, gaps stay gaps, missing electrodes are
estimated from their neighbours. Nothing is read before it is asked for.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS
from hbac_utils.data.preprocessing import find_unit
from hbac_utils.data.readers import MIN_CHANNELS
from hbac_utils.montage import ELECTRODES, NEWER_NAMES, electrode_name
from hbac_utils.recording.edf import EdfSource
from hbac_utils.recording.formats import MneSource, ParquetSource
from hbac_utils.recording.resampling import ChannelGroup, count_samples, find_ratio, read_resampled
from hbac_utils.recording.source import Source
from hbac_utils.utils.errors import InputError

FORMATS: dict[str, type[EdfSource | MneSource | ParquetSource]] = {
    ".edf": EdfSource, ".bdf": EdfSource, ".rec": EdfSource,
    ".vhdr": MneSource, ".set": MneSource, ".lay": MneSource,
    ".parquet": ParquetSource,
}  # fmt: skip
UNITS = {"nv": 1e-3, "uv": 1.0, "μv": 1.0, "microv": 1.0, "mv": 1e3, "v": 1e6}  # to microvolts
MIN_RATE = 40  # Hz; below it the band of interest, up to 20 Hz, is not in the file
LONGEST = 60 * 86_400  # seconds
BLOCK_SECONDS = 120  # read and resampled at once


@dataclass(frozen=True)
class Recording:
    """An open recording. Holds neither the signal nor the patient's name, id and birth date.

    Attributes
    ----------
    path
        The file.
    seconds
        Duration from the first sample to the end, gaps included.
    start
        Date and time of the first sample; None if the file has none.
    rate
        Sampling rate in Hz of most electrodes in the file.
    interpolated
        Electrodes that the file lacks, estimated from their neighbours.
    notes
        What was repaired or is unusual, a short phrase each.
    annotations
        Annotations of the file: onset (s), duration (s, 0 if none), text.
    """

    path: Path
    seconds: float
    start: datetime | None
    rate: float
    interpolated: tuple[str, ...]
    notes: tuple[str, ...]
    annotations: pd.DataFrame = field(repr=False)
    _source: Source = field(repr=False)
    _groups: tuple[ChannelGroup, ...] = field(repr=False)

    def read(self, begin: float, end: float) -> np.ndarray:
        """Read from ``begin`` to ``end`` (s): float32, shape (n_times, 19), microvolts at 200 Hz.

        Columns are in the order of `montage.ELECTRODES`; n_times is round((end - begin) * 200).
        NaN in gaps of the file and outside of it. Reading in blocks gives the same samples as
        reading at once.
        """
        first = round(begin * SAMPLING_RATE)
        eeg = np.full((round((end - begin) * SAMPLING_RATE), len(ELECTRODES)), np.nan, np.float32)
        for piece in self._source.pieces:
            # an onset between two samples at 200 Hz is rounded to one of them
            onset, length = round(piece.onset * SAMPLING_RATE), count_samples(piece, SAMPLING_RATE)
            start, stop = max(first, onset), min(first + len(eeg), onset + length)
            for group in self._groups:
                for a, b in _blocks(start, stop):
                    values = read_resampled(self._source, piece, group, a - onset, b - onset)
                    eeg[a - first : b - first, group.columns] = values.T
        if self.interpolated:
            missing = [ELECTRODES.index(name) for name in self.interpolated]
            found = [i for i in range(len(ELECTRODES)) if i not in missing]
            eeg[:, missing] = eeg[:, found] @ interpolation_weights(self.interpolated)
        return eeg


def open_recording(path: str | Path) -> Recording:
    """Open a recording; raises InputError, in one line, if no EEG can be read from it.

    Formats: EDF, EDF+, BDF, BrainVision (.vhdr), EEGLAB (.set), Persyst (.lay), and parquet as
    the competition has it. The montage must be referential.
    """
    path = Path(path)
    source = open_source(path)
    notes = list(source.notes)
    chosen = _choose_electrodes(source, notes)
    rates = Counter(source.channels[i].rate for i in chosen.values())
    if min(rates) < MIN_RATE:
        raise InputError(
            f"{path}: {float(min(rates)):g} samples a second, at least {MIN_RATE} are needed; "
            "export the recording with its full sampling rate"
        )
    if len(rates) > 1:
        listed = " and ".join(f"{float(rate):g}" for rate in sorted(rates))
        notes.append(f"electrodes at {listed} Hz")
    last = source.pieces[-1]
    seconds = last.onset + last.seconds
    if seconds < SEGMENT_SECONDS:
        raise InputError(
            f"{path}: {seconds:g} s long, at least {SEGMENT_SECONDS} s are needed"
            + (f" ({', '.join(notes)})" if notes else "")
        )
    if seconds > LONGEST:
        raise InputError(
            f"{path}: {seconds / 86_400:,.0f} days long, so its times are damaged; export it again"
        )
    if len(source.pieces) > 1:
        gaps = seconds - sum(piece.seconds for piece in source.pieces)
        notes.append(f"{len(source.pieces) - 1} gaps, {gaps:,.1f} s in all")
    missing = tuple(name for name in ELECTRODES if name not in chosen)

    def build(factors: dict[str, float]) -> Recording:
        groups = _group_by_rate(source, chosen, factors, seconds)
        return Recording(
            path, float(seconds), source.start, float(rates.most_common(1)[0][0]), missing,
            tuple(notes), source.annotations, source, groups,
        )  # fmt: skip

    units = {name: _unit_factor(source.channels[i].unit) for name, i in chosen.items()}
    known = [name for name, factor in units.items() if factor is not None]
    unknown = [name for name in units if name not in known]
    recording = build({name: factor or 1.0 for name, factor in units.items()})
    sample = pd.DataFrame(_sample(recording), columns=list(ELECTRODES))
    if known and find_unit(sample[known].to_numpy())[1]:
        notes.append("amplitudes unlikely for the unit in the file")
    if unknown:
        factor, unit = find_unit(sample[unknown].to_numpy())
        units |= dict.fromkeys(unknown, factor)
        stated = source.channels[chosen[unknown[0]]].unit
        notes.append(
            (f"unit {stated!r} unknown" if stated else "no unit in the file")
            + f", taken for {unit or 'microvolts'}"
        )
    return build({name: factor or 1.0 for name, factor in units.items()})


def open_source(path: Path) -> Source:
    """Open a file by its extension; raises InputError for an unknown one and a missing file."""
    if path.is_dir():
        raise InputError(f"{path}: a folder; name a recording in it")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if (opener := FORMATS.get(path.suffix.lower())) is None:
        raise InputError(
            f"{path}: unknown extension {path.suffix!r}; "
            f"use one of {', '.join(FORMATS)}, or export the recording as EDF"
        )
    try:
        return opener(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


# -- channels --------------------------------------------------------------------------


def _choose_electrodes(source: Source, notes: list[str]) -> dict[str, int]:
    """Choose a channel for each electrode; refuse a file with fewer than ten."""
    labels = [channel.label for channel in source.channels]
    derivations = [label for label in labels if _is_derivation(label)]
    cathodes = {electrode_name(label.partition("-")[2]) for label in derivations}
    if common := len(cathodes) == 1 and len(derivations) >= MIN_CHANNELS:
        notes.append(f"reference {cathodes.pop()}")
    found: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        part = label.partition("-")[0] if common and label in derivations else label
        if (name := electrode_name(part)) in ELECTRODES:
            found.setdefault(name, []).append(i)
    chosen = {}
    for name in ELECTRODES:
        places = found.get(name, [])
        alike = [labels[i] for i in places]
        # of equal labels the first counts; which of different ones is meant cannot be known
        if len(set(alike)) == 1:
            chosen[name] = places[0]
            if len(alike) > 1:
                notes.append(f"the first of {len(alike)} channels {alike[0]}")
        elif alike:
            notes.append(f"without {' and '.join(alike)}, which mean the same")
    if len(chosen) >= MIN_CHANNELS:
        return chosen
    there = f"it has {', '.join(labels[:5])}" + (", …" if len(labels) > 5 else "")
    if len(derivations) > len(chosen):
        raise InputError(
            f"{source.path}: a bipolar montage ({there}); "
            "export the recording with a common reference"
        )
    if not chosen:
        raise InputError(
            f"{source.path}: no EEG channel named as in the 10–20 system; {there or 'no channel'}; "
            "rename the channels"
        )
    raise InputError(
        f"{source.path}: {len(chosen)} of the {len(ELECTRODES)} electrodes "
        f"({', '.join(chosen)}), at least {MIN_CHANNELS} are needed"
    )


def _is_derivation(label: str) -> bool:
    """Whether a label names two electrodes, such as ``EEG Fp1-F7``."""
    anode, _, cathode = label.partition("-")
    return electrode_name(anode) in ELECTRODES and electrode_name(cathode) in ELECTRODES


def _unit_factor(unit: str) -> float | None:
    """Factor from a unit, as recorders write it, to microvolts; None if it is none of a voltage.

    Examples
    --------
    >>> [_unit_factor(unit) for unit in ("uV", "µV", "mV", "Volts", "")]
    [1.0, 1.0, 1000.0, 1000000.0, None]
    """
    text = re.sub(r"olts?$", "", unit.strip().casefold())  # casefold: µ is μ
    return UNITS.get(text)


def _group_by_rate(
    source: Source, chosen: dict[str, int], factors: dict[str, float], seconds: float
) -> tuple[ChannelGroup, ...]:
    """Group electrodes by their rate."""
    groups = []
    for rate in sorted({source.channels[i].rate for i in chosen.values()}):
        names = [name for name, i in chosen.items() if source.channels[i].rate == rate]
        ratio = find_ratio(rate, seconds)
        groups.append(
            ChannelGroup(
                ratio.numerator,
                ratio.denominator,
                [chosen[name] for name in names],
                [ELECTRODES.index(name) for name in names],
                np.array([factors[name] for name in names]),
            )
        )
    return tuple(groups)


@lru_cache
def interpolation_weights(missing: tuple[str, ...]) -> np.ndarray:
    """Weights of spherical splines: float32, shape (19 - n_missing, n_missing).

    ``eeg[:, found] @ weights`` estimates the missing electrodes. MNE interpolates an identity
    matrix, which is enough because the method is linear.

    References: Perrin et al. (1989), doi:10.1016/0013-4694(89)90180-6.
    """
    import mne

    # positions on a sphere, for the newer names
    names = [NEWER_NAMES.get(name, name) for name in ELECTRODES]
    info = mne.create_info(names, SAMPLING_RATE, "eeg")
    raw = mne.io.RawArray(np.eye(len(names)), info, verbose="error")
    raw.set_montage("easycap-M1", verbose="error")
    raw.info["bads"] = [NEWER_NAMES.get(name, name) for name in missing]
    raw.interpolate_bads(verbose="error")
    is_missing = np.isin(ELECTRODES, missing)
    return raw.get_data()[is_missing][:, ~is_missing].T.astype(np.float32)


def _blocks(start: int, stop: int) -> Iterator[tuple[int, int]]:
    size = BLOCK_SECONDS * SAMPLING_RATE
    return ((a, min(a + size, stop)) for a in range(start, stop, size))


def _sample(recording: Recording) -> np.ndarray:
    """Read some stretches to see the signal's amplitude; refuse a recording without a signal."""
    pieces = recording._source.pieces
    ends = np.cumsum([piece.seconds for piece in pieces])
    found = []
    for place in np.linspace(0, max(ends[-1] - SEGMENT_SECONDS, 0), 6):
        i = int(np.searchsorted(ends, place, "right"))
        begin = pieces[i].onset + place - (ends[i] - pieces[i].seconds)
        found.append(recording.read(begin, begin + SEGMENT_SECONDS))
    if not any(map(_has_signal, found)):
        minutes = range(0, int(recording.seconds), 60)
        if not any(_has_signal(recording.read(minute, minute + 60)) for minute in minutes):
            raise InputError(
                f"{recording.path}: no signal, all electrodes are constant; export it again"
            )
    return np.concatenate(found)


def _has_signal(eeg: np.ndarray) -> bool:
    """Whether any channel changes by more than rounding; NaN is ignored."""
    low, high = np.fmin.reduce(eeg, axis=0), np.fmax.reduce(eeg, axis=0)
    return bool((high - low > 1e-6 * np.fmax(np.abs(low), np.abs(high))).any())
