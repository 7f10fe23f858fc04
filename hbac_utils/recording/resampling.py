"""Zero-phase resampling of a part of a recording to 200 Hz, the same whatever part is read."""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy.signal import firwin, resample_poly

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.data.preprocessing import fill_gaps
from hbac_utils.recording.source import Piece, Source

# Low-pass of the resampler: 20 samples of the slower rate to either side, 60 dB down from 1.1
# times the Nyquist frequency on
HALF_LENGTH = 20
KAISER_BETA = 6.0
DENOMINATORS = (2_000, 20_000, 200_000)  # largest, of a ratio of rates; its filter is as long
MAX_DRIFT = 1e-3  # seconds, from the begin to the end of a recording


@dataclass(frozen=True)
class ChannelGroup:
    """Electrodes of one rate: their channels, columns among the 19, factors to microvolts."""

    up: int
    down: int
    channels: list[int]
    columns: list[int]
    factors: np.ndarray


def find_ratio(rate: Fraction, seconds: float) -> Fraction:
    """Find a ratio of 200 Hz to a rate that keeps time over so many seconds.

    Of a rate very close to 200 Hz the last of `DENOMINATORS` may drift more than `MAX_DRIFT`, by
    a fifth of a second in 24 hours at most.
    """
    exact = SAMPLING_RATE / rate
    for limit in DENOMINATORS:
        ratio = exact.limit_denominator(limit)
        if abs(ratio / exact - 1) * seconds < MAX_DRIFT:
            break
    return ratio


def count_samples(piece: Piece, rate: Fraction | int) -> int:
    """Count the samples of a piece at a rate."""
    return round(piece.seconds * float(rate))


def read_resampled(
    source: Source, piece: Piece, group: ChannelGroup, begin: int, end: int
) -> np.ndarray:
    """Read samples of a piece at 200 Hz: shape (n_channels, end - begin), microvolts.

    The filter is symmetrical, so that the phase is kept, and its response is finite: with a
    margin of its length the samples do not depend on where the block begins. A piece is extended
    by its point reflection at the first and the last sample, so that nothing is taken across a gap.
    """
    up, down = group.up, group.down
    if up == down:
        return source.read(group.channels, piece, begin, end) * group.factors[:, None]
    length = count_samples(piece, source.channels[group.channels[0]].rate)
    margin = HALF_LENGTH * max(up, down) // up + 1  # samples in the file
    # begin where a sample of the file and one at 200 Hz coincide
    period = begin // up - -(-margin // down)
    first, stop = period * down, -(-end * down // up) + margin
    a, b = min(max(first, 0), length - 1), max(min(stop, length), 1)
    values = source.read(group.channels, piece, a, b) * group.factors[:, None]
    filled, missing = fill_gaps(values.T)
    padding = ((a - first, stop - b), (0, 0))
    resampled = resample_poly(
        np.pad(filled, padding, mode="reflect", reflect_type="odd"),
        up,
        down,
        axis=0,
        window=_low_pass(up, down),
    )[begin - period * up :][: end - begin].T
    if missing.any():
        nearest = np.arange(begin, end) * down // up
        resampled[missing.T[:, np.clip(nearest, a, b - 1) - a]] = np.nan
    return resampled


@lru_cache
def _low_pass(up: int, down: int) -> np.ndarray:
    """Filter of the resampler, with a gain of exactly 1 for a constant.

    Without the latter an electrode's offset, which may be a hundred millivolts, would leave a
    ripple of its own.
    """
    slower = max(up, down)
    taps = firwin(2 * HALF_LENGTH * slower + 1, 1 / slower, window=("kaiser", KAISER_BETA))
    phases = np.pad(taps, (0, -len(taps) % up)).reshape(-1, up)  # a column each
    return (phases / (phases.sum(axis=0) * up)).ravel()[: len(taps)]
