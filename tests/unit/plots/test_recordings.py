"""Figures of long recordings: time axis, blanks, lanes, and shaded EEG pages."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from figures import by_gid, texts, ticks
from matplotlib.backends.backend_agg import FigureCanvasAgg

from hbac_utils.labels import CLASSES
from hbac_utils.plots.recordings import clock, overview, overview_legend, row_seconds

START = datetime(2024, 3, 2, 21, 14, 5)
FREQUENCIES = np.arange(1, 41) / 2
NOTHING = pd.DataFrame({"onset": [], "duration": [], "pattern": [], "text": []})


def draw(count: int, *, quality=None, events=NOTHING, annotations=NOTHING, start=START, **options):
    table = pd.DataFrame(np.full((count, 6), 1 / 6), columns=list(CLASSES))
    table["onset"], table["duration"] = 10.0 * np.arange(count), 10.0
    table["quality"] = "" if quality is None else quality
    table.loc[table["quality"] == "gap", list(CLASSES)] = np.nan
    spectra = np.zeros((count, 2, 40), np.float32)
    return overview(table, spectra, FREQUENCIES, events, annotations, start, **options)


def test_a_day_is_divided_into_equal_rows():
    wide, narrow = draw(8640), draw(8640, narrow=True)
    assert [figure.axes[0].get_xlim() for figure in wide] == [
        (21_600 * i, 21_600 * (i + 1)) for i in range(4)
    ]
    assert len(narrow) == 8
    assert row_seconds(2000, 3600) == 2000


def test_time_axis_has_round_times_of_the_clock():
    (figure,) = draw(360)
    labels = ticks(figure.axes[-1].xaxis)
    assert labels[:3] == ["21:15", "21:20", "21:25"]
    assert figure.axes[-1].get_xticks()[0] == 55  # s after 21:14:05
    assert figure.axes[-1].get_xlabel() == "Clock time (h:min) from 2 March 2024"
    (figure,) = draw(5, start=None)
    assert ticks(figure.axes[-1].xaxis)[:2] == ["0:00:00", "0:00:05"]
    assert figure.axes[-1].get_xlabel() == "Time from the start (h:min:s)"


def test_clock_passes_midnight():
    assert clock(3 * 3600, START, date=True) == "3 Mar 00:14:05"
    assert clock(3 * 3600 + 65, None) == "3:01:05"


def test_unreadable_segments_are_blank_and_on_their_own_lane():
    quality = [""] * 10
    quality[3] = quality[4] = "gap"
    (figure,) = draw(10, quality=quality)
    for name in CLASSES:
        (area,) = by_gid(figure, name)[:1]
        assert np.flatnonzero(np.isnan(area.get_data()[0])).tolist() == [3, 4]
    assert ticks(figure.axes[3].yaxis) == [*CLASSES[:-1], "gap"]
    (bars,) = by_gid(figure, "gap")
    spans = [path.get_extents().intervalx.tolist() for path in bars.get_paths()]
    assert spans == [[30, 40], [40, 50]]


def test_probabilities_are_stacked_from_seizure_to_other():
    (figure,) = draw(4)
    tops = [by_gid(figure, name)[0].get_data()[0][0] for name in CLASSES]
    assert tops == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])


def test_events_lie_on_the_lane_of_their_pattern():
    events = pd.DataFrame({"onset": [20.0], "duration": [30.0], "pattern": ["GPD"]})
    (figure,) = draw(10, events=events)
    bars = [artist for artist in by_gid(figure, "GPD") if artist.axes is figure.axes[3]]
    (path,) = bars[0].get_paths()
    assert path.get_extents().intervalx.tolist() == [20, 50]
    assert path.get_extents().intervaly.tolist() == pytest.approx([1.6, 2.4])


def test_annotations_are_numbered_and_shortened_where_there_is_no_room():
    onsets = [0.0, 400.0, 405.0, 3000.0]
    words = ["long " * 40, "hidden", "x$y", "too near to the end " * 9]
    annotations = pd.DataFrame({"onset": onsets, "duration": 0.0, "text": words})
    (figure,) = draw(360, annotations=annotations)
    assert len(by_gid(figure, "annotation")) == 4
    notes = [note.get_text() for note in by_gid(figure, "note")]
    assert notes[0].startswith("1 long")
    assert notes[0].endswith("…")
    assert notes[1] == "3 x$y"
    assert len(notes) == 3, "the second has no room before the third"
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.axes[4].get_window_extent(renderer)
    for note in by_gid(figure, "note"):
        assert note.get_window_extent(renderer).x1 <= box.x1


def test_legend_has_the_units_and_the_classes():
    figure = overview_legend(np.linspace(-10, 20, 800).reshape(10, 2, 40))
    assert set(CLASSES) < set(texts(figure))
    assert "Power (dB re 1 µV²/Hz), grey: no data" in texts(figure)


# ---------------------------------------------------------------- EEG page
