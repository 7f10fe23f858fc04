"""Sweeps: what a file may say, who does which trial, what is left when something dies."""

import errno
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml
from optuna.trial import TrialState
from sweep_worker import Replay

from hbac_utils.cli import main
from hbac_utils.plots.sweeps import setting_curves
from hbac_utils.recipe import load_recipe, override, save_recipe
from hbac_utils.sweeps import devices
from hbac_utils.sweeps.config import load_sweep
from hbac_utils.sweeps.jobs import Deadline, Job, prepare, recipe_path, trial_folder
from hbac_utils.sweeps.plan import Plan
from hbac_utils.sweeps.report import write_report
from hbac_utils.sweeps.results import Results, read_results
from hbac_utils.sweeps.storage import open_storage
from hbac_utils.sweeps.trials import count_parameters
from hbac_utils.sweeps.worker import run, work
from hbac_utils.training.runs import read_metrics
from hbac_utils.utils.errors import DiskError, InputError, KernelDied

HELPERS = Path(__file__).parents[2] / "helpers"

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PATIENCE = 300  # seconds for whatever should take a few
SHIPPED = sorted(path.stem for path in Path("sweeps").glob("*.yaml"))


@pytest.fixture(scope="module")
def tiny(tiny_recipe, tmp_path_factory) -> Path:
    """The tiny recipe in a file."""
    path = tmp_path_factory.mktemp("recipes") / "tiny.json"
    save_recipe(tiny_recipe, path)
    return path


@pytest.fixture
def content(tiny) -> dict:
    """What a small sweep file says."""
    return {
        "name": "small",
        "recipe": str(tiny),
        "grid": {"dropout": [0.3, 0.1, 0.2]},
        "folds": [0],
        "objective": "kl_all",
    }


@pytest.fixture
def plan_of(tmp_path):
    def make(content: dict, reduced: bool = False) -> Plan:
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return Plan(load_sweep(path, reduced))

    return make


@pytest.fixture
def job_of(plan_of, competition, store, run, tmp_path):
    """A job whose trials replay a run in place of training."""
    finished = run

    def make(content: dict, seconds: float = 0.0, **options) -> Job:
        options["execute"] = Replay(finished, seconds)
        return prepare(plan_of(content), competition, store.path, tmp_path / "sweeps", **options)

    return make


def states(job: Job) -> list[str]:
    return [slot.state for slot in job.study().slots()]


def pids(job: Job, number: int) -> list[int]:
    path = trial_folder(job.folder, number) / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


# -- the file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grids": {}}, "unknown key grids"),
        ({"budget": {"minutes": 3}}, "unknown key budget.minutes"),
        ({"grid": None}, "either a grid or a search"),
        ({"grid": None, "search": {"space": {"dropout": {"choices": [0, 0.5]}}}}, "budget.trials"),
        ({"recipe": None}, "name one, or make it an axis"),
        ({"grid": {"recipe": ["demo"]}}, "name one, or make it an axis"),
        ({"recipe": None, "grid": {"recipe": [1, 2]}}, "names or files of recipes"),
        ({"overrides": {"dropout": 0.1}}, "overrides.dropout: this key is an axis"),
        ({"grid": {"dropout": []}}, "grid.dropout: Tuple should have at least 1 item"),
        ({"grid": {"dropout": [0.1, 0.1]}}, "dropout: a value stands there twice"),
        ({"objective": "accuracy"}, "objective: Input should be 'kl_reliable' or 'kl_all'"),
        ({"name": "../up"}, "name: String should match"),
        ({"recipe": "nothing"}, "no such recipe"),
        ({"grid": {"dropuot": [0.1]}}, "dropuot=0.1: overridden recipe: unknown key dropuot"),
        ({"overrides": {"stages.7.epochs": 1}}, "override stages.7.epochs: the recipe has no such"),
    ],
)  # fmt: skip
def test_a_wrong_sweep_file_is_refused(content, plan_of, change, message):
    wrong = {key: value for key, value in (content | change).items() if value is not None}
    with pytest.raises(InputError, match=re.escape(message)):
        plan_of(wrong)


def test_every_point_of_a_grid_is_checked_first(content, plan_of):
    content["grid"] = {"stages.0.batch_size": [16, 32], "dropout": [0.1, 1.5]}
    with pytest.raises(InputError, match=r"stages.0.batch_size=16, dropout=1.5: .*less than 1"):
        plan_of(content)


def test_the_ends_of_a_search_are_checked_first(content, plan_of):
    del content["grid"]
    content |= {"search": {"space": {"dropout": {"low": 0, "high": 1}}}, "budget": {"trials": 2}}
    with pytest.raises(InputError, match=r"dropout=1 on .*less than 1"):
        plan_of(content)
    content["search"]["space"]["dropout"] = {"low": 0.5, "high": 0.1}
    with pytest.raises(InputError, match="low must be below high, not 0.5 and 0.1"):
        plan_of(content)


def test_a_sweep_file_that_is_not_there_or_no_yaml(tmp_path):
    with pytest.raises(InputError, match=r"no such sweep; there are augmentation, backbone, batch"):
        load_sweep("nothing")
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"a.yaml: not YAML"):
        load_sweep(tmp_path / "a.yaml")


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_sweeps_are_valid_whole_and_reduced(name):
    whole, reduced = Plan(load_sweep(name)), Plan(load_sweep(name, reduced=True))
    assert whole.sweep.name == name
    assert reduced.sweep.name == f"{name}-reduced"
    assert 1 < reduced.n_trials <= 8
    for recipe in reduced.recipes.values():
        assert getattr(recipe.backbone, "weights", "none") == "none"


def test_the_papers_sweeps_are_the_papers():
    backbones = Plan(load_sweep("backbone"))
    stages = [backbones.recipe(settings).stages[0] for settings in backbones.grid]
    assert [stage.batch_size for stage in stages] == [64, 16, 64]
    assert [stage.epochs for stage in stages] == [13, 13, 40]
    for name, key, values in (
        ("batch-size", "stages.0.batch_size", [32, 64, 128]),
        ("kernel-size", "backbone.kernel_size", [3, 5, 7]),
    ):
        plan = Plan(load_sweep(name))
        assert plan.grid == [{key: value} for value in values]
        assert plan.sweep.objective == "kl_reliable"
        recipes = [plan.recipe(settings) for settings in plan.grid]
        assert len({recipe.model_dump_json() for recipe in recipes}) == 3


def test_values_that_are_lists_come_back_as_they_were(content, plan_of):
    content["grid"] = {"data.band": [[0.5, 40.0], [1.0, 30.0]], "dropout": [0.1, 0.2]}
    plan = plan_of(content)
    assert plan.grid[2] == {"data.band": "[1.0, 30.0]", "dropout": 0.1}
    assert plan.recipe(plan.grid[2]).data.band == (1.0, 30.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": [0, 2]}, r"folds: 2 does not exist; recipe tiny has 0–1"),
        ({"grid": {"data.clip": [1024.0, 500.0]}}, "clip 1024.0, the recipe wants 500.0"),
    ],
)  # fmt: skip
def test_a_store_that_cannot_serve_every_trial_is_refused(content, job_of, change, message):
    with pytest.raises(InputError, match=message):
        job_of(content | change)


def test_an_objective_needs_windows_to_be_computed_on(content, plan_of, store):
    windows = store.windows.assign(total_votes=store.windows["total_votes"].clip(upper=9))
    few = replace(store)
    object.__setattr__(few, "windows", windows)
    plan_of(content).check(few)
    with pytest.raises(InputError, match="no held-out window has 10 votes; choose kl_all"):
        plan_of(content | {"objective": "kl_reliable"}).check(few)


# -- trials ----------------------------------------------------------------------


def test_a_grid_is_done_once(content, job_of, capsys):
    job = job_of(content)
    assert run(job)
    results = Results(job.plan, job.study())
    assert results.table["dropout"].tolist() == [0.3, 0.1, 0.2]
    assert results.counts == {"complete": 3}
    assert results.best == 1
    assert "trial 1  complete  kl_all" in capsys.readouterr().out
    kl = results.table["kl_all"]
    assert kl[0] - kl[1] == pytest.approx(0.2)

    assert not run(job_of(content)), "there is nothing left to do"
    assert [len(pids(job, number)) for number in range(3)] == [1, 1, 1]


def test_a_budget_may_grow(content, job_of):
    run(job_of(content | {"budget": {"trials": 1}}))
    job = job_of(content)
    assert states(job) == ["complete"]
    run(job)
    assert states(job) == ["complete"] * 3


def test_a_failing_trial_is_kept_and_the_others_go_on(content, job_of, capsys):
    content["grid"] = {"dropout": [0.1, 0.9, 0.2]}
    job = job_of(content)
    run(job)
    assert states(job) == ["complete", "failed", "complete"]
    error = (trial_folder(job.folder, 1) / "error.txt").read_text()
    assert error.startswith("Traceback")
    assert "RuntimeError: too <b>much</b> dropout" in error
    assert "failed  RuntimeError" in capsys.readouterr().out
    assert "failed: dropout=0.9: RuntimeError: too" in Results(job.plan, job.study()).summary

    assert not run(job_of(content)), "what has failed has ended"
    assert run(job_of(content), retry_failed=True)
    assert [len(pids(job, number)) for number in range(3)] == [1, 2, 1]
    assert states(job) == ["complete", "failed", "complete"]


@pytest.mark.parametrize("change", [{"objective": "kl_reliable"}, {"overrides": {"seed": 1}}])
def test_a_study_of_other_settings_is_refused(content, job_of, change):
    run(job_of(content | {"budget": {"trials": 1}}))
    with pytest.raises(InputError, match=r"small: was begun with other (objective|recipes), says"):
        job_of(content | change)


def test_a_study_of_other_data_is_refused(content, job_of):
    job = job_of(content)
    with pytest.raises(InputError, match=r"small: was begun with other data, says"):
        replace(job, data="another competition").study()


def test_a_trials_recipe_does_not_change_under_it(content, job_of, tiny, tiny_recipe, tmp_path):
    own = tmp_path / "own.json"
    save_recipe(tiny_recipe, own)
    job = job_of(content | {"recipe": str(own)})
    save_recipe(override(tiny_recipe, {"seed": 9}), own)
    copy = recipe_path(job.folder, str(own))
    assert copy.read_text() == tiny.read_text()


def searched(content: dict, **search) -> dict:
    space = {"dropout": {"low": 0.0, "high": 0.5}, "stages.0.batch_size": {"choices": [8, 16]}}
    return {key: content[key] for key in content if key != "grid"} | {
        "search": {"space": space, **search}, "budget": {"trials": 4},
    }  # fmt: skip


def test_a_random_search_proposes_the_same_again(content, job_of):
    tables = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        job = job_of(searched(content, sampler="random", seed=seed) | {"name": name})
        run(job)
        tables.append(Results(job.plan, job.study()).table[["dropout", "stages.0.batch_size"]])
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert tables[0]["dropout"].nunique() == 4, "every trial draws for itself"


def test_tpe_goes_where_it_is_good(content, job_of):
    few = searched(content) | {"budget": {"trials": 24}}
    job = job_of(few)
    run(job)
    results = Results(job.plan, job.study())
    dropout = results.table["dropout"]
    assert dropout[12:].mean() < dropout[:10].mean() - 0.05
    importances = results.importances()
    assert list(importances) == ["dropout", "stages.0.batch_size"], "only dropout has an effect"
    assert importances["dropout"] > 0.9


def test_a_hopeless_trial_is_stopped_after_an_epoch(content, job_of, monkeypatch):
    monkeypatch.setattr("hbac_utils.sweeps.trials.PERIOD", 0.02)
    content["grid"] = {"dropout": [0.1, 0.2, 0.7]}
    content["pruning"] = {"startup_trials": 2, "warmup_epochs": 0}
    job = job_of(content, seconds=0.5)
    run(job)
    assert states(job) == ["complete", "complete", "pruned"]
    results = Results(job.plan, job.study())
    assert results.table["epochs"].tolist() == [2, 2, 1]
    assert results.best == 0
    assert not (trial_folder(job.folder, 2) / "stop").exists()


def test_what_the_time_did_not_suffice_for_goes_on_where_it_was(content, job_of, monkeypatch):
    monkeypatch.setattr("hbac_utils.sweeps.trials.PERIOD", 0.02)
    short = content | {"budget": {"hours": 2.2 / 3600}}
    job = job_of(short, seconds=1.5)
    run(job)
    assert states(job) == ["interrupted", "waiting", "waiting"]
    assert "not finished" in Results(job.plan, job.study()).summary
    assert epochs_of(job, 0) == 1
    begun = time.time()
    run(job_of(content, seconds=0.3))
    assert states(job) == ["complete"] * 3
    assert time.time() - begun < 5 * 0.3 + 3, "one epoch of the first trial was there"
    assert [len(pids(job, number)) for number in range(3)] == [2, 1, 1]


def test_a_sweep_that_is_told_to_stop_puts_its_trial_back(content, job_of, monkeypatch):
    """As a cluster's workers are, when the one who sent them the sweep is interrupted."""
    monkeypatch.setattr("hbac_utils.sweeps.trials.PERIOD", 0.02)
    job = job_of(content, seconds=1.0)
    job.study().fill()
    threading.Timer(1.4, job.stop.touch).start()
    assert work(job) == 1
    assert states(job) == ["interrupted", "waiting", "waiting"]
    assert epochs_of(job, 0) == 1


def epochs_of(job: Job, number: int) -> int:
    return len(pd.read_csv(trial_folder(job.folder, number) / "fold0" / "history.csv"))


def test_a_trial_that_kills_its_workers_is_given_up(content, job_of):
    job = job_of(content | {"budget": {"trials": 1}})
    job.study().fill()
    for _ in range(3):
        study = job.study()
        study.recover()
        assert study.claim() is not None  # and its lock is lost, as if the process had died
    study = job.study()
    study.recover()
    assert [slot.state for slot in study.slots()] == ["failed"]
    assert study.slots()[0].error == "its worker was killed 3 times"
    assert study.claim() is None


def test_a_trial_that_was_killed_just_now_is_retried_with_the_failed(content, job_of):
    job = job_of(content | {"budget": {"trials": 1}})
    job.study().fill()
    for _ in range(3):
        study = job.study()
        study.recover()
        assert study.claim() is not None  # killed, and nobody has looked at it since
    assert states(job) == ["running"]
    assert run(job, retry_failed=True)
    assert states(job) == ["complete"]


def test_a_notebook_whose_process_dies_is_begun_again(content, job_of, monkeypatch):
    job = job_of(content | {"budget": {"trials": 1}})
    ends = [KernelDied("Kernel died"), None]

    def dies_once(task):
        end = ends.pop(0)
        if end:
            raise end
        job.execute(task)

    assert work(replace(job, execute=dies_once)) == 0
    job.study().fill()
    assert work(replace(job, execute=dies_once)) == 2
    assert states(job) == ["complete"]


def test_a_worker_that_seemed_dead_does_not_end_anothers_trial(content, job_of, capsys):
    job = job_of(content | {"budget": {"trials": 1}})
    job.study().fill()
    study = job.study()
    claim = study.claim()
    study.optuna.tell(0, state=TrialState.FAIL)  # what another worker does to it
    claim.report(0, 1.0)
    assert claim.lost
    claim.complete(1.0, {})
    assert "trial 0: another worker has taken it over" in capsys.readouterr().out
    work(job)
    assert [attempt.state.name for attempt in job.study().slots()[0].attempts] == [
        "FAIL", "COMPLETE",
    ]  # fmt: skip


def test_a_trial_runs_once_though_it_stands_twice_in_the_queue(content, job_of):
    """As after two machines have begun a sweep at the same moment."""
    job = job_of(content)
    study = job.study()
    study.fill()
    study.optuna.enqueue_trial({"dropout": 0.3}, user_attrs={"slot": 0})
    assert work(job) == 3
    assert states(job) == ["complete"] * 3
    assert len(pids(job, 0)) == 1


def test_a_journal_that_ends_in_the_middle_of_a_line_is_mended(content, job_of):
    job = job_of(content | {"budget": {"trials": 1}})
    run(job)
    with (job.folder / "journal.log").open("a") as journal:
        journal.write('{"op_code": 8, "wor')
    run(job_of(content))
    assert states(job) == ["complete"] * 3


def test_a_full_disk_ends_the_sweep_and_fails_no_trial(content, job_of):
    job = job_of(content)
    ends = [OSError(errno.ENOSPC, "No space left on device")]

    def meets_a_full_disk(task):
        if ends:
            raise ends.pop()
        job.execute(task)

    with pytest.raises(DiskError, match="trials/000: no space on the disk"):
        run(replace(job, execute=meets_a_full_disk))
    assert states(job) == ["interrupted", "waiting", "waiting"]
    run(replace(job, execute=meets_a_full_disk))
    assert states(job) == ["complete"] * 3


def test_a_clock_that_is_put_forward_ends_no_sweep(content, job_of, monkeypatch):
    job = job_of(content | {"budget": {"hours": 1}})
    begun = time.time()
    monkeypatch.setattr(time, "time", lambda: begun + 365 * 86_400)
    assert not job.is_over
    sent = pickle.loads(pickle.dumps(job.deadline))
    assert 3500 < job.deadline.left <= sent.left < 3600
    assert replace(job, deadline=Deadline(-1)).is_over


def test_the_lock_of_a_journal_keeps_others_out(content, job_of):
    job = job_of(content)
    storage = open_storage(job.folder)
    assert storage.hold(5) is not None
    held = storage.hold(6)
    assert open_storage(job.folder).hold(6) is None
    held.release()
    assert open_storage(job.folder).hold(6) is not None


def test_parameters_are_counted_as_keras_counts_them(run, tiny_recipe):
    from hbac_utils.models.classifier import load_classifier

    model = run / "fold0" / "model.weights.h5"
    assert count_parameters(model) == load_classifier(tiny_recipe, model).count_params()


def test_workers_share_the_machine(monkeypatch):
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert devices.share(0, 1) == {}
    assert devices.share(2, 3) == {"TF_NUM_INTRAOP_THREADS": "2", "OMP_NUM_THREADS": "2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7f")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert [devices.share(i, 3)["CUDA_VISIBLE_DEVICES"] for i in range(3)] == ["4", "GPU-7f", "4"]
    assert "OMP_NUM_THREADS" not in devices.share(0, 3)


# -- two workers, one killed -----------------------------------------------------


@pytest.fixture(scope="session")
def postgresql():
    """The URL of a database of a real server; it does not run as root, so root steps down."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip("no PostgreSQL here; install it: apt-get install postgresql")
    programs = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="sweeps-postgresql-"))
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [str(programs / program), *arguments], user=user, group=user, cwd=folder, check=True,
            stdout=subprocess.DEVNULL, timeout=PATIENCE,
        )  # fmt: skip

    data, log = str(folder / "data"), str(folder / "log")
    options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off"
    try:
        call("initdb", "-D", data, "-A", "trust", "-U", "sweeper", "--no-sync")
        call("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "sweeper", "sweeps")
            yield f"postgresql+psycopg://sweeper@127.0.0.1:{port}/sweeps"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


def start(job: Job, path: Path) -> subprocess.Popen:
    path.write_bytes(pickle.dumps(job))
    script = HELPERS / "sweep_worker.py"
    return subprocess.Popen(
        [sys.executable, str(script), str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def running(job: Job, process: subprocess.Popen) -> int | None:
    """The trial that a worker is at, once it has begun its first epoch."""
    assert process.poll() is None, process.stdout and process.stdout.read()
    for number in range(job.plan.n_trials):
        folder = trial_folder(job.folder, number)
        if process.pid in pids(job, number) and not (folder / "metrics.json").exists():
            return number
    return None


def kill_one_of_two(job: Job, folder: Path) -> int:
    """Start two workers, kill the first in the middle of a trial, wait for the other's end."""
    job.study().fill()
    first, second = (start(job, folder / f"{name}.pickle") for name in ("first", "second"))
    try:
        limit = time.monotonic() + PATIENCE
        while running(job, first) is None or running(job, second) is None:
            assert time.monotonic() < limit
            time.sleep(0.02)
        killed = running(job, first)
        first.kill()
        said, _ = second.communicate(timeout=PATIENCE)
    finally:
        for process in (first, second):
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
    assert second.returncode == 0, said
    return killed


def assert_nothing_is_lost(job: Job, killed: int) -> None:
    slots = job.study().slots()
    assert [slot.number for slot in slots] == list(range(6))
    assert [slot.state for slot in slots] == ["complete"] * 6
    ended = [[attempt.state for attempt in slot.attempts] for slot in slots]
    retried = [TrialState.FAIL, TrialState.COMPLETE]
    once = [TrialState.COMPLETE]
    assert ended == [retried if number == killed else once for number in range(6)]
    by = [pids(job, number) for number in range(6)]
    assert [len(of) for of in by] == [len(states) for states in ended]
    assert len(set(itertools.chain(*by))) == 2
    assert not run(job), "there is nothing left to do"


SIX = {"dropout": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]}


def test_a_killed_workers_trial_is_done_by_another_on_a_file(content, job_of, tmp_path):
    job = job_of(content | {"grid": SIX}, seconds=0.5)
    killed = kill_one_of_two(job, tmp_path)
    assert_nothing_is_lost(job, killed)


def test_a_killed_workers_trial_is_done_by_another_on_postgresql(
    content, job_of, tmp_path, postgresql
):
    job = job_of(content | {"grid": SIX}, seconds=0.5, storage=postgresql, heartbeat=1)
    killed = kill_one_of_two(job, tmp_path)
    assert_nothing_is_lost(job, killed)
    assert not (job.folder / "journal.log").exists()

    # two sweeps in one database keep apart, and the page can be made from anywhere
    other = job_of(content | {"name": "other"}, storage=postgresql)
    assert other.study().slots() == []
    results = read_results(job.plan, tmp_path / "elsewhere", postgresql)
    page = write_report(results, tmp_path / "elsewhere").read_text()
    assert page.count("data:image/png") == 7
    assert "href=" not in page, "the notebooks are elsewhere"


def test_a_database_that_cannot_be_used_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr("hbac_utils.sweeps.storage.TRIES", 1)
    with pytest.raises(InputError, match=r"storage: no URL of a database"):
        open_storage(tmp_path, "a server")
    url = "postgresql+psycopg://me:secret@127.0.0.1:1/sweeps"
    with pytest.raises(InputError, match=r"127.0.0.1:1/sweeps: cannot be used \(conn") as error:
        open_storage(tmp_path, url)
    assert "secret" not in str(error.value)
    with pytest.raises(InputError, match="its driver is not installed"):
        open_storage(tmp_path, "mysql+pymysql://me@127.0.0.1/sweeps")


@pytest.mark.slow
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_worker_puts_its_trial_back(content, job_of, tmp_path, told):
    job = job_of(content, seconds=0.5)
    job.study().fill()
    process = start(job, tmp_path / "job.pickle")
    limit = time.monotonic() + PATIENCE
    while running(job, process) is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(told)
    process.communicate(timeout=PATIENCE)
    number = states(job).index("interrupted")
    assert job.study().slots()[number].attempt.user_attrs["stopped"] == "by hand"
    work(job)
    assert states(job) == ["complete"] * 3


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(content, job_of, tmp_path):
    job = job_of(content | {"workers": 2, "grid": SIX}, seconds=0.5)
    (tmp_path / "job.pickle").write_bytes(pickle.dumps(job))
    code = "import pickle, sys; from hbac_utils.sweeps.worker import run; "
    code += "run(pickle.load(open(sys.argv[1], 'rb')))"
    environment = os.environ | {"PYTHONPATH": str(HELPERS)}
    command = [sys.executable, "-c", code, str(tmp_path / "job.pickle")]
    limit = time.monotonic() + PATIENCE
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while states(job).count("running") < 2:
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.05)
        process.kill()
    while states(job).count("interrupted") < 2:
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.mark.slow
def test_processes_of_a_machine_share_a_sweep(content, job_of, capfd):
    job = job_of(content | {"workers": 2}, seconds=0.2)
    run(job)
    assert states(job) == ["complete"] * 3
    done = [pids(job, number) for number in range(3)]
    assert [len(by) for by in done] == [1, 1, 1]
    assert os.getpid() not in itertools.chain(*done)
    assert capfd.readouterr().out.count("complete  kl_all") == 3


# -- real trials -----------------------------------------------------------------


def verb(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "hbac_utils", *map(str, arguments)]


@pytest.fixture
def real(content, competition, store, tiny_recipe, tmp_path) -> list:
    """The arguments of a sweep of two trainings of one epoch."""
    stage = tiny_recipe.stages[0].model_dump(mode="json")
    content |= {"overrides": {"stages": [stage]}, "grid": {"dropout": [0.1, 0.3]}, "workers": 2}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(content))
    data = ["--data", competition.path, "--store", store.path]
    return [tmp_path / "real.yaml", *data, "--out", tmp_path / "sweeps"]


def test_a_sweep_of_two_real_trials(real, tmp_path, capsys):
    assert main(["sweep", *map(str, real)]) == 0
    assert "2 complete" in capsys.readouterr().out
    folder = tmp_path / "sweeps" / "small"
    page = (folder / "report.html").read_text()
    for number, dropout in ((0, 0.1), (1, 0.3)):
        trial = folder / "trials" / f"{number:03d}"
        assert f'href="trials/{number:03d}/training.html"' in page
        assert "fold 0  epoch  1/1" in (trial / "log.txt").read_text()
        notebook = (trial / "training.ipynb").read_text()
        assert f'\\"dropout\\": {dropout}' in notebook, "the parameters stand in the notebook"
        assert load_recipe(trial / "recipe.json").dropout == dropout
        assert (trial / "training.html").stat().st_size > 100_000, "its figures are in it"
    table = pd.read_csv(folder / "results.csv")
    assert table["state"].tolist() == ["complete", "complete"]
    for number in range(2):
        scores = read_metrics(folder / "trials" / f"{number:03d}")["scores"]["model"]
        assert table["kl_all"][number] == pytest.approx(scores["kl_all"])
    models = [folder / "trials" / f"{i:03d}" / "fold0" / "model.weights.h5" for i in range(2)]
    before = [model.stat().st_mtime_ns for model in models]

    assert main(["sweep", *map(str, real)]) == 0
    assert "complete already" in capsys.readouterr().out
    assert [model.stat().st_mtime_ns for model in models] == before


@pytest.mark.slow
def test_a_real_trial_whose_worker_is_killed_goes_on(real, content, tmp_path):
    stages = [content["overrides"]["stages"][0] | {"epochs": 6}]
    content |= {"overrides": {"stages": stages}, "workers": 1}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(content))
    folder = tmp_path / "sweeps" / "small"
    history = folder / "trials" / "000" / "fold0" / "history.csv"
    with subprocess.Popen(verb("sweep", *real), stdout=subprocess.DEVNULL) as process:
        limit = time.monotonic() + 3 * PATIENCE
        while not history.exists() or len(pd.read_csv(history)) < 2:
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    known = pd.read_csv(history)
    subprocess.run(verb("sweep", *real), check=True, stdout=subprocess.DEVNULL)
    table = pd.read_csv(folder / "results.csv")
    assert table["state"].tolist() == ["complete", "complete"]
    assert table["attempts"].tolist() == [2, 1]
    pd.testing.assert_frame_equal(pd.read_csv(history).head(len(known)), known)


@pytest.mark.slow
def test_a_hopeless_real_trial_is_stopped_after_an_epoch(real, content, tmp_path):
    stages = [content["overrides"]["stages"][0] | {"epochs": 24}]
    wild = {"overrides": {"stages": stages}, "grid": {"stages.0.learning_rate": [1e-3, 2e-3, 1e-7]}}
    content |= {**wild, "workers": 1, "pruning": {"startup_trials": 2, "warmup_epochs": 1}}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(content))
    subprocess.run(verb("sweep", *real), check=True, stdout=subprocess.DEVNULL)
    folder = tmp_path / "sweeps" / "small"
    table = pd.read_csv(folder / "results.csv")
    assert table["state"].tolist() == ["complete", "complete", "pruned"]
    assert 2 <= table["epochs"][2] < 24
    assert (folder / "trials" / "002" / "training.html").exists(), "its notebook can be read"


# -- a cluster -------------------------------------------------------------------


@contextmanager
def dask_cluster(folder: Path, n_workers: int):
    """A real scheduler and workers on loopback; yields its address and the processes."""
    pytest.importorskip("distributed", reason="the Dask test needs the package distributed")
    environment = os.environ | {"PYTHONPATH": str(HELPERS)}
    note = folder / "scheduler.json"
    with ExitStack() as stack:

        def started(*arguments: object) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *map(str, arguments)],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment,
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        started("scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard",
                "--scheduler-file", note)  # fmt: skip
        limit = time.monotonic() + PATIENCE
        while not note.exists() or not note.read_text().endswith("}"):
            assert time.monotonic() < limit
            time.sleep(0.05)
        address = json.loads(note.read_text())["address"]
        processes = [
            started("worker", address, "--no-nanny", "--nthreads", 1, "--no-dashboard",
                    "--local-directory", folder / f"worker{i}")
            for i in range(n_workers)
        ]  # fmt: skip
        yield address, processes


@pytest.mark.slow
def test_a_dask_cluster_does_a_sweep_though_a_worker_is_killed(content, job_of, tmp_path):
    from distributed import Client

    job = job_of(content | {"grid": SIX}, seconds=0.5)
    with dask_cluster(tmp_path, 2) as (address, processes):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
        killer = threading.Thread(target=kill_when_busy, args=(job, processes[0]))
        killer.start()
        assert run(job, dask=address)
        killer.join()
    slots = job.study().slots()
    assert [slot.state for slot in slots] == ["complete"] * 6
    killed = [slot.number for slot in slots if len(slot.attempts) == 2]
    assert len(killed) == 1
    assert pids(job, killed[0]) == [process.pid for process in processes]


def kill_when_busy(job: Job, process: subprocess.Popen) -> None:
    limit = time.monotonic() + PATIENCE
    while running(job, process) is None and time.monotonic() < limit:
        time.sleep(0.02)
    process.kill()


# -- the page --------------------------------------------------------------------


def test_the_page_is_self_contained_and_escaped(content, job_of):
    content["grid"] = {"dropout": [0.1, 0.9, 0.2]}
    content["title"] = "<script>alert(1)</script> & more"
    job = job_of(content)
    run(job)
    path = write_report(Results(job.plan, job.study()), job.folder)
    page = path.read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in page
    assert "alert(1)</script>" not in page
    assert "too &lt;b&gt;much&lt;/b&gt; dropout" in page
    assert not re.findall(r"(?:src|href)=[\"']?(?:https?:|//|/)", page)
    assert page.count("data:image/png;base64,") == 1 + 2, "the scores, and two trials' curves"
    table = pd.read_csv(job.folder / "results.csv")
    assert table["state"].tolist() == ["complete", "failed", "complete"]
    assert table["error"][1] == "RuntimeError: too <b>much</b> dropout"
    assert table["parameters"][0] == table["parameters"][2] > 1000
    for value in table["kl_all"].dropna():
        assert f"{value:.4f}" in page


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_sorts_in_a_browser_and_fits_a_phone(content, job_of):
    from playwright.sync_api import sync_playwright

    content["grid"] = {"dropout": [0.3, 0.9, 0.15], "stages.0.batch_size": [16]}
    job = job_of(content)
    run(job)
    path = write_report(Results(job.plan, job.study()), job.folder)
    asked, said = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(path.as_uri())

        def sorted_by(heading: str) -> list[str]:
            page.get_by_role("button", name=heading, exact=True).click()
            return page.locator("table.trials tbody tr td:first-child").all_inner_texts()

        assert sorted_by("dropout") == ["2", "0", "1"]
        assert sorted_by("dropout") == ["1", "0", "2"]
        assert sorted_by("KL, all votes") == ["2", "0", "1"], "what has no score comes last"
        assert sorted_by("KL, all votes") == ["0", "2", "1"]
        width = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert width <= 390
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    assert said == []


def test_curves_show_every_fold_and_both_scores():
    history = pd.DataFrame(
        {"fold": [0, 0, 1, 1], "epoch": [0, 1, 0, 1], "loss": [2.0, 1.0, 1.8, 1.2],
         "kl_all": [1.0, 0.8, 1.2, 0.9], "kl_reliable": [None, 0.5, 0.7, 0.6]}
    )  # fmt: skip
    figure = setting_curves(history, {"kl_all": 1.1, "kl_reliable": None}, (0, 3), epochs=9)
    training, validation = figure.axes
    assert len(training.lines) == 3, "two folds and their mean"
    assert len(validation.lines) == 3 + 3 + 1, "both scores, and one prior"
    assert training.lines[-1].get_ydata().tolist() == pytest.approx([1.9, 1.1])
    assert training.get_ylim() == validation.get_ylim() == (0, 3)
    assert training.get_xlim() == (0.5, 9.5)


def test_there_is_no_page_of_what_was_not_begun(content, plan_of, tmp_path):
    with pytest.raises(InputError, match="no sweep was begun there"):
        read_results(plan_of(content), tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
