"""Run trials as kernels on Kaggle: push, wait, download.

A kernel's epochs cannot be seen while it runs, so no trial is pruned there.
"""

import math
import time
from functools import partial
from pathlib import Path

from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.kernels.build import Kernel, build_kernel
from hbac_utils.kernels.push import (
    FAILED_STATES,
    RECORD_FILE,
    PushedVersion,
    is_session_limit,
    push,
    read_record,
    wait,
)
from hbac_utils.notebooks import export_html
from hbac_utils.recipe import load_recipe
from hbac_utils.sweeps.config import RECIPE, Settings, SweepPlan
from hbac_utils.sweeps.worker import SweepJob, TrialRun, begin
from hbac_utils.training.runs import STOP
from hbac_utils.utils.errors import InputError

NOTEBOOK = "training"
MAX_SESSIONS = 2  # concurrent GPU sessions of an account; if others run, a trial waits
SESSION_WAIT = 120.0  # s, before a push is repeated that Kaggle had no session for


class _Stopped(Exception):
    """The trial was told to stop; its kernel continues."""


def prepare(plan: SweepPlan, out: Path, storage: str = "", poll_interval: float = 60.0) -> SweepJob:
    """Check a sweep before its first trial is pushed; see `worker.prepare`."""
    execute = partial(execute_on_kaggle, plan.sweep.name, poll_interval)
    job = begin(plan, out, SLUG, "", f"{SLUG} on Kaggle", storage, execute)
    # the settings of a search are not known yet
    known: list[Settings] = plan.grid or [{RECIPE: name} for name in plan.recipes]
    for number, settings in enumerate(known):
        _build(plan.sweep.name, job.trial_run(number, settings))
    return job


def execute_on_kaggle(sweep: str, poll_interval: float, run: TrialRun) -> None:
    """Train a trial in a kernel named after sweep and trial: push it, wait, download its run.

    The push is recorded in the trial's folder: a trial that is run again waits for the version
    that already runs. Raises KaggleError if Kaggle refuses it or it fails there, and InputError if
    its session ended before all folds were trained.
    """
    with run.logged():
        kernel, kaggle = _build(sweep, run), Kaggle()
        try:
            pushed = _push(kaggle, kernel, run)
            _wait(kaggle, pushed, run, poll_interval)
        except _Stopped:
            return
        _download(kaggle, pushed, run)


def _build(sweep: str, run: TrialRun) -> Kernel:
    """Prepare a trial's kernel; an `InputError` says what cannot be pushed."""
    recipe = Path(run.parameters["recipe"])
    try:
        is_shipped = load_recipe(recipe.stem) == load_recipe(recipe)
    except InputError:
        is_shipped = False
    if not is_shipped:
        raise InputError(
            f"recipe {recipe.stem}: is not the one in recipes/, and only those are pushed with "
            "the library; put it there under a name of its own"
        )
    parameters = {name: run.parameters[name] for name in ("overrides", "folds")}
    parameters |= {"run": "/kaggle/working", "recipe": recipe.stem}
    return build_kernel(NOTEBOOK, parameters, title=f"hbac {sweep} {run.number:03d}")


def _push(kaggle: Kaggle, kernel: Kernel, run: TrialRun) -> PushedVersion:
    """Push as soon as Kaggle has a free session, unless the recorded push has not failed."""
    if (run.folder / "kernel" / NOTEBOOK / RECORD_FILE).is_file():
        pushed = read_record(NOTEBOOK, run.folder / "kernel")
        if pushed.parameters == kernel.parameters:
            state, _ = kaggle.status(pushed.kernel, pushed.version)
            if state not in FAILED_STATES:
                return pushed
    folder = kernel.write(kaggle.username, kaggle.secrets, run.folder / "kernel")
    while not (run.folder / STOP).exists():
        try:
            pushed = push(kaggle, kernel, folder)
            print(f"pushed {pushed.kernel} version {pushed.version}  {pushed.url}", flush=True)
            return pushed
        except KaggleError as error:
            if not is_session_limit(error):
                raise
            print(f"{error}; waiting for a free session", flush=True)
            time.sleep(SESSION_WAIT)
    raise _Stopped


def _wait(kaggle: Kaggle, pushed: PushedVersion, run: TrialRun, poll_interval: float) -> None:
    def get_state() -> tuple[str, str]:
        if (run.folder / STOP).exists():
            raise _Stopped
        try:
            state, message = kaggle.status(pushed.kernel, pushed.version)
        except KaggleError as error:  # an outage ends; meanwhile the kernel runs
            return f"unknown ({error})", ""
        if state in FAILED_STATES and (log := kaggle.log(pushed.kernel, pushed.version).strip()):
            print(log, flush=True)
            message = log.splitlines()[-1]
        return state, message

    wait(pushed.kernel, get_state, pushed.url, math.inf, poll_interval)


def _download(kaggle: Kaggle, pushed: PushedVersion, run: TrialRun) -> None:
    kaggle.download_output(pushed.kernel, pushed.version, run.folder)
    print(kaggle.log(pushed.kernel, pushed.version).strip(), flush=True)
    executed = run.folder / "__notebook__.ipynb"
    if executed.is_file():
        export_html(executed.replace(run.folder / f"{NOTEBOOK}.ipynb"))
    if not run.is_complete:
        hours = pushed.parameters["max_hours"]
        raise InputError(
            f"{pushed.kernel}: the {hours:g} hours of its session were too short for all folds; a "
            "trial cannot continue in a second session: take fewer folds or epochs"
        )
