"""Sweeps whose trials are kernels on Kaggle, here a server on loopback."""

import json
import threading
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kaggle_server import Answer, KaggleServer, refusal
from kaggle_session import run_as_kaggle
from sweep_worker import FakeTraining

from hbac_utils.cli import main
from hbac_utils.data.layout import SLUG
from hbac_utils.sweeps import kaggle as kaggle_sweeps
from hbac_utils.sweeps import worker
from hbac_utils.sweeps.config import SweepPlan, load_sweep
from hbac_utils.sweeps.trials import TrialRun

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
    monkeypatch.setattr("hbac_utils.sweeps.trials.PERIOD", 0.02)
    monkeypatch.setattr("hbac_utils.kernels.api.FIRST_PAUSE", 0.001)
    return kaggle


@pytest.fixture
def write_sweep(tmp_path):
    """Write the file of a sweep of two trials."""

    def write(**changes) -> Path:
        content = {
            "name": "small", "recipe": "demo", "grid": {"dropout": [0.1, 0.2]}, "folds": [0],
            "objective": "kl_all",
        } | changes  # fmt: skip
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
        return path

    return write


@pytest.fixture
def sweep(write_sweep, tmp_path):
    """Run ``hbac sweep``; return the exit code and the table."""

    def call(*options: str, **changes) -> tuple[int, pd.DataFrame | None]:
        place = ["--out", str(tmp_path), "--poll-interval", "0.01", "--workers", "1"]
        code = main(["sweep", str(write_sweep(**changes)), "--kaggle", *place, *options])
        results = tmp_path / "small" / "results.csv"
        return code, pd.read_csv(results) if results.is_file() else None

    return call


def test_each_trial_is_pushed_awaited_and_downloaded(server, sweep, tmp_path, capsys):
    code, table = sweep()
    assert code == 0
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
        assert 'recipe = "demo"' in source
        assert 'run = "/kaggle/working"' in source
        assert "max_hours = 8" in source
    folder = tmp_path / "small" / "trials" / "000"
    assert (folder / "fold0" / "history.csv").is_file()
    assert (folder / "training.html").is_file()
    assert "hello" in (folder / "log.txt").read_text()
    printed = capsys.readouterr()
    assert KEY not in printed.out + printed.err
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]

    code, _ = sweep()
    assert code == 0
    assert "complete already" in capsys.readouterr().out
    assert len(server.named("SaveKernel")) == 2


@pytest.mark.parametrize("full", [Answer({"error": FULL}), refusal(400, FULL)])
def test_a_trial_waits_for_a_free_session(server, sweep, tmp_path, full):
    server.script["SaveKernel"] = [full, full]
    _, table = sweep()
    assert table["state"].tolist() == ["complete", "complete"]
    assert len(server.named("SaveKernel")) == 4
    log = (tmp_path / "small" / "trials" / "000" / "log.txt").read_text()
    assert FULL in log
    assert "waiting for a free session" in log


def test_another_refusal_fails_only_its_trial(server, sweep):
    server.script["SaveKernel"] = [Answer({"error": "Maximum weekly GPU quota of 30.00 hours."})]
    _, table = sweep()
    assert table["state"].tolist() == ["failed", "complete"]
    assert "weekly GPU quota" in table["error"][0]


def test_a_kernel_that_still_runs_is_not_pushed_again(server, sweep, write_sweep, tmp_path):
    server.states["alice/hbac-small-000/v1"] = "RUNNING"
    plan = SweepPlan(load_sweep(write_sweep()))
    job = kaggle_sweeps.prepare(plan, tmp_path, poll_interval=0.01)
    timer = threading.Timer(2.0, job.stop.touch)
    timer.start()
    worker.run_sweep(job)
    timer.join()
    assert job.study().trials()[0].state == "interrupted"
    assert len(server.named("SaveKernel")) == 1
    server.states.clear()
    _, table = sweep()
    assert table["state"].tolist() == ["complete", "complete"]
    slugs = [call.body["slug"] for call in server.named("SaveKernel")]
    assert slugs == ["alice/hbac-small-000", "alice/hbac-small-001"]


def test_a_failed_kernel_can_be_run_again(server, sweep, tmp_path):
    server.states["alice/hbac-small-001/v1"] = "ERROR"
    server.log = [{"stream_name": "stderr", "time": 1.0, "data": "InputError: no <b>votes</b>\n"}]
    _, table = sweep()
    assert table["state"].tolist() == ["complete", "failed"]
    assert "ended with ERROR: InputError: no <b>votes</b>" in table["error"][1]
    assert "<b>votes" not in (tmp_path / "small" / "report.html").read_text()
    _, table = sweep("--retry-failed")
    assert table["state"].tolist() == ["complete", "complete"]
    assert len(server.versions["alice/hbac-small-001"]) == 2


def test_a_session_that_was_too_short_fails_the_trial(server, sweep):
    _, table = sweep(folds=[0, 1, 2])
    assert table["state"].tolist() == ["failed", "failed"]
    assert "the 8 hours of its session were too short for all folds" in table["error"][0]
    assert len(server.named("SaveKernel")) == 2


def test_an_outage_is_waited_for(server, sweep):
    server.script["GetKernelSessionStatus"] = [refusal(503, "away")] * 9
    _, table = sweep()
    assert table["state"].tolist() == ["complete", "complete"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"recipe": "{own}"}, "recipe own: is not the one in recipes/"),
        ({"name": "a" * 45}, "title: String should have at most 50 characters"),
        ({"grid": {"backbone.width": [8, -8]}}, "backbone.compact.width"),
    ],
)
def test_what_cannot_be_pushed_is_refused_before_the_first_push(
    server, sweep, tmp_path, capsys, changes, reason
):
    own = tmp_path / "own.yaml"
    own.write_text(Path("recipes/demo.yaml").read_text())
    changes = {k: str(own) if v == "{own}" else v for k, v in changes.items()}
    code, _ = sweep(**changes)
    assert code == 2
    assert reason in capsys.readouterr().err
    assert not server.calls


def test_a_search_is_prepared_from_its_recipes(server, write_sweep, tmp_path):
    search = {"space": {"dropout": {"low": 0.0, "high": 0.5}}}
    path = write_sweep(grid=None, search=search, budget={"trials": 3})
    job = kaggle_sweeps.prepare(SweepPlan(load_sweep(path)), tmp_path)
    assert (job.folder / "recipes" / "demo.json").is_file()
    assert not server.calls


def test_dask_and_kaggle_exclude_each_other(server, sweep, capsys):
    code, _ = sweep("--dask", "tcp://127.0.0.1:1")
    assert code == 2
    assert "--dask, --kaggle: choose one of the two" in capsys.readouterr().err


class RunningServer(Server):
    """Runs a kernel as Kaggle does as soon as it is pushed."""

    def __init__(self, competition: Path, folder: Path):
        self.competition, self.folder = competition, folder
        self.threads: list[threading.Thread] = []
        self.at_once = self.most = 0
        super().__init__()

    def save_kernel(self, body: dict) -> dict:
        if self.at_once == 1:  # this account may have one session
            return {"error": FULL}
        kernel = f"{body['slug']}/v1"
        self.states[kernel] = "RUNNING"
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        thread = threading.Thread(target=self._run, args=(kernel, body["text"]))
        self.threads.append(thread)
        thread.start()
        return super().save_kernel(body)

    def _run(self, kernel: str, text: str) -> None:
        owner, slug, _ = kernel.split("/")
        place = self.folder / slug
        inputs = {f"competitions/{SLUG}": self.competition}
        self.outputs[f"{owner}/{slug}"] = place / "working"
        try:
            run_as_kaggle(text, place / "session", inputs, place / "working")
        except BaseException:
            self.states[kernel] = "ERROR"
            raise
        else:
            self.states[kernel] = "COMPLETE"
        finally:
            self.at_once -= 1


@pytest.mark.slow
def test_pushed_trials_train_on_kaggle(competition, tmp_path, sweep, monkeypatch, capsys):
    """Two worker processes, and an account with one session."""
    monkeypatch.setattr(kaggle_sweeps, "SESSION_WAIT", 1.0)
    server = RunningServer(competition.path, tmp_path / "kaggle")
    small = {
        "backbone.width": 8, "data.folds": 2, "stages.0.epochs": 1, "stages.0.warmup_epochs": 0,
    }  # fmt: skip
    with server.asked_by_this_process(tmp_path / "home", KEY):
        code, table = sweep("--workers", "2", "--poll-interval", "0.5", overrides=small)
    for thread in server.threads:
        thread.join()
    server.close()
    assert code == 0
    assert table["state"].tolist() == ["complete", "complete"], table["error"].tolist()
    assert server.most == 1
    assert table["epochs"].tolist() == [1, 1]
    assert (tmp_path / "small" / "trials" / "001" / "training.html").is_file()
