"""The page of a sweep: content, escaping, sorting in a browser."""

import re

import pandas as pd
import pytest
from sweep_worker import fake_job

from hbac_utils.sweeps.launcher import run_sweep
from hbac_utils.sweeps.report import SweepResults, read_results, write_report
from hbac_utils.utils.errors import InputError


def report_of(folder, **content):
    job = fake_job(folder, content)
    run_sweep(job)
    return write_report(SweepResults(job.study()))


def test_the_page_is_self_contained_and_escaped(tmp_path):
    title = "<script>alert(1)</script> & more"
    path = report_of(tmp_path, grid={"dropout": [0.1, 0.9, 0.2]}, title=title)
    page = path.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "alert(1)</script>" not in page
    assert "too &lt;b&gt;much&lt;/b&gt; dropout" in page
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:|//|/)", page)
    assert page.count("data:image/png;base64,") == 1 + 2, "the scores, and two trials' curves"
    assert "Lowest: dropout=0.1</strong> with 1.1000" in page
    table = pd.read_csv(path.with_name("results.csv"))
    assert table["state"].tolist() == ["complete", "failed", "complete"]
    assert table["error"][1] == "RuntimeError: too <b>much</b> dropout"
    assert table["prior_kl_all"][0] == 1.5


def test_the_page_of_a_search_shows_importances(tmp_path):
    space = {"dropout": {"low": 0.0, "high": 0.5}, "seed": {"choices": [0, 1]}}
    search = {"sampler": "random", "space": space}
    page = report_of(tmp_path, grid=None, search=search, budget={"trials": 8}).read_text()
    assert "Importances" in page
    assert page.count("data:image/png;base64,") == 1 + 1 + 8


def test_the_page_sorts_in_a_browser_and_fits_a_phone(tmp_path, browser):
    path = report_of(tmp_path, grid={"dropout": [0.3, 0.9, 0.15], "stages.0.batch_size": [16]})
    page = browser.new_page(viewport={"width": 390, "height": 844})
    requests, messages = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: messages.append(message.text))
    page.goto(path.as_uri())

    def sorted_by(heading: str) -> list[str]:
        page.get_by_role("button", name=heading, exact=True).click()
        return page.locator("table.trials tbody tr td:first-child").all_inner_texts()

    assert sorted_by("dropout") == ["2", "0", "1"]
    assert sorted_by("dropout") == ["1", "0", "2"]
    assert sorted_by("KL, all votes") == ["2", "0", "1"], "missing values come last"
    assert sorted_by("KL, all votes") == ["0", "2", "1"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert messages == []


def test_a_sweep_that_was_not_begun_has_no_page(tmp_path):
    plan = fake_job(tmp_path, {}).plan
    with pytest.raises(InputError, match="no sweep was begun there"):
        read_results(plan, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
