"""Sweeps whose trials are kernels on Kaggle, here a server on loopback."""

import json
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kaggle_server import Answer, KaggleServer, refusal
from sweep_worker import FakeTraining

from hbac_utils.cli import main
from hbac_utils.data.layout import SLUG
from hbac_utils.sweeps import kaggle as kaggle_sweeps
from hbac_utils.sweeps import launcher, worker
from hbac_utils.sweeps.config import Sweep, SweepPlan
from hbac_utils.sweeps.report import SweepResults
from hbac_utils.sweeps.worker import TrialRun
from hbac_utils.utils.errors import InputError

KEY = "00112233445566778899aabbccddeeff"
FULL = "Maximum batch GPU session count of 2 reached."


class Server(KaggleServer):
    """Kaggle with the state of each ``owner/slug/vN`` in ``states``."""

    def reset(self) -> None:
        super().reset()
        self.states: dict[str, str] = {}

    def get_kernel_session_status(self, body: dict) -> dict:
        kernel = self._version(body)
        return {"status": self.states.get(f"{kernel}/{body['versionLabel']}", "COMPLETE")}


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    server = Server()
    with server.asked_by_this_process(tmp_path_factory.mktemp("home"), KEY):
        yield server
    server.close()


@pytest.fixture
def server(kaggle, tmp_path, monkeypatch):
    """A server on which two kernels have the output of a training."""
    kaggle.reset()
    for number, dropout in enumerate((0.1, 0.2)):
        output = tmp_path / "output" / str(number)
        FakeTraining()(TrialRun(number, output, (0,), {"overrides": {"dropout": dropout}}))
        notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        (output / "__notebook__.ipynb").write_text(json.dumps(notebook))
        kaggle.outputs[f"alice/hbac-small-{number:03d}"] = output
    monkeypatch.setattr(kaggle_sweeps, "SESSION_WAIT", 0.01)
    monkeypatch.setattr("hbac_utils.sweeps.worker.PERIOD", 0.02)
    monkeypatch.setattr("hbac_utils.kernels.api.FIRST_PAUSE", 0.001)
    return kaggle


CONTENT = {
    "name": "small", "recipe": "compact", "grid": {"dropout": [0.1, 0.2]}, "folds": [0],
    "objective": "kl_all",
}  # fmt: skip


@pytest.fixture
def job_of(tmp_path):
    """Prepare a sweep of two trials."""

    def prepare(**changes) -> worker.SweepJob:
        plan = SweepPlan(Sweep(**CONTENT | changes))
        return kaggle_sweeps.prepare(plan, tmp_path, poll_interval=0.01)

    return prepare


def table_of(job: worker.SweepJob, retry_failed: bool = False) -> pd.DataFrame:
    launcher.run_sweep(job, retry_failed=retry_failed)
    return SweepResults(job.study()).table


def sweep_command(folder: Path, *options: object, **changes) -> list[str]:
    (folder / "small.yaml").write_text(yaml.safe_dump(CONTENT | changes))
    options = ["sweep", folder / "small.yaml", "--kaggle", "--out", folder, *options]
    return [str(option) for option in options]


def test_each_trial_is_pushed_awaited_and_downloaded(server, tmp_path, capsys):
    command = sweep_command(tmp_path, "--poll-interval", 0.01, "--workers", 1)
    assert main(command) == 0
    table = pd.read_csv(tmp_path / "small" / "results.csv")
    assert table["state"].tolist() == ["complete", "complete"]
    assert table["kl_all"].tolist() == pytest.approx([1.1, 1.2])
    pushed = [call.body for call in server.named("SaveKernel")]
    assert [body["slug"] for body in pushed] == ["alice/hbac-small-000", "alice/hbac-small-001"]
    for body, dropout in zip(pushed, (0.1, 0.2), strict=True):
        assert body["enableInternet"] is False
        assert body["competitionDataSources"] == [SLUG]
        cells = json.loads(body["text"])["cells"]
        tags = [cell["metadata"].get("tags") for cell in cells]
        source = "".join(cells[tags.index(["injected-parameters"])]["source"])
        assert f'overrides = {{"dropout": {dropout}}}' in source
        assert 'recipe = "compact"' in source
        assert 'run = "/kaggle/working"' in source
        assert "max_hours = 8" in source
    folder = tmp_path / "small" / "trials" / "000"
    assert (folder / "fold0" / "history.csv").is_file()
    assert (folder / "training.html").is_file()
    assert "hello" in (folder / "log.txt").read_text()
    printed = capsys.readouterr()
    assert KEY not in printed.out + printed.err
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]

    assert main(command) == 0
    assert "complete already" in capsys.readouterr().out
    assert len(server.named("SaveKernel")) == 2


def test_a_trial_waits_for_a_free_session(server, job_of):
    server.script["SaveKernel"] = [Answer({"error": FULL}), refusal(400, FULL)]
    job = job_of()
    assert table_of(job)["state"].tolist() == ["complete", "complete"]
    assert len(server.named("SaveKernel")) == 4
    log = (job.folder / "trials" / "000" / "log.txt").read_text()
    assert FULL in log
    assert "waiting for a free session" in log


def test_another_refusal_fails_only_its_trial(server, job_of):
    server.script["SaveKernel"] = [Answer({"error": "Maximum weekly GPU quota of 30.00 hours."})]
    table = table_of(job_of())
    assert table["state"].tolist() == ["failed", "complete"]
    assert "weekly GPU quota" in table["error"][0]


def test_a_kernel_that_still_runs_is_not_pushed_again(server, job_of):
    server.states["alice/hbac-small-000/v1"] = "RUNNING"
    job = job_of()

    def stop():
        while not server.named("SaveKernel"):
            time.sleep(0.05)
        job.stop.touch()

    threading.Thread(target=stop, daemon=True).start()
    assert table_of(job)["state"].tolist() == ["interrupted", "waiting"]
    assert len(server.named("SaveKernel")) == 1
    server.states.clear()
    assert table_of(job_of())["state"].tolist() == ["complete", "complete"]
    slugs = [call.body["slug"] for call in server.named("SaveKernel")]
    assert slugs == ["alice/hbac-small-000", "alice/hbac-small-001"]


def test_a_failed_kernel_can_be_run_again(server, job_of):
    server.states["alice/hbac-small-001/v1"] = "ERROR"
    server.log = [{"stream_name": "stderr", "time": 1.0, "data": "InputError: no votes\n"}]
    table = table_of(job_of())
    assert table["state"].tolist() == ["complete", "failed"]
    assert "ended with ERROR (InputError: no votes)" in table["error"][1]
    table = table_of(job_of(), retry_failed=True)
    assert table["state"].tolist() == ["complete", "complete"]
    assert len(server.versions["alice/hbac-small-001"]) == 2


def test_a_session_that_was_too_short_fails_the_trial(server, job_of):
    table = table_of(job_of(folds=[0, 1, 2]))
    assert table["state"].tolist() == ["failed", "failed"]
    assert "the 8 hours of its session were too short for all folds" in table["error"][0]


def test_an_outage_is_waited_for(server, job_of):
    server.script["GetKernelSessionStatus"] = [refusal(503, "away")] * 9
    assert table_of(job_of())["state"].tolist() == ["complete", "complete"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"recipe": "own.yaml"}, "recipe own: is not the one in recipes/"),
        ({"name": "a" * 45}, "title: String should have at most 50 characters"),
        ({"grid": {"backbone.width": [8, -8]}}, "backbone.derivations.width"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_the_first_push(
    server, job_of, tmp_path, changes, reason
):
    if "recipe" in changes:
        own = tmp_path / changes["recipe"]
        own.write_text(Path("recipes/compact.yaml").read_text())
        changes = {"recipe": str(own)}
    with pytest.raises(InputError, match=reason):
        job_of(**changes)
    assert not server.calls
