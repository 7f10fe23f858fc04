"""The window browser: list, filters, and the figure without controls."""

import shutil

import pytest
from matplotlib.figure import Figure

from hbac_utils.data.competition import open_competition
from hbac_utils.eda import browser
from hbac_utils.eda.browser import ANY, browse

TITLES = [
    "GPD, proto · patient 7 · EEG 2 at 0 s",
    "LRDA, idealized · patient 8 · EEG 3 at 0 s",
    "Seizure, idealized · patient 7 · EEG 1 at 0 s",
    "LPD, edge · patient 7 · EEG 1 at 10 s",
]


@pytest.fixture
def shown(monkeypatch):
    """Titles of the windows whose pages would be drawn, in a live notebook."""
    titles = []
    monkeypatch.setattr(browser, "is_live", lambda: True)
    monkeypatch.setattr(browser, "_page", lambda _, row: titles.append(row["title"]))
    return titles


def test_windows_are_listed_with_most_votes_first_and_filtered(handmade, shown):
    filters, windows, _ = browse(handmade).children
    of_class, kind, patient = filters.children
    assert [title for title, _ in windows.options] == TITLES
    patient.value = 7
    assert [title for title, _ in windows.options] == [TITLES[0], *TITLES[2:]]
    kind.value = "edge"
    assert shown == [TITLES[0], TITLES[3]]
    kind.value = ANY
    windows.index = 1
    assert shown[2:] == [TITLES[0], TITLES[2]]
    of_class.value = "LRDA"
    assert (windows.options, windows.description) == ((), "0")


def test_an_unreadable_file_is_named_and_the_browser_goes_on(
    handmade, tmp_path, monkeypatch, capsys
):
    spoiled = open_competition(shutil.copytree(handmade.path, tmp_path / "spoiled"))
    spoiled.eeg_path("train", 2).write_bytes(b"PAR1")
    monkeypatch.setattr(browser, "is_live", lambda: True)
    windows = browse(spoiled).children[1]
    assert "2.parquet: not a readable parquet file" in capsys.readouterr().out
    windows.index = 1
    assert "Figure" in capsys.readouterr().out


def test_without_controls_the_first_window_is_drawn(handmade, capsys):
    page = browse(handmade)
    assert isinstance(page, Figure)
    assert page.get_suptitle() == TITLES[0]
    assert "open the notebook in Jupyter" in capsys.readouterr().out
