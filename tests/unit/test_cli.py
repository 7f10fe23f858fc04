"""The `hbac` command: exit codes, one line per error, and the Makefile over it."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import hbac_utils
from hbac_utils.cli import main
from hbac_utils.kernels.api import KaggleError
from hbac_utils.utils.errors import InputError

ROOT = Path(__file__).parents[2]


def replaced(monkeypatch, error: BaseException):
    """Let the verb `scores` meet an error."""

    def run_scores(run):
        raise error

    monkeypatch.setattr("hbac_utils.training.runs.run_scores", run_scores)


def test_help_is_quick_and_a_recipe_is_read_without_tensorflow():
    program = """
import sys, hbac_utils
from hbac_utils.cli import main
assert main(["--help"]) == 0 and main(["train", "--help"]) == 0
print("pandas" in sys.modules, file=sys.stderr)
hbac_utils.load_recipe("compact")
print("tensorflow" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.split() == ["False", "False"], done.stderr


def test_the_public_interface_is_complete():
    for name in hbac_utils.__all__:
        assert getattr(hbac_utils, name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(hbac_utils, "nothing")  # noqa: B009


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InputError("run: wrong"), 2, "error: run: wrong"),
        (KaggleError("refused"), 1, "error: refused"),
        (KeyboardInterrupt(), 130, "stopped"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 2, "error: a: no space on the disk"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(error, code, message, monkeypatch, capsys):
    replaced(monkeypatch, error)
    assert main(["scores", "a"]) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(message)


def test_sigterm_ends_a_verb_with_143(monkeypatch, capsys):
    def run_scores(run):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    monkeypatch.setattr("hbac_utils.training.runs.run_scores", run_scores)
    assert main(["scores", "a"]) == 143
    assert capsys.readouterr().err == "stopped\n"


@pytest.mark.parametrize("error", [InputError("wrong"), ZeroDivisionError(), OSError(7, "?")])
def test_debug_and_unexpected_errors_show_the_traceback(error, monkeypatch):
    replaced(monkeypatch, error)
    debug = ["--debug"] if isinstance(error, InputError) else []
    with pytest.raises(type(error)):
        main([*debug, "scores", "a"])


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["pack"], ["pack", "--out", "o", "--jobs", "x"]]
)
def test_a_wrong_command_line_is_exit_code_2(arguments):
    assert main(arguments) == 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["eda", "--data", "{nowhere}", "--out", "{out}"], "no such folder"),
        (["pack", "--data", "{here}", "--out", "{out}"], "no competition folder"),
        (["train", "--data", "{here}", "--store", "{out}", "--run", "{out}"], "no competition"),
        (["pack", "--data", "{data}", "--recipe", "nothing", "--out", "{out}"], "no such recipe"),
        (["score", "{here}/a.csv", "{here}/b.csv"], "no such file"),
        (["scores", "{here}"], "not a finished run"),
        (["synth", "--out", "{data}", "--eegs", "2"], "not empty"),
        (["blend", "a", "--mapping", "x", "--data", "{data}", "--out", "{out}"], "write key=value"),
        (["sweep", "batch-size", "--kaggle", "--dask", "tcp://h:1"], "choose one"),
    ],
)
def test_a_users_mistake_is_one_line(competition, tmp_path, capfd, arguments, reason):
    (tmp_path / "here").mkdir()
    places = {name: tmp_path / name for name in ("nowhere", "here", "out")}
    places["data"] = competition.path
    assert main([argument.format(**places) for argument in arguments]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert reason in lines[0]


def test_score_refuses_votes_in_place_of_probabilities(competition, tmp_path, capfd):
    solution = competition.path.with_name("competition_truth") / "solution.csv"
    pd.read_csv(solution).to_csv(tmp_path / "votes.csv", index=False)
    assert main(["score", str(tmp_path / "votes.csv"), str(solution)]) == 2
    assert "between 0 and 1" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            ["synth", "OUT=a b", "EEGS=5", "EVIDENCE=2", "BALANCED=1"],
            ["synth", "--out", "a b", "--eegs", "5", "--evidence", "2", "--balanced"],
        ),
        (
            ["train", "DATA=my data", "RECIPE=demo", "RUN=r", "STORE=s", "FOLDS=0", "MAX_HOURS=1"],
            [
                "train",
                "--data",
                "my data",
                "--store",
                "s",
                "--recipe",
                "demo",
                "--run",
                "r",
                "--folds",
                "0",
                "--max-hours",
                "1",
            ],
        ),
        (
            ["infer", "DATA=d", "RUN=a b", "BLEND=x.json"],
            [
                "infer",
                "--data",
                "d",
                "--run",
                "a",
                "--run",
                "b",
                "--out",
                "outputs/inference",
                "--blend",
                "x.json",
            ],
        ),
        (
            ["blend", "RUNS=a b", "DATA=d", "COMMON=1", "MAPPING=eeg_id=id fold=k"],
            [
                "blend",
                "a",
                "b",
                "--data",
                "d",
                "--out",
                "outputs/blend",
                "--common",
                "--mapping",
                "eeg_id=id",
                "--mapping",
                "fold=k",
            ],
        ),
        (
            ["sweep", "SWEEP=s", "KAGGLE=1", "WORKERS=2", "POLL_INTERVAL=9", "REDUCED=1"],
            ["sweep", "s", "--reduced", "--kaggle", "--workers", "2", "--poll-interval", "9"],
        ),
        (
            ["push", "NB=training", 'SET=folds=0 overrides={"stages.0.epochs":1}', "TIMEOUT=9"],
            [
                "push",
                "training",
                "--set",
                "folds=0",
                "--set",
                'overrides={"stages.0.epochs":1}',
                "--timeout",
                "9",
            ],
        ),
        (["output", "MINUTES=3", "OUT=o"], ["output", "inference", "--minutes", "3", "--out", "o"]),
    ],
)
def test_make_passes_its_variables_as_options(call, expected, tmp_path):
    """A command in the place of `hbac` prints its arguments, a line each."""
    echo = tmp_path / "hbac"
    echo.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    echo.chmod(0o755)
    # the suite may run under make itself
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", "-o", ".venv/.ready", f"HBAC={echo}", *call],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == expected, done.stderr
