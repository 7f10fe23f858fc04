"""The `hbac` command: exit codes, one line per error, and the Makefile over it."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import hbac_utils
from hbac_utils.cli import _default_run, _default_store, _run_or_shipped, app, main
from hbac_utils.kernels.api import KaggleError
from hbac_utils.kernels.cli import app as kaggle_app
from hbac_utils.utils.commands import parse_pairs, parse_paths
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
from hbac_utils.cli import _default_run, _default_store, _run_or_shipped, app, main
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


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["score"], ["synth", "--jobs", "x"]])
def test_a_wrong_command_line_is_exit_code_2(arguments):
    assert main(arguments) == 2


NUMBERS = [
    "synth --eegs 0", "synth --patients 0", "synth --seed -1", "synth --evidence 0",
    "synth --hours 0",
    "synth --jobs 0", "synth --jobs -2", "pack --limit 0", "pack --min-votes -1", "pack --jobs 0",
    "train --max-hours nan", "train --max-hours -1", "sweep x --workers 0",
    "sweep x --poll-interval -1", "push --timeout 0", "status --minutes nan",
    "status --minutes inf", "submit --poll-interval 0", "synth --seed 5000000000",
]  # fmt: skip


@pytest.mark.parametrize("line", NUMBERS)
def test_a_number_out_of_range_is_refused_with_its_option(line, capsys):
    assert main(line.split()) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"Error: Invalid value for '{line.split()[-2]}'")
    assert " is not a number " in error


def test_every_number_of_the_command_line_has_a_range():
    checked = []
    for command in (*app.registered_commands, *kaggle_app.registered_commands):
        for name, hint in get_type_hints(command.callback, include_extras=True).items():
            kinds = {
                getattr(hint, "__origin__", None),
                *get_args(getattr(hint, "__origin__", None)),
            }
            if kinds & {int, float}:
                assert hint.__metadata__[0].callback, f"{command.callback.__name__}: {name}"
                checked.append(name)
    assert len(checked) > 20


def test_defaults_of_store_and_run_are_named_after_data_and_recipe():
    assert [_default_store(""), _default_store("a b/my data/")] == [
        Path("outputs/stores/competition"), Path("outputs/stores/my data")
    ]  # fmt: skip
    assert _default_run("own recipes/b.yaml") == Path("outputs/runs/b")


def test_without_a_run_of_ones_own_the_model_in_the_package_predicts(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert _run_or_shipped("compact") == "simulated"
    assert (
        "outputs/runs/compact does not exist: the model in the package" in capsys.readouterr().out
    )
    (tmp_path / "outputs" / "runs" / "compact").mkdir(parents=True)
    assert _run_or_shipped("compact") == "outputs/runs/compact"


def test_paths_may_be_listed_with_blanks_and_wildcards(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "my run", "it's"):
        (tmp_path / name).mkdir()
    assert parse_paths(["my run"]) == ["my run"]
    assert parse_paths(["a b 'my run'", "it's", "gone"]) == ["a", "b", "my run", "it's", "gone"]
    assert parse_paths(["[ab]"]) == ["a", "b"]
    assert parse_pairs(['x=1 overrides={"a": 1, "b": 2} y=c d'], "set") == {
        "x": "1", "overrides": '{"a": 1, "b": 2}', "y": "c d"
    }  # fmt: skip


def test_a_name_that_is_not_utf8_is_one_line(capsys):
    assert main(["scores", "caf\udce9"]) == 2
    assert capsys.readouterr().err == (
        "error: 'caf\\udce9': not utf-8; rename it, or make a link to it\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_any_text_is_printed_in_any_encoding(encoding, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "hbac_utils", "scores", str(tmp_path / "≥")],
        cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path}/\\u2265")


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


# a value may hold whatever a name may
ODD = """my data/a$b$$c "d" 'e' #f é `g` \\ (h) & i; *"""


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (["synth", "OUT=a b", "EEGS=5", "EVIDENCE=2", "BALANCED=1"],
         "synth|--out|a b|--eegs|5|--evidence|2|--balanced"),
        (["synth", "HOURS=6", "EDF=1", "SEED=3"], "synth|--seed|3|--edf|--hours|6"),
        (["pack", f"DATA={ODD}", "RECIPE=a b.yaml", "STORE= s", "V=1"],
         f"pack|--data|{ODD}|--recipe|a b.yaml|--out|s"),
        (["train", f"DATA={ODD}", "RECIPE=demo", "RUN=r", "STORE=s", "FOLDS=0", "MAX_HOURS=1"],
         f"train|--data|{ODD}|--store|s|--recipe|demo|--run|r|--folds|0|--max-hours|1"),
        (["infer", "DATA=d", "RUN=a b", "BLEND=x y.json"],
         "infer|--data|d|--run|a b|--blend|x y.json"),
        (["read", "EDF=a.edf 'b c.edf'", "RUN=r", "STEP=5", "OUT=o", "ANONYMIZE=1"],
         "read|a.edf 'b c.edf'|--run|r|--step|5|--out|o|--anonymize"),
        (["score", "SOLUTION=a b.csv"], "score|outputs/inference/submission.csv|a b.csv"),
        (["blend", "RUNS=a 'b c'", "DATA=d", "COMMON=1", "MAPPING=eeg_id=id fold=k"],
         "blend|a 'b c'|--data|d|--common|--mapping|eeg_id=id fold=k"),
        (["html", "RUN=a b"], "html|a b"),
        (["sweep", "SWEEP=s", "KAGGLE=1", "WORKERS=2", "POLL_INTERVAL=9", "REDUCED=1"],
         "sweep|s|--reduced|--kaggle|--workers|2|--poll-interval|9"),
        (["push", "NB=training", 'SET=folds=0 overrides={"stages.0.epochs": 1}', "TIMEOUT=9"],
         'push|training|--set|folds=0 overrides={"stages.0.epochs": 1}|--timeout|9'),
        (["output", "MINUTES=3", "OUT=o p"], "output|inference|--minutes|3|--out|o p"),
    ],
)  # fmt: skip
def test_make_passes_its_variables_as_options(call, expected, tmp_path):
    """A command in the place of `hbac` prints its arguments, a line each."""
    echo = tmp_path / "hbac"
    echo.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    echo.chmod(0o755)
    done = make("-o", ".venv/.ready", f"HBAC={echo}", *call)
    assert done.stdout.splitlines() == expected.split("|"), done.stderr


def make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess:
    # the suite may run under make itself
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (["train", "RECPIE=demo"], "train takes no RECPIE=; it takes DATA= FOLDS= MAX_HOURS= REC"),
        (["train", "DATA=d", "EEGS=5"], "train takes no EEGS=; it takes DATA="),
        (["clean", "OUT=o"], "clean takes no OUT=; it takes no variables"),
        (["pack", "trian"], "no verb trian: `make` lists them"),
    ],
)
def test_make_names_a_variable_that_the_verb_does_not_take(call, message):
    done = make(*call)
    assert done.returncode == 2
    assert message in done.stderr


def test_make_works_in_a_folder_with_any_name_and_names_a_wrong_python(tmp_path):
    """An environment without pip is made again; here the interpreter for it is missing."""
    clone = tmp_path / "a $b 'c' é"
    (clone / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(ROOT / "constraints", clone / "constraints")
    for name in ("Makefile", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, clone)
    ready = clone / ".venv" / ".ready"
    ready.touch()
    python = clone / ".venv" / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 1\n")  # as one without pip
    python.chmod(0o755)
    done = make("pack", "PYTHON=python4", folder=clone)
    assert done.returncode == 2
    assert not ready.exists()
    first = done.stderr.splitlines()[0]
    assert first == "python4: no Python 3.11, 3.12 or 3.13; name one: make PYTHON=…"
    assert "installing" not in done.stdout
