"""The window browser: options, navigation, and the figure without controls."""

import shutil
import sys

import pytest
from matplotlib.figure import Figure

from hbac_utils.data.competition import open_competition
from hbac_utils.eda import browser
from hbac_utils.eda.browser import ANY, Browser, Catalogue, browse
from hbac_utils.plots.style import new_figure

TITLES = [
    "GPD, proto · patient 7 · EEG 2 at 0 s",
    "LRDA, idealized · patient 8 · EEG 3 at 0 s",
    "Seizure, idealized · patient 7 · EEG 1 at 0 s",
    "LPD, edge · patient 7 · EEG 1 at 10 s",
]


@pytest.fixture
def quick(monkeypatch):
    """Pages with nothing but the title of their window."""
    monkeypatch.setattr(browser, "_draw_page", lambda _, row: new_figure(1.0, row["title"]))


def test_each_vote_vector_is_shown_once_and_many_votes_first(handmade):
    assert Catalogue(handmade.train).table["title"].tolist() == TITLES


def test_windows_are_selected_by_any_columns(handmade):
    catalogue = Catalogue(handmade.train)
    assert len(catalogue.select()) == 4
    assert len(catalogue.select(expert_consensus=ANY, patient_id=7)) == 3
    assert catalogue.select(agreement="edge", patient_id=7)["label_id"].tolist() == [3]
    assert catalogue.select(expert_consensus="GPD", patient_id=8).empty


def test_options_are_those_possible_with_the_other_filters(handmade):
    catalogue = Catalogue(handmade.train)
    assert catalogue.options("expert_consensus", patient_id=8, expert_consensus="GPD") == [
        ("any (1)", ANY), ("LRDA (1)", "LRDA"),
    ]  # fmt: skip
    assert catalogue.options("agreement", patient_id=7) == [
        ("any (3)", ANY), ("idealized (1)", "idealized"), ("proto (1)", "proto"),
        ("edge (1)", "edge"),
    ]  # fmt: skip
    assert catalogue.options("patient_id") == [("any (4)", ANY), ("7 (3)", 7), ("8 (1)", 8)]


def test_buttons_and_filters_change_the_page(handmade, quick):
    shown = Browser(handmade)
    first = bytes(shown.page.value)
    assert shown.message.value == "1 of 4"
    shown.next.click()
    assert shown.message.value == "2 of 4"
    assert bytes(shown.page.value) != first
    shown.previous.click()
    shown.previous.click()  # the first window has no previous one
    assert bytes(shown.page.value) == first

    shown.position.value = 4
    shown.filters["patient_id"].value = 8
    assert (shown.position.value, shown.position.max) == (1, 1)
    assert [value for _, value in shown.filters["expert_consensus"].options] == [ANY, "LRDA"]
    assert shown.selected["title"].tolist() == [TITLES[1]]


def test_an_unreadable_file_is_named_and_the_browser_goes_on(handmade, tmp_path):
    spoiled = open_competition(shutil.copytree(handmade.path, tmp_path / "spoiled"))
    spoiled.eeg_path("train", 2).unlink()
    shown = Browser(spoiled)
    assert "2.parquet: no such file" in shown.message.value
    assert not bytes(shown.page.value)
    shown.next.click()
    assert bytes(shown.page.value).startswith(b"\x89PNG")


def test_without_controls_the_first_window_is_drawn(handmade, quick, capsys, monkeypatch):
    page = browse(handmade)
    assert isinstance(page, Figure)
    assert page.get_suptitle() == TITLES[0]
    assert "open the notebook in Jupyter" in capsys.readouterr().out
    monkeypatch.setattr(browser, "is_live", lambda: True)
    assert browse(handmade).children
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert isinstance(browse(handmade), Figure)
    assert "pip install ipywidgets" in capsys.readouterr().out
