"""What the browser offers and shows, with controls and without."""

import sys

import numpy as np
import pandas as pd
import pytest
from jupyter_client.manager import start_new_kernel
from matplotlib.figure import Figure

from hbac_utils.eda import browser
from hbac_utils.eda.browser import ANY, Browser, Catalogue, browse
from hbac_utils.labels import VOTE_COLUMNS, consensus
from hbac_utils.plots.style import new_figure
from hbac_utils.utils import interactive as frontend
from hbac_utils.utils.interactive import LiveFigure

PNG = b"\x89PNG"


@pytest.fixture
def catalogue():
    votes = np.array(
        [
            [3, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0, 0],  # the same EEG and votes: not shown again
            [0, 0, 12, 0, 0, 0],
            [0, 0, 6, 0, 0, 5],
            [0, 0, 0, 0, 0, 4],
        ]
    )
    table = pd.DataFrame(votes, columns=list(VOTE_COLUMNS)).assign(
        eeg_id=[10, 10, 11, 11, 12],
        patient_id=[1, 1, 2, 2, 1],
        eeg_label_offset_seconds=[0.0, 2.0, 4.0, 6.0, 0.0],
        expert_consensus=consensus(votes),
    )
    return Catalogue(table)


def test_the_catalogue_has_each_vote_vector_once_and_many_votes_first(catalogue):
    assert catalogue.table["eeg_label_offset_seconds"].tolist() == [4, 6, 0, 0]
    assert catalogue.table["title"].tolist() == [
        "GPD, idealized · patient 2 · EEG 11 at 4 s",
        "GPD, proto · patient 2 · EEG 11 at 6 s",
        "Other, idealized · patient 1 · EEG 12 at 0 s",
        "Seizure, idealized · patient 1 · EEG 10 at 0 s",
    ]


def test_windows_are_selected_by_any_columns(catalogue):
    assert len(catalogue.select()) == 4
    assert len(catalogue.select(expert_consensus=ANY, patient_id=1)) == 2
    found = catalogue.select(expert_consensus="GPD", agreement="proto", patient_id=2)
    assert found["eeg_label_offset_seconds"].tolist() == [6]
    assert catalogue.select(expert_consensus="GPD", patient_id=1).empty


def test_options_are_those_that_lead_somewhere(catalogue):
    assert catalogue.options("expert_consensus") == [
        ("any (4)", ANY), ("Seizure (1)", "Seizure"), ("GPD (2)", "GPD"), ("Other (1)", "Other"),
    ]  # fmt: skip
    assert catalogue.options("agreement", expert_consensus="GPD", agreement="proto") == [
        ("any (2)", ANY), ("idealized (1)", "idealized"), ("proto (1)", "proto"),
    ]  # fmt: skip
    assert catalogue.options("patient_id", agreement="proto") == [("any (1)", ANY), ("2 (1)", 2)]


@pytest.fixture
def quick(monkeypatch):
    """Pages that name their window instead of drawing it."""
    monkeypatch.setattr(browser, "_draw_page", lambda _, row: new_figure(1.0, row["title"]))


def test_the_controls_follow_each_other(own_competition, quick):
    shown = Browser(own_competition)
    everything = Catalogue(own_competition.train).table
    first = bytes(shown.page.value)
    assert first.startswith(PNG)
    assert shown.message.value == f"1 of {len(everything)}"

    shown.next.click()
    assert shown.message.value == f"2 of {len(everything)}"
    assert bytes(shown.page.value) != first
    shown.previous.click()
    shown.previous.click()  # there is nothing before the first
    assert bytes(shown.page.value) == first

    shown.position.value = len(everything)
    shown.filters["expert_consensus"].value = "Other"
    others = everything[everything["expert_consensus"] == "Other"]
    assert shown.position.value == 1
    assert shown.position.max == len(others)
    offered = [value for _, value in shown.filters["patient_id"].options]
    assert offered[0] == ANY
    assert set(offered[1:]) == set(others["patient_id"])

    patient = offered[1]
    shown.filters["patient_id"].value = patient
    assert (shown.selected["patient_id"] == patient).all()
    absent = set(everything["expert_consensus"]) - set(
        everything.loc[everything["patient_id"] == patient, "expert_consensus"]
    )
    assert absent.isdisjoint(v for _, v in shown.filters["expert_consensus"].options)


def test_a_file_that_cannot_be_read_is_named_and_the_browser_goes_on(own_competition):
    first, second = Catalogue(own_competition.train).table["eeg_id"].unique()[:2]
    own_competition.eeg_path("train", first).unlink()
    shown = Browser(own_competition)
    assert f"{first}.parquet: no such file" in shown.message.value
    assert not bytes(shown.page.value)
    shown.position.value = 1 + int((shown.selected["eeg_id"] == second).to_numpy().argmax())
    assert bytes(shown.page.value).startswith(PNG)


def test_without_a_front_end_the_first_window_is_shown(competition, quick, capsys):
    page = browse(competition)
    assert isinstance(page, Figure)
    assert page.get_suptitle() == Catalogue(competition.train).table["title"].iloc[0]
    assert "open the notebook in Jupyter" in capsys.readouterr().out


def test_without_ipywidgets_the_first_window_is_shown(competition, quick, capsys, monkeypatch):
    monkeypatch.setattr(browser, "is_live", lambda: True)
    assert browse(competition).children
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    assert isinstance(browse(competition), Figure)
    assert "pip install ipywidgets" in capsys.readouterr().out


def test_a_live_figure_takes_a_small_share_of_the_time(monkeypatch, capsys):
    clock, drawn = [100.0], []

    def draw(data):
        clock[0] += 1  # a second to draw
        drawn.append(data)
        return new_figure(1.0)

    monkeypatch.setattr(frontend.time, "monotonic", lambda: clock[0])
    watched = LiveFigure(draw)
    watched("nobody watches")
    assert drawn == []
    monkeypatch.setattr(frontend, "is_live", lambda: True)
    for now in (200, 205, 222, 230):
        clock[0] = max(clock[0], now)
        watched(now)
    assert drawn == [200, 222]  # drawing took a second: twenty go by without


def test_a_kernel_knows_whether_somebody_asked():
    """A front end offers to ask its user something; papermill and nbconvert do not."""
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        said = []
        for allow in (True, False):
            client.execute_interactive(
                "from hbac_utils.utils.interactive import is_live\nprint(is_live())",
                allow_stdin=allow,
                stdin_hook=print,
                output_hook=lambda message: said.append(message["content"].get("text")),
                timeout=60,
            )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert [text.strip() for text in said if text] == ["True", "False"]
