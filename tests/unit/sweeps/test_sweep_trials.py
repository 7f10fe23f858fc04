"""Which trials a sweep runs, how they end, and what follows a kill or an interruption."""

import errno
from dataclasses import replace
from functools import partial

import optuna
import pandas as pd
import pytest
import yaml
from sweep_worker import PARAMETERS, fake_job, pids, save_weights, states

from hbac_utils.recipe import load_recipe, override, save_recipe
from hbac_utils.sweeps import launcher
from hbac_utils.sweeps import study as studies
from hbac_utils.sweeps.launcher import run_sweep
from hbac_utils.sweeps.report import SweepResults
from hbac_utils.sweeps.study import count_parameters
from hbac_utils.sweeps.worker import work
from hbac_utils.training.runs import read_metrics
from hbac_utils.utils.errors import DiskError, InputError, KernelDied

ONE = {"grid": {"dropout": [0.1]}}
SIX = {"grid": {"dropout": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]}}


@pytest.fixture
def job_of(tmp_path):
    return partial(fake_job, tmp_path)


@pytest.fixture(autouse=True)
def short_periods(monkeypatch):
    monkeypatch.setattr("hbac_utils.sweeps.worker.PERIOD", 0.02)


def test_a_grid_is_run_once(job_of, capsys):
    job = job_of({})
    assert run_sweep(job)
    assert "trial 1  complete  kl_all 1.1000" in capsys.readouterr().out
    results = SweepResults(job.study())
    assert results.table["kl_all"].tolist() == pytest.approx([1.3, 1.1, 1.2])
    assert results.counts == {"complete": 3}
    assert results.best == 1
    assert not run_sweep(job_of({})), "nothing is left to do"
    assert [len(pids(job, number)) for number in range(3)] == [1, 1, 1]


def test_the_budget_may_grow(job_of):
    run_sweep(job_of({"budget": {"trials": 1}}))
    job = job_of({})
    assert states(job) == ["complete", "waiting", "waiting"]
    run_sweep(job)
    assert states(job) == ["complete"] * 3


def test_a_failed_trial_is_kept_and_the_others_continue(job_of, capsys):
    job = job_of({"grid": {"dropout": [0.1, 0.9, 0.2]}})
    run_sweep(job)
    assert states(job) == ["complete", "failed", "complete"]
    error = (job.folder / "trials" / "001" / "error.txt").read_text()
    assert error.startswith("Traceback")
    assert "RuntimeError: too <b>much</b> dropout" in error
    assert "failed  RuntimeError" in capsys.readouterr().out
    assert "failed: dropout=0.9: RuntimeError: too" in SweepResults(job.study()).summary

    assert not run_sweep(job), "a failed trial has ended"
    assert run_sweep(job, retry_failed=True)
    assert [len(pids(job, number)) for number in range(3)] == [1, 2, 1]
    assert states(job) == ["complete", "failed", "complete"]


@pytest.mark.parametrize("changes", [{"objective": "kl_reliable"}, {"overrides": {"seed": 1}}])
def test_a_study_of_other_settings_is_refused(job_of, changes):
    job_of({})
    with pytest.raises(InputError, match=r"small: was begun with other (objective|recipes) \("):
        job_of(changes)
    with pytest.raises(InputError, match=r"small: was begun with other data \("):
        job_of({}, data="another competition")


def test_a_recipe_that_is_edited_later_changes_no_trial(job_of, tmp_path):
    recipe, path = load_recipe("demo"), tmp_path / "own.json"
    save_recipe(recipe, path)
    job = job_of({"recipe": str(path)})
    save_recipe(override(recipe, {"seed": 9}), path)
    assert load_recipe(job.trial_run(0, job.plan.grid[0]).parameters["recipe"]) == recipe


def searched(trials: int = 4, **search) -> dict:
    space = {"dropout": {"low": 0.0, "high": 0.5}, "stages.0.batch_size": {"choices": [8, 16]}}
    return {"grid": None, "search": {"space": space, **search}, "budget": {"trials": trials}}


def test_a_random_search_is_reproducible(job_of):
    tables = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        job = job_of(searched(sampler="random", seed=seed) | {"name": name})
        run_sweep(job)
        tables.append(SweepResults(job.study()).table[["dropout", "stages.0.batch_size"]])
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    assert tables[0]["dropout"].nunique() == 4, "every trial draws its own values"


def test_tpe_improves_and_importances_find_the_key_that_matters(job_of):
    job = job_of(searched(trials=20))
    run_sweep(job)
    results = SweepResults(job.study())
    dropout = results.table["dropout"]
    assert dropout[12:].mean() < dropout[:10].mean() - 0.05
    importances = results.importances()
    assert list(importances) == ["dropout", "stages.0.batch_size"]
    assert importances["dropout"] > 0.9


def test_a_trial_worse_than_the_median_is_pruned(job_of):
    pruning = {"startup_trials": 2, "warmup_epochs": 0}
    job = job_of({"grid": {"dropout": [0.1, 0.2, 0.7]}, "pruning": pruning}, seconds=0.3)
    run_sweep(job)
    assert states(job) == ["complete", "complete", "pruned"]
    results = SweepResults(job.study())
    assert results.table["epochs"].tolist() == [2, 2, 1]
    assert results.best == 0
    assert not (job.folder / "trials" / "002" / "stop").exists()


def test_when_time_is_up_a_trial_ends_after_its_epoch_and_continues_later(job_of):
    job = job_of({"budget": {"hours": 0.6 / 3600}}, seconds=0.4)
    run_sweep(job)
    assert states(job) == ["interrupted", "waiting", "waiting"]
    assert "not finished" in SweepResults(job.study()).summary
    history = job.folder / "trials" / "000" / "fold0" / "history.csv"
    assert len(pd.read_csv(history)) == 1
    run_sweep(job_of({}))
    assert states(job) == ["complete"] * 3
    assert [len(pids(job, number)) for number in range(3)] == [2, 1, 1]


def begin_and_die(job) -> None:
    """Leave an attempt as a killed worker does: running, and its lock free."""
    study = job.study()
    study.optuna.enqueue_trial({"dropout": 0.1}, user_attrs={"number": 0})
    study.optuna.ask()


def test_a_trial_that_kills_its_workers_fails(job_of):
    job = job_of(ONE)
    for _ in range(studies.MAX_KILLS):
        begin_and_die(job)
    assert states(job) == ["running"], "nobody has looked since"
    work(job)
    assert states(job) == ["failed"]
    assert job.study().trials()[0].error == "its worker was killed 3 times"
    assert pids(job, 0) == []
    assert run_sweep(job, retry_failed=True)
    assert states(job) == ["complete"]


@pytest.mark.parametrize("dead", ["worker", "notebook"])
def test_a_trial_whose_worker_or_notebook_dies_is_run_again(job_of, dead):
    job, errors = job_of(ONE), [KernelDied("Kernel died")] * (dead == "notebook")
    if dead == "worker":
        begin_and_die(job)

    def die_once(run):
        if errors:
            raise errors.pop()
        job.execute(run)

    work(replace(job, execute=die_once))
    names = [attempt.state.name for attempt in job.study().trials()[0].attempts]
    assert names == ["FAIL", "COMPLETE"]


def test_a_worker_that_seemed_dead_does_not_end_another_s_trial(job_of, capsys):
    job = job_of(ONE)

    def run_and_lose_it_to_another(run):
        if not pids(job, 0):
            job.study().optuna.tell(0, state=optuna.trial.TrialState.FAIL)
        job.execute(run)

    work(replace(job, execute=run_and_lose_it_to_another))
    assert "trial 0: another worker has taken it over" in capsys.readouterr().out
    assert states(job) == ["complete"]


def test_a_trial_that_two_machines_have_queued_is_run_once(job_of):
    job = job_of({})
    for _ in range(2):
        job.study().optuna.enqueue_trial({"dropout": 0.3}, user_attrs={"number": 0})
    work(job)
    assert states(job) == ["complete"] * 3
    assert len(pids(job, 0)) == 1


@pytest.mark.parametrize("tail", [b'{"op_code": 8, "wor', b"\0" * 100, b"\0\n", b'\xff"\n{"a'])
def test_a_damaged_end_of_the_journal_is_removed(job_of, tail):
    """A full disk cuts a line off; a power failure leaves zeros."""
    job = job_of({"budget": {"trials": 1}})
    run_sweep(job)
    with (job.folder / "journal.log").open("ab") as journal:
        journal.write(tail)
    run_sweep(job_of({}))
    assert states(job) == ["complete"] * 3


def test_damage_inside_the_journal_is_one_line(job_of):
    path = job_of({}).folder / "journal.log"
    path.write_bytes(path.read_bytes() + b"\0\0{}\n{}\n")
    with pytest.raises(InputError, match=r"journal\.log: line \d is damaged; restore the file"):
        job_of({})


def test_a_full_disk_ends_the_sweep_and_fails_no_trial(job_of):
    job, errors = job_of({}), [OSError(errno.ENOSPC, "No space left on device")]

    def meet_a_full_disk(run):
        if errors:
            raise errors.pop()
        job.execute(run)

    with pytest.raises(DiskError, match="trials/000: no space on the disk"):
        run_sweep(replace(job, execute=meet_a_full_disk))
    assert states(job) == ["interrupted", "waiting", "waiting"]
    run_sweep(job)
    assert states(job) == ["complete"] * 3


def test_parameters_are_counted_without_the_states_of_generators(tmp_path):
    assert count_parameters(save_weights(tmp_path)) == PARAMETERS


def test_workers_share_cores_and_gpus(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert launcher.device_share(2, 3) == {"TF_NUM_INTRAOP_THREADS": "2", "OMP_NUM_THREADS": "2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-7f")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    gpus = [launcher.device_share(i, 3)["CUDA_VISIBLE_DEVICES"] for i in range(3)]
    assert gpus == ["4", "GPU-7f", "4"]
    assert "OMP_NUM_THREADS" not in launcher.device_share(0, 3)


def test_a_sweep_of_a_real_trial(competition, store, compact_recipe, tmp_path, capsys):
    from hbac_utils.cli import main

    save_recipe(compact_recipe, tmp_path / "tiny.json")
    content = {
        "name": "real", "recipe": str(tmp_path / "tiny.json"), "grid": {"dropout": [0.3]},
        "overrides": {"stages": [compact_recipe.stages[0].model_dump(mode="json")]},
        "folds": [0], "objective": "kl_all", "workers": 2,
    }  # fmt: skip
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(content))
    command = ["sweep", tmp_path / "real.yaml", "--data", competition.path]
    command = [*map(str, [*command, "--store", store.path, "--out", tmp_path])]
    assert main(command) == 0
    assert "1 complete" in capsys.readouterr().out
    folder = tmp_path / "real"
    page, table = (folder / "report.html").read_text(), pd.read_csv(folder / "results.csv")
    assert table["state"].tolist() == ["complete"]
    trial = folder / "trials" / "000"
    assert 'href="trials/000/training.html"' in page
    assert "fold 0  epoch  1/1" in (trial / "log.txt").read_text()
    assert '\\"dropout\\": 0.3' in (trial / "training.ipynb").read_text()
    assert load_recipe(trial / "recipe.json").dropout == 0.3
    assert (trial / "training.html").stat().st_size > 100_000, "its figures are in it"
    assert table["kl_all"][0] == pytest.approx(read_metrics(trial)["scores"]["model"]["kl_all"])
    before = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/fold0/*")}

    assert main(command) == 0
    assert "complete already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/fold0/*")}
