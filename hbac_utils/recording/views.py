"""Tables and figures of readings, as the notebook shows them."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from hbac_utils.plots.eeg_pages import explained_page
from hbac_utils.plots.recordings import overview, overview_legend
from hbac_utils.recording.events import choose_segments, find_events, summarize
from hbac_utils.recording.outputs import recording_facts
from hbac_utils.recording.sliding import Reading


def describe_recordings(readings: Sequence[Reading]) -> pd.DataFrame:
    """Tabulate length, sampling rate, what could not be read, and what was repaired."""
    return pd.DataFrame({r.recording.path.name: recording_facts(r) for r in readings})


def recording_overviews(readings: Sequence[Reading]) -> list[Figure]:
    """Draw each recording over time; see `plots.recordings.overview`."""
    figures = []
    for reading in readings:
        table, recording = reading.table, reading.recording
        windows = table["onset"].to_numpy()[choose_segments(table)]
        figures.append(overview_legend(reading.spectra))
        figures += overview(
            table, reading.spectra, reading.frequencies, find_events(table),
            recording.annotations, recording.start, windows,
        )  # fmt: skip
    return figures


def recording_burden(readings: Sequence[Reading]) -> pd.DataFrame:
    """Tabulate each pattern's share of the readable time, its events and the longest of them."""
    return pd.concat({r.recording.path.name: summarize(r.table) for r in readings}).round(3)


def recording_events(readings: Sequence[Reading]) -> pd.DataFrame:
    """Tabulate all events; see `events.find_events`."""
    return pd.concat({r.recording.path.name: find_events(r.table) for r in readings}).round(3)


def recording_windows(readings: Sequence[Reading], count: int = 4) -> list[Figure]:
    """Draw the windows worth looking at of each recording, with what they depend on."""
    figures = []
    for reading in readings:
        for segment in choose_segments(reading.table, count):
            begin = reading.window_begin(segment)
            figures.append(
                explained_page(
                    reading.window(segment),
                    reading.importance(segment),
                    begin,
                    reading.recording.start,
                )
            )
    return figures
