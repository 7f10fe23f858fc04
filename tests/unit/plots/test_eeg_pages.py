"""EEG pages of a recording: shades, seconds shown, gaps."""

from datetime import datetime

import numpy as np
import pytest
from figures import by_gid, texts, ticks
from matplotlib.colors import to_hex

from hbac_utils.montage import DOUBLE_BANANA, ELECTRODES
from hbac_utils.plots.eeg_pages import SHADES, explained_page

START = datetime(2024, 3, 2, 21, 14, 5)


@pytest.fixture
def eeg():
    return np.random.default_rng(0).normal(0, 20, (10_000, 19)).astype(np.float32)


def test_the_most_important_part_has_the_darkest_shade(eeg):
    importance = np.full((5, 10), -0.2)
    importance[1, 6] = 0.4
    figure = explained_page(eeg, importance, 100, None)
    shades = {
        patch.get_xy(): to_hex(patch.get_facecolor()) for patch in by_gid(figure, "importance")
    }
    assert len(shades) == 50
    dark = [xy for xy, color in shades.items() if color == SHADES[-1].lower()]
    assert dark == [(26, pytest.approx(4.8 - 0.8))], "the seventh second from 20 s, right temporal"
    assert set(shades.values()) == {SHADES[0].lower(), SHADES[-1].lower()}


def test_seconds_shown_and_their_clock(eeg):
    wide = explained_page(eeg, None, 100, START)
    narrow = explained_page(eeg, None, 100, START, narrow=True)
    assert wide.axes[0].get_xlim() == (15, 35)
    assert narrow.axes[0].get_xlim() == (20, 30)
    assert ticks(narrow.axes[0].xaxis)[0] == "21:16:05"  # 120 s after 21:14:05
    assert "negative is up" in wide.axes[0].get_xlabel()


def test_gaps_and_waves_of_a_loose_electrode_are_not_drawn(eeg):
    eeg[5_000:5_200] = np.nan
    eeg[4_200:4_300, ELECTRODES.index("Fz")] = 9_000
    figure = explained_page(eeg, None, 0, None)
    traces = {line.get_gid(): line.get_ydata() for line in figure.axes[0].lines}
    first = 3_000  # 15 s
    for name in DOUBLE_BANANA:
        assert np.isnan(traces[name][5_000 - first : 5_200 - first]).all()
    assert np.isnan(traces["Fz-Cz"][4_200 - first : 4_300 - first]).all()
    assert np.isfinite(traces["Cz-Pz"][4_200 - first : 4_300 - first]).any()
    assert any("µV" in text for text in texts(figure))
