"""True probabilities of the segments of a simulated recording, and its events.

The probabilities of a segment follow from the contrast of the pattern in this segment, against the
background in the same derivation. The other parameters are those of the whole episode. Where an
episode takes a part of a segment, it has this share of the probabilities.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS
from hbac_utils.labels import CLASSES
from hbac_utils.synthetic import raters
from hbac_utils.synthetic.components import largest_derivation
from hbac_utils.synthetic.mixtures import NO_PATTERN
from hbac_utils.synthetic.patterns import evidence
from hbac_utils.synthetic.render import MIN_CONTRAST
from hbac_utils.synthetic.sessions import PlacedEpisode

JOINED = 20  # seconds without the pattern that do not end an event
SHORTEST_PIECE = 3.0  # seconds of a pattern in which its contrast can be measured


class Piece(NamedTuple):
    """The part of an episode that is in one segment."""

    segment: int
    episode: int
    share: float  # of the segment
    derivation: int  # in which the pattern is largest
    size: float  # µV, peak to peak; NaN if the piece is too short


def measure_pattern(
    placed: PlacedEpisode, number: int, pattern: np.ndarray, start: int
) -> list[Piece]:
    """Measure an episode's pattern in the segments of a block.

    ``pattern`` is the block's signal without anything else, shape (19, n_times), µV, from
    ``start`` seconds on; ``number`` is that of the episode.
    """
    pieces, e = [], placed.episode
    # a trend may make the cycles longer
    slowest = max(0.5, e.frequency * 2 ** (-0.8 * abs(e.trend)))
    for k in range(pattern.shape[1] // (SEGMENT_SECONDS * SAMPLING_RATE)):
        begin = start + SEGMENT_SECONDS * k
        first, last = max(placed.begin, begin), min(placed.end, begin + SEGMENT_SECONDS)
        if first < last:
            part = slice(*(round((t - start) * SAMPLING_RATE) for t in (first, last)))
            where, size = 0, np.nan
            if last - first >= SHORTEST_PIECE:
                where, size = largest_derivation(pattern[:, part].T, slowest)
            pieces.append(
                Piece(
                    begin // SEGMENT_SECONDS, number, (last - first) / SEGMENT_SECONDS, where, size
                )
            )
    return pieces


def true_probabilities(
    episodes: Sequence[PlacedEpisode], pieces: list[Piece], variances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the probabilities of the segments, (n_segments, 6), and of each piece alone.

    ``variances`` are the background's, shape (n_segments, 18), in µV².
    """
    judged = np.zeros((len(pieces), len(CLASSES)))
    absent = raters.class_probabilities(np.array([NO_PATTERN, 0.0, 0.0, 0.0]))
    segments = np.tile(absent, (len(variances), 1))
    for row, piece in zip(judged, pieces, strict=True):
        e = episodes[piece.episode].episode
        contrast = e.contrast
        if piece.size > 0:
            spread = np.sqrt(variances[piece.segment, piece.derivation])
            contrast = max(MIN_CONTRAST, 20 * np.log10(piece.size / (4 * spread)))
        values = contrast, e.irregularity, e.frequency, e.evolution, e.periodicity, e.laterality
        row[:] = raters.class_probabilities(evidence(*values))
        segments[piece.segment] += piece.share * (row - absent)
    return segments, judged


def list_events(
    episodes: Sequence[PlacedEpisode], pieces: list[Piece], judged: np.ndarray
) -> pd.DataFrame:
    """List the true events, named as in a SzCORE ``events.tsv``.

    An event is a run of segments in which the same pattern of one episode leads; gaps of up to
    `JOINED` seconds are part of it, and runs of less than a segment are none. Begin and end are
    those of the episode, if it begins or ends in the first or last segment. Columns are
    ``onset``, ``duration`` (s), ``eventType``, and ``confidence``, the mean true probability.
    """
    runs: list[list[int]] = []
    previous = None
    for i in sorted(range(len(pieces)), key=lambda i: (pieces[i].episode, pieces[i].segment)):
        name = CLASSES[judged[i].argmax()]
        if name == "Other":
            continue
        kind, segment = (pieces[i].episode, name), pieces[i].segment
        if (
            previous
            and previous[0] == kind
            and segment - previous[1] <= 1 + JOINED // SEGMENT_SECONDS
        ):
            runs[-1].append(i)
        else:
            runs.append([i])
        previous = kind, segment
    rows = []
    for run in runs:
        placed = episodes[pieces[run[0]].episode]
        onset = max(placed.begin, SEGMENT_SECONDS * pieces[run[0]].segment)
        duration = round(
            min(placed.end, SEGMENT_SECONDS * (pieces[run[-1]].segment + 1)) - onset, 1
        )
        mean = judged[run].mean(axis=0)
        if duration >= SEGMENT_SECONDS:
            rows.append((onset, duration, event_type(CLASSES[mean.argmax()]), mean.max().round(3)))
    return pd.DataFrame(rows, columns=["onset", "duration", "eventType", "confidence"])


def event_type(pattern: str) -> str:
    """Name a pattern as a SzCORE ``events.tsv`` does: ``sz``, or the pattern in lower case."""
    return "sz" if pattern == "Seizure" else pattern.lower()
