"""Events, burden and choice of segments, against tables worked out by hand."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from hbac_utils.labels import CLASSES
from hbac_utils.recording.events import (
    choose_segments,
    find_events,
    hourly_burden,
    leading_class,
    name_share,
    peak_seizure_burden,
    summarize,
    szcore_table,
)


def segments(classes: str, probability: float = 0.75, step: float = 10) -> pd.DataFrame:
    """Make a table from letters: S, L (LPD), G (GPD), R (LRDA), A (GRDA), O, and - for unread."""
    table = pd.DataFrame({"onset": step * np.arange(len(classes)), "duration": step})
    rest = (1 - probability) / 5
    for letter, name in zip("SLGRAO", CLASSES, strict=True):
        table[name] = [
            np.nan if c == "-" else probability if c == letter else rest for c in classes
        ]
    return table


def test_neighbouring_segments_of_a_pattern_are_one_event():
    table = segments("OSSSO-LLSO")
    table.loc[2, "Seizure"] = 0.9
    events = find_events(table)
    assert events["pattern"].tolist() == ["Seizure", "LPD", "Seizure"]
    assert events["onset"].tolist() == [10, 60, 80]
    assert events["duration"].tolist() == [30, 20, 10]
    assert events["confidence"].tolist() == pytest.approx([0.8, 0.75, 0.75])


def test_neighbours_count_half_of_an_segment():
    """Single segments between others need twice the log odds of each neighbour."""
    table = segments("OOSOO")
    table.loc[2, ["Seizure", "Other"]] = [0.7, 0.1]
    assert leading_class(table).tolist() == ["Other"] * 5
    table.loc[2, ["Seizure", "Other"]] = [0.8, 0.02]
    assert leading_class(table).tolist() == ["Other", "Other", "Seizure", "Other", "Other"]
    assert leading_class(segments("OO-SS")).tolist() == ["Other", "Other", "", "Seizure", "Seizure"]


def test_an_segment_that_could_not_be_read_ends_an_event():
    assert find_events(segments("SS-S"))["duration"].tolist() == [20, 10]
    assert leading_class(segments("S-")).tolist() == ["Seizure", ""]
    assert find_events(segments("OO--")).empty


def test_burden_is_the_share_of_the_readable_time():
    burden = hourly_burden(segments("S" * 36 + "O" * 108 + "-" * 216 + "GGGG" + "-" * 36))
    assert burden.index.tolist() == [0, 1, "all"]
    assert burden.loc[0, "Seizure"] == 36 / 144
    assert burden.loc[0, "unread"] == 216 / 360
    assert burden.loc[1, "GPD"] == 1
    assert burden.loc[1, "unread"] == 36 / 40
    assert burden.loc["all", "Seizure"] == 36 / 148
    assert burden[list(CLASSES)].sum(axis=1).tolist() == pytest.approx([1, 1, 1])


def test_an_hour_without_readable_segments_has_no_burden():
    burden = hourly_burden(segments("-" * 360 + "O"))
    assert burden.loc[0, list(CLASSES)].isna().all()
    assert burden.loc[0, "unread"] == 1


def test_the_last_segment_counts_by_its_duration():
    table = segments("OS")
    table.loc[1, "duration"] = 5
    assert hourly_burden(table).loc["all", "Seizure"] == pytest.approx(5 / 15)


def test_peak_burden_is_that_of_the_first_worst_five_minutes():
    share, onset = peak_seizure_burden(segments("S" * 5 + "O" * 60 + "S" * 3 + "O" * 7 + "S" * 6))
    assert (share, onset) == (pytest.approx(9 / 30), 510)
    assert peak_seizure_burden(segments("O" * 40))[0] == 0
    assert peak_seizure_burden(segments("SSO"))[0] == pytest.approx(2 / 3), "a short recording"
    assert peak_seizure_burden(segments("S" * 50))[0] == 1


@pytest.mark.parametrize(
    ("share", "name"),
    [(0, "none"), (0.009, "rare"), (0.01, "occasional"), (0.1, "frequent"), (0.49, "frequent"),
     (0.5, "abundant"), (0.9, "continuous"), (1, "continuous")],
)  # fmt: skip
def test_names_of_shares(share, name):
    assert name_share(share) == name


def test_summary_by_pattern():
    summary = summarize(segments("GGOOSSSO-G"))
    assert summary.index.tolist() == ["Seizure", "LPD", "GPD", "LRDA", "GRDA"]
    assert summary["share"].tolist() == pytest.approx([3 / 9, 0, 3 / 9, 0, 0])
    assert summary["term"].tolist() == ["frequent", "none", "frequent", "none", "none"]
    assert summary["events"].tolist() == [1, 0, 2, 0, 0]
    assert summary.loc[["Seizure", "GPD"], "longest"].tolist() == [30, 20]
    assert summary.loc[["Seizure", "GPD"], "onset"].tolist() == [40, 0]
    assert summary.loc["LPD", ["longest", "onset"]].isna().all()


def test_segments_are_chosen_pattern_by_pattern_and_apart():
    table = segments("SSSOOOOOOOLOOOOOOOSO")
    table.loc[1, "Seizure"] = 0.95
    table.loc[18, "Seizure"] = 0.7
    chosen = choose_segments(table, 4)
    assert chosen[:3] == [1, 10, 18], "seizure, LPD, then the next seizure a minute away"
    assert len(chosen) == len(set(chosen))
    assert np.diff(sorted(table["onset"][chosen])).min() >= 60
    assert choose_segments(segments("---")) == []


def test_szcore_rows():
    start = datetime(2026, 3, 4, 5, 6, 7)
    table = szcore_table(find_events(segments("OSLLO")), 50.0, start)
    assert table.columns.tolist() == [
        "onset", "duration", "eventType", "confidence", "channels", "dateTime",
        "recordingDuration",
    ]  # fmt: skip
    assert table["eventType"].tolist() == ["sz", "lpd"]
    assert table["dateTime"].tolist() == ["2026-03-04 05:06:07"] * 2
    empty = szcore_table(find_events(segments("OO")), 20.0, None)
    assert empty[["onset", "duration", "eventType"]].to_numpy().tolist() == [[0, 20, "bckg"]]
