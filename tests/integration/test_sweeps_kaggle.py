"""Sweeps whose trials are kernels on Kaggle, which is a server on the loopback here."""

import json
import re
import shutil
import threading
from pathlib import Path

import pandas as pd
import pytest
import yaml
from kaggle_server import Answer, KaggleServer, refusal
from kaggle_session import run_as_kaggle

from hbac_utils.cli import main
from hbac_utils.data.layout import SLUG
from hbac_utils.sweeps import kaggle as kernels
from hbac_utils.sweeps import worker as workers
from hbac_utils.sweeps.config import load_sweep
from hbac_utils.sweeps.jobs import trial_folder
from hbac_utils.sweeps.plan import Plan

KEY = "00112233445566778899aabbccddeeff"
FULL = "Maximum batch GPU session count of 2 reached."


class Server(KaggleServer):
    """Kaggle, whose versions are in the state that ``ends`` says, by ``owner/slug/vN``."""

    def reset(self) -> None:
        super().reset()
        self.ends: dict[str, str] = {}

    def get_kernel_session_status(self, body: dict) -> dict:
        kernel = self._version(body)
        return {"status": self.ends.get(f"{kernel}/{body['versionLabel']}", "COMPLETE")}


@pytest.fixture(scope="module")
def kaggle(tmp_path_factory):
    server = Server()
    with server.asked_by_this_process(tmp_path_factory.mktemp("home"), KEY):
        yield server
    server.close()


@pytest.fixture
def server(kaggle, run, tmp_path, monkeypatch):
    """A server on which two trials leave what a real training left."""
    kaggle.reset()
    output = tmp_path / "output"
    shutil.copytree(run, output)
    notebook = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (output / "__notebook__.ipynb").write_text(json.dumps(notebook))
    for number in range(2):
        kaggle.outputs[f"alice/hbac-small-{number:03d}"] = output
    monkeypatch.setattr(kernels, "BUSY", 0.01)
    monkeypatch.setattr(workers, "PERIOD", 0.01)
    return kaggle


@pytest.fixture
def written(tmp_path):
    """Write the file of a sweep of two trials."""

    def write(**changes) -> Path:
        content = {
            "name": "small", "recipe": "demo", "grid": {"dropout": [0.1, 0.2]}, "folds": [0],
            "objective": "kl_all",
        }  # fmt: skip
        content = {k: v for k, v in (content | changes).items() if v is not None}
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.fixture
def sweep(written, tmp_path):
    """Run a sweep by the verb; returns the exit code and the table."""

    def call(*options: str, **changes) -> tuple[int, pd.DataFrame | None]:
        place = ["--out", str(tmp_path / "sweeps"), "--poll-interval", "0.01", "--workers", "1"]
        code = main(["sweep", str(written(**changes)), "--kaggle", *place, *options])
        results = tmp_path / "sweeps" / "small" / "results.csv"
        return code, pd.read_csv(results) if results.is_file() else None

    return call


def test_each_trial_is_pushed_waited_for_and_fetched(server, sweep, run, tmp_path, capsys):
    code, table = sweep()
    assert code == 0
    assert table["state"].tolist() == ["complete", "complete"]
    score = json.loads((run / "metrics.json").read_text())["scores"]["model"]["kl_all"]
    assert table["kl_all"].tolist() == pytest.approx([score, score])
    sent = [call.body for call in server.named("SaveKernel")]
    assert [body["slug"] for body in sent] == ["alice/hbac-small-000", "alice/hbac-small-001"]
    for body, dropout in zip(sent, (0.1, 0.2), strict=True):
        assert body["enableInternet"] is False
        assert body["competitionDataSources"] == [SLUG]
        source = "".join(_injected(body["text"]))
        assert f'overrides = {{"dropout": {dropout}}}' in source
        assert 'recipe = "demo"' in source
        assert 'run = "/kaggle/working"' in source
        assert "max_hours = 8" in source
    folder = trial_folder(tmp_path / "sweeps" / "small", 0)
    assert (folder / "fold0" / "model.weights.h5").is_file()
    assert (folder / "training.html").is_file()
    assert "hello" in (folder / "log.txt").read_text()
    printed = capsys.readouterr()
    assert KEY not in printed.out + printed.err
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]

    # of a finished sweep nothing is pushed
    code, _ = sweep()
    assert code == 0
    assert "complete already" in capsys.readouterr().out
    assert len(server.named("SaveKernel")) == 2


def _injected(text: str) -> str:
    cells = json.loads(text)["cells"]
    found = [c for c in cells if c["metadata"].get("tags") == ["injected-parameters"]]
    return found[0]["source"]


@pytest.mark.parametrize("full", [Answer({"error": FULL}), refusal(400, FULL)])
def test_a_trial_waits_for_a_free_session(server, sweep, tmp_path, full):
    server.script["SaveKernel"] = [full, full]
    code, table = sweep()
    assert code == 0
    assert table["state"].tolist() == ["complete", "complete"]
    assert len(server.named("SaveKernel")) == 4
    log = (trial_folder(tmp_path / "sweeps" / "small", 0) / "log.txt").read_text()
    assert f"{FULL}" in log
    assert "waiting for one to end" in log


def test_what_kaggle_refuses_otherwise_fails_the_trial_alone(server, sweep):
    server.script["SaveKernel"] = [Answer({"error": "Maximum weekly GPU quota of 30.00 hours."})]
    _, table = sweep()
    assert table["state"].tolist() == ["failed", "complete"]
    assert "weekly GPU quota" in table["error"][0]


def test_a_trial_that_was_left_is_not_pushed_again(server, sweep, written, tmp_path):
    server.ends["alice/hbac-small-000/v1"] = "RUNNING"
    job = kernels.prepare(Plan(load_sweep(written())), tmp_path / "sweeps", every=0.01)
    stop = threading.Timer(2.0, job.stop.touch)
    stop.start()
    workers.run(job, 1)
    stop.join()
    assert job.study().slots()[0].state == "interrupted"
    assert len(server.named("SaveKernel")) == 1
    server.ends.clear()
    _, table = sweep()
    assert table["state"].tolist() == ["complete", "complete"]
    slugs = [call.body["slug"] for call in server.named("SaveKernel")]
    assert slugs == ["alice/hbac-small-000", "alice/hbac-small-001"]


def test_a_kernel_that_fails_can_be_tried_again(server, sweep, tmp_path):
    server.ends["alice/hbac-small-001/v1"] = "ERROR"
    server.log = [{"stream_name": "stderr", "time": 1.0, "data": "InputError: no <b>votes</b>\n"}]
    _, table = sweep()
    assert table["state"].tolist() == ["complete", "failed"]
    assert "ended with ERROR: InputError: no <b>votes</b>" in table["error"][1]
    assert "<b>votes" not in (tmp_path / "sweeps" / "small" / "report.html").read_text()
    _, table = sweep("--retry-failed")
    assert table["state"].tolist() == ["complete", "complete"]
    assert len(server.versions["alice/hbac-small-001"]) == 2


def test_a_session_that_was_too_short_is_said(server, sweep):
    _, table = sweep(folds=[0, 1, 2])
    assert table["state"].tolist() == ["failed", "failed"]
    assert "the 8 hours of its session were too few for all folds" in table["error"][0]
    assert len(server.named("SaveKernel")) == 2


def test_an_outage_is_waited_for(server, sweep, monkeypatch):
    monkeypatch.setattr("hbac_utils.kernels.api.FIRST_PAUSE", 0.001)
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
def test_what_cannot_be_pushed_is_refused_before_anything_is(
    server, sweep, tmp_path, capsys, changes, reason
):
    own = tmp_path / "own.yaml"
    own.write_text(Path("recipes/demo.yaml").read_text())
    changes = {k: str(own) if v == "{own}" else v for k, v in changes.items()}
    code, _ = sweep(**changes)
    assert code == 2
    assert reason in capsys.readouterr().err
    assert not server.calls


def test_a_search_is_checked_by_its_recipes(server, written, tmp_path):
    search = {"space": {"dropout": {"low": 0.0, "high": 0.5}}}
    path = written(grid=None, search=search, budget={"trials": 3})
    job = kernels.prepare(Plan(load_sweep(path)), tmp_path / "sweeps")
    assert (job.folder / "recipes" / "demo.json").is_file()
    assert not server.calls


def test_dask_and_kaggle_exclude_each_other(server, sweep, capsys):
    code, _ = sweep("--dask", "tcp://127.0.0.1:1")
    assert code == 2
    assert "--dask, --kaggle: choose one of the two" in capsys.readouterr().err


def test_a_lost_answer_to_many_questions_fails_the_trial(server, sweep, monkeypatch):
    monkeypatch.setattr("hbac_utils.kernels.api.FIRST_PAUSE", 0.001)
    monkeypatch.setattr(kernels, "DEAF", 2)
    server.script["GetKernelSessionStatus"] = [refusal(503, "away")] * 8
    _, table = sweep()
    assert table["state"].tolist() == ["failed", "complete"]
    assert re.search("away.*503", table["error"][0])


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
        self.ends[kernel] = "RUNNING"
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
            self.ends[kernel] = "ERROR"
            raise
        else:
            self.ends[kernel] = "COMPLETE"
        finally:
            self.at_once -= 1


@pytest.mark.slow
def test_pushed_trials_train_on_kaggle(competition, tmp_path, sweep, monkeypatch, capsys):
    """Two workers in processes of their own, and an account that may have one session."""
    monkeypatch.setattr(kernels, "BUSY", 1.0)
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
    assert (tmp_path / "sweeps" / "small" / "trials" / "001" / "training.html").is_file()
