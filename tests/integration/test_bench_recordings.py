"""Scoring of simulated recordings, against figures worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from hbac_utils.labels import CLASSES
from hbac_utils.recording.events import find_events, szcore_table


@pytest.fixture(scope="module")
def bench():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend("benchmarks")
        import recordings

        yield recordings


def events(*rows) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["onset", "duration", "eventType"])


def test_events_and_seconds_are_counted(bench):
    truth = events((100, 60, "sz"), (1000, 80, "sz"), (2000, 100, "lpd"))
    predicted = events(
        (90, 40, "sz"),  # begins too early: found, 10 s false
        (1500, 20, "sz"),  # false
        (2020, 80, "lpd"), (1010, 10, "gpd"),  # another pattern
    )  # fmt: skip
    counts = bench.count(truth, predicted, 3600)
    assert counts.loc[("Seizure", "event")].tolist() == [2, 1, 1]
    assert counts.loc[("Seizure", "time")].tolist() == [140, 30, 30]
    assert counts.loc[("LPD", "time")].tolist() == [100, 80, 0]
    assert counts.loc[("GPD", "event")].tolist() == [0, 0, 1]
    assert counts.loc[("GRDA", "time")].tolist() == [0, 0, 0]
    table = bench.rates([counts, counts], hours=2)
    seizures = table.loc[("Seizure", "event")]
    assert seizures.tolist() == [4, 0.5, 0.5, 1]
    assert table.loc[("Seizure", "time"), "sensitivity"] == pytest.approx(30 / 140)
    assert np.isnan(table.loc[("GPD", "event"), "sensitivity"])


def test_outputs_that_disagree_are_found(bench, tmp_path):
    values = np.full((12, 6), 0.02)
    values[:, -1], values[3:6, 0], values[3:6, -1] = 0.9, 0.9, 0.02
    table = pd.DataFrame(values, columns=list(CLASSES))
    table.insert(0, "onset", 10.0 * np.arange(12))
    table.insert(1, "duration", 10.0)
    table.to_parquet(tmp_path / "probabilities.parquet")
    found = szcore_table(find_events(table), 120, None)
    found.to_csv(tmp_path / "events.tsv", sep="\t", index=False)
    row = "<tr><td>0:00:30</td><td>30 s</td><td><span>x</span> Seizure</td><td>90 %</td></tr>"
    page = '<table class="events"><tr><th>a</th></tr>{}</table><table><tr><td>b</td></tr></table>'
    (tmp_path / "report.html").write_text(page.format(row))
    with pytest.raises(AssertionError):  # the text of the pattern is another
        bench.check_outputs(tmp_path, table, 120)
    (tmp_path / "report.html").write_text(page.format(row.replace("<span>x</span> ", "")))
    bench.check_outputs(tmp_path, table, 120)
    found.assign(onset=40.0).to_csv(tmp_path / "events.tsv", sep="\t", index=False)
    with pytest.raises(AssertionError):
        bench.check_outputs(tmp_path, table, 120)
