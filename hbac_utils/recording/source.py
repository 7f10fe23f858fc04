"""Common interface of the file formats: channels, pieces without a gap, and their samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

ANNOTATION_COLUMNS = ("onset", "duration", "text")


@dataclass(frozen=True)
class Channel:
    """A channel of a file: its label, rate in Hz, and the unit of its values as the file has it."""

    label: str
    rate: Fraction
    unit: str


@dataclass(frozen=True)
class Piece:
    """A stretch without a gap: onset and length in seconds, and its first data record."""

    onset: float
    seconds: float
    record: int = 0


@dataclass
class Source:
    """An open file; a format implements `read`. Holds nothing of the patient's identity."""

    path: Path
    channels: Sequence[Channel]
    pieces: Sequence[Piece]
    start: datetime | None = None
    annotations: pd.DataFrame = field(default_factory=lambda: annotation_table([]))
    notes: list[str] = field(default_factory=list)

    def read(self, channels: Sequence[int], piece: Piece, begin: int, end: int) -> np.ndarray:
        """Read samples ``begin`` to ``end`` of a piece from channels of one rate.

        Returns float64, shape (n_channels, end - begin), in the channels' unit.
        """
        raise NotImplementedError


def annotation_table(rows: Sequence[tuple[float, float, str]]) -> pd.DataFrame:
    """Build a table of annotations: onset (s), duration (s), text; in order of time."""
    table = pd.DataFrame(sorted(rows), columns=list(ANNOTATION_COLUMNS))
    return table.astype({"onset": float, "duration": float, "text": str})
