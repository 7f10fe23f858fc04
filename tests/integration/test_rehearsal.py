"""The rehearsal: counts of the real competition, a journal of steps, limits, and the whole road."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from hbac_utils.utils.errors import InputError

PROGRAM = Path("benchmarks/rehearsal.py").resolve()


@pytest.fixture(scope="module")
def rehearsal():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PROGRAM.parent))
        import rehearsal

        yield rehearsal


def test_the_full_size_is_the_competitions(rehearsal, tmp_path):
    steps = rehearsal.plan(rehearsal.SIZES["full"], tmp_path)
    given = dict(zip(steps[0].command[1::2], steps[0].command[2::2], strict=False))
    assert (given["--eegs"], given["--patients"], given["--test-eegs"]) == ("17089", "1950", "2700")
    assert "--uncut" in steps[0].command
    assert [step.command[0] for step in steps] == [
        "synth", "eda", "pack", "pack", "train", "pack", "train", "train", "scores", "blend",
        "infer", "score",
    ]  # fmt: skip
    assert [step.name for step in steps if step.cold] == ["inference, cold"]
    assert [step.name for step in steps if not step.kaggle] == ["simulate"]


@pytest.fixture
def journal(rehearsal, tmp_path, monkeypatch):
    """Run steps that only show the version, or fail; returns the journal's rows."""
    monkeypatch.setattr(rehearsal, "report", lambda *_: "table\n")
    monkeypatch.setattr(rehearsal, "PERIOD", 0.05)

    def rehearse(**commands):
        steps = [rehearsal.Step(n, (c,), 1, n.startswith("kaggle")) for n, c in commands.items()]
        monkeypatch.setattr(rehearsal, "plan", lambda *_: steps)
        try:
            rehearsal.rehearse(rehearsal.SIZES["small"], tmp_path)
        except InputError as error:
            return str(error)
        return {row["name"]: row for row in json.loads((tmp_path / "steps.json").read_text())}

    return rehearse


def test_a_finished_step_is_not_run_again_and_attempts_are_added(journal):
    assert journal(one="--version", two="--no-such").startswith("two: ended with 2 ")
    first = json.dumps(journal(one="--no-such", two="--version"))  # the first would fail
    rows = json.loads(first)
    assert [(row["attempts"], row["done"]) for row in rows.values()] == [(1, True), (2, True)]
    assert all(0 < row["cpu_minutes"] < 1 and row["minutes"] > 0 for row in rows.values())
    assert json.dumps(journal(one="--no-such", two="--no-such")) == first


def test_more_memory_than_a_session_has_ends_the_step(journal, rehearsal, monkeypatch):
    monkeypatch.setattr(rehearsal, "MEMORY", 1e6)
    assert "kaggle: ended with -9 (memory " in journal(kaggle="--version")


@pytest.mark.slow
def test_the_whole_road_survives_kills(rehearsal, tmp_path):
    command = [sys.executable, str(PROGRAM), "--out", str(tmp_path), "--size", "small"]
    journal = tmp_path / "steps.json"
    for step in ("simulate", "pack"):
        child = subprocess.Popen(command, start_new_session=True)
        while step not in (rows := rehearsal.read_records(journal)) or not rows[step].minutes:
            assert child.poll() is None
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    records = rehearsal.read_records(journal)
    assert all(record.done for record in records.values())
    assert records["simulate"].attempts == 2
    assert sum(record.attempts for record in records.values()) == len(records) + 2
    submission = pd.read_csv(tmp_path / "working" / "inference" / "submission.csv")
    assert len(submission) == rehearsal.SIZES["small"].test_eegs
    assert "| score of the submission |" in (tmp_path / "rehearsal.md").read_text()
