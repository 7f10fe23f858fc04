"""The report page of a recording: its tables, texts and pictures, and its layout in Chromium."""

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from chromium import SIZES, faults

from hbac_utils.labels import CLASSES
from hbac_utils.montage import ELECTRODES
from hbac_utils.recipe import SHIPPED, SHIPPED_RUNS, load_recipe
from hbac_utils.recording import page
from hbac_utils.recording.page import write_page
from hbac_utils.recording.quality import FREQUENCIES

START = datetime(2024, 3, 2, 21, 14, 5)
BACKGROUND = (0.02, 0.02, 0.02, 0.02, 0.02, 0.9)
ANNOTATIONS = [(62.0, 0.0, "<script>alert(1)</script>"), (5.0, 12.0, "eyes closed" * 20)]


def segments(count: int, patterns: dict[range, str], unread: dict[range, str]) -> pd.DataFrame:
    """A table of segments: 90 % for Other, or for the pattern of a range."""
    table = pd.DataFrame(np.tile(BACKGROUND, (count, 1)), columns=list(CLASSES))
    for rows, pattern in patterns.items():
        table.loc[list(rows), list(CLASSES)] = 0.02
        table.loc[list(rows), pattern] = 0.9
    table["quality"] = ""
    for rows, quality in unread.items():
        table.loc[list(rows), "quality"] = quality
        if quality != "muscle":
            table.loc[list(rows), list(CLASSES)] = np.nan
    table.insert(0, "onset", 10.0 * np.arange(count))
    table.insert(1, "duration", 10.0)
    return table.assign(spread=np.nan)


def make_reading(table: pd.DataFrame, start: datetime | None = START, **changes):
    """What `write_page` needs of a `sliding.Reading`, without a model."""
    rng = np.random.default_rng(0)
    seconds = float(table["duration"].sum())

    def read(begin, end):
        times = np.arange(round(begin * 200), round(end * 200)) / 200
        eeg = rng.normal(0, 20, (len(times), len(ELECTRODES))).astype(np.float32)
        eeg[(times < 0) | (times >= seconds)] = np.nan
        return eeg

    facts = {
        "path": Path("/data/Jane Doe/night.edf"), "seconds": seconds, "start": start, "rate": 256.0,
        "interpolated": ("Fz", "T3"), "notes": ("one gap of 40 s",), "read": read,
        "annotations": pd.DataFrame(ANNOTATIONS, columns=["onset", "duration", "text"]),
    }  # fmt: skip
    importance = np.zeros((5, 10))
    importance[0, 3] = np.log(2)  # half of the probability
    spectra = rng.normal(5, 5, (len(table), 2, len(FREQUENCIES))).astype(np.float32)
    spectra[(table["quality"] == "gap").to_numpy()] = np.nan
    run = SHIPPED_RUNS / SHIPPED
    recipe = load_recipe(run / "recipe.json")
    return SimpleNamespace(
        recording=SimpleNamespace(**facts | changes), table=table, spectra=spectra,
        frequencies=FREQUENCIES, blend=None, step=10,
        runs=[SimpleNamespace(path=run, recipe=recipe, models={"fold0": None})],
        window=lambda segment: np.nan_to_num(read(10 * segment - 20, 10 * segment + 30)),
        window_begin=lambda segment: 10.0 * segment - 20,
        importance=lambda segment: importance,
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Two hours: a minute of seizure, ten minutes of LPD, gaps, muscle; two windows."""
    table = segments(
        720,
        {range(30, 36): "Seizure", range(400, 460): "LPD"},
        {range(100, 136): "gap", range(500, 509): "flat", range(600, 650): "muscle"},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page.summary, "choose_segments", lambda table: [32, 430])
        return write_page(make_reading(table), tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def soup(written) -> BeautifulSoup:
    return BeautifulSoup(written.read_text(), "html.parser")


def rows(soup: BeautifulSoup, name: str) -> list[list[str]]:
    """Texts of the cells of a table."""
    body = soup.select_one(f"table.{name} tbody")
    return [
        [cell.get_text(strip=True).replace("\xa0", " ") for cell in row(["th", "td"])]
        for row in body("tr")
    ]


def text(soup: BeautifulSoup) -> str:
    return " ".join(soup.get_text(" ").replace("\xa0", " ").split())


def test_events_are_those_of_the_recording(soup):
    assert rows(soup, "events") == [
        ["21:19:05", "0:05:00", "1 min", "Seizure", "90 %"],
        ["22:20:45", "1:06:40", "10 min", "LPD", "90 %"],
    ]


def test_burden_is_the_share_of_the_readable_segments_of_each_hour(soup):
    """6 of 324 readable segments; 60 of 351; together 6 and 60 of 675, 45 of 720 not read."""
    assert rows(soup, "burden") == [
        ["21:14–22:14", "2 %", "0 %", "0 %", "0 %", "0 %", "98 %", "10 %"],
        ["22:14–23:14", "0 %", "17 %", "0 %", "0 %", "0 %", "83 %", "2 %"],
        ["All", "<1 %", "9 %", "0 %", "0 %", "0 %", "90 %", "6 %"],
    ]


def test_patterns_are_named_as_in_the_terminology(soup):
    """A minute of seizure is a fifth of the worst five minutes."""
    assert rows(soup, "patterns")[:3] == [
        ["Seizure", "<1 %, rare", "1", "1 min at 21:19:05"],
        ["LPD", "9 %, occasional", "1", "10 min at 22:20:45"],
        ["GPD", "0 %", "0", "–"],
    ]
    assert "within any 5 minutes: 20 % (frequent)" in text(soup)
    assert "Could not be read: 6 % of the time (gap 5 %, flat 1 %)" in text(soup)
    assert "Marked with muscle: 7 % of the segments" in text(soup)


def test_windows_have_their_probabilities_and_what_drove_them(soup):
    first, second = soup("article")
    assert first.h3.get_text() == "1. Seizure 90\xa0%, 21:19:25 (0:05:20 from the start)"
    shares = [part.get_text(" ", strip=True) for part in first.select(".shares > div")]
    assert shares[0].split() == ["Seizure", "90", "%"]
    assert shares[5].split() == ["Other", "2", "%"]
    reason = "Darkest: left temporal, second 4 of 10; without it LPD has 45 % instead of 90 %."
    assert reason in text(second)


def test_header_names_file_electrodes_model_and_purpose(soup, written):
    assert soup.h1.get_text() == "night.edf"
    assert "Jane Doe" not in written.read_text()
    for phrase in (
        "Research use only; not a medical device.", "Fz, T3: not in the file", "256 Hz",
        "one gap of 40 s", "2 March 2024, 21:14:05", "2 h", "it has never seen a real EEG",
        "highest probability is 59 % in the mean, and its class got 59 % of the votes",
        "better than 2 experts, worse than 3 experts",
    ):  # fmt: skip
        assert phrase in text(soup)


def test_texts_of_the_file_are_escaped_and_sorted_by_time(soup, written):
    assert not soup("script")
    first, second = rows(soup, "annotations")
    assert first[:3] == ["1", "21:14:10", "12 s"]
    assert second == ["2", "21:15:07", "–", "<script>alert(1)</script>"]


def test_nothing_is_loaded_from_elsewhere(soup, written):
    html = written.read_text()
    assert "http:" not in html
    assert "https:" not in html
    assert (
        "default-src 'none'"
        in soup.select_one('meta[http-equiv="Content-Security-Policy"]')["content"]
    )
    sources = [image["src"] for image in soup("img")]
    assert len(sources) == 2 * (1 + 2), "overview and two windows, for desk and phone"
    assert all(source.startswith("data:image/png;base64,") for source in sources)


def test_a_recording_of_fifty_seconds_without_start(tmp_path):
    reading = make_reading(
        segments(5, {}, {}), start=None, interpolated=(), notes=(),
        annotations=pd.DataFrame(columns=["onset", "duration", "text"]),
    )  # fmt: skip
    soup = BeautifulSoup(write_page(reading, tmp_path).read_text(), "html.parser")
    assert rows(soup, "burden") == [["0:00:00–0:00:50", *["0 %"] * 5, "100 %", "0 %"]]
    assert not soup.select("table.events")
    for phrase in ("50 s", "Interpolated electrodes none", "The file has no annotations"):
        assert phrase in text(soup)
    assert len(soup("article")) == 1


def test_a_recording_that_cannot_be_read_at_all(tmp_path):
    reading = make_reading(segments(12, {}, {range(12): "gap"}))
    soup = BeautifulSoup(write_page(reading, tmp_path).read_text(), "html.parser")
    assert rows(soup, "burden") == [["21:14:05–21:16:05", *["–"] * 6, "100 %"]]
    assert "No segment could be read." in text(soup)
    assert not soup("article")


def test_spread_between_models_is_told(tmp_path):
    table = segments(5, {}, {}).assign(spread=[0.01, 0.02, 0.05, 0.06, 0.3])
    words = text(
        BeautifulSoup(write_page(make_reading(table), tmp_path).read_text(), "html.parser")
    )
    assert "is 5 % in the median segment" in words
    assert "Spread between the models: " in words


def test_parts_that_change_little_or_nothing():
    small = np.eye(5, 10) * [[1], [2], [3], [4], [6]] * 1e-4
    words = page._reason(small, "GPD", 0.9).replace("\xa0", " ")
    assert words.startswith("Darkest: midline, second 5 of 10; without it GPD keeps its 90 %.")
    assert words.endswith("The largest share of the importance, 38 %, is midline.")  # 6 of 16
    assert page._reason(np.full((5, 10), -0.1), "GPD", 0.9).startswith("Nothing is shaded")


# ---------------------------------------------------------------- in Chromium


@pytest.mark.parametrize("device", SIZES)
def test_a_page_fits_the_screen(written, browser, device):
    assert faults(browser, written, device) == []
