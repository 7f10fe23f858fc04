"""Run trials as kernels on Kaggle: push, wait, download.

A kernel's epochs cannot be seen while it runs, so no trial is pruned there.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.kernels.build import Kernel, build_kernel
from hbac_utils.kernels.push import (
    FAILED_STATES,
    FINAL_STATES,
    RECORD_FILE,
    PushedVersion,
    is_session_limit,
    push,
    read_record,
)
from hbac_utils.notebooks import export_html
from hbac_utils.recipe import load_recipe
from hbac_utils.sweeps.config import RECIPE, Settings, SweepPlan
from hbac_utils.sweeps.trials import TrialRun, logged
from hbac_utils.sweeps.worker import SweepJob, begin
from hbac_utils.training.runs import STOP
from hbac_utils.utils.errors import InputError

NOTEBOOK = "training"
KERNEL_FOLDER = "kernel"  # in a trial's folder: the pushed files and the record of the push
MAX_SESSIONS = 2  # concurrent GPU sessions of an account; if others run, a trial waits
SESSION_WAIT = 120.0  # s, before a push is repeated that Kaggle had no session for


@dataclass(frozen=True)
class ExecuteOnKaggle:
    """Train a trial in a kernel named after sweep and trial.

    The push is recorded in the trial's folder: a trial that is run again waits for the version
    that already runs.
    """

    sweep: str
    poll_interval: float  # s, between two requests for the state

    def __call__(self, run: TrialRun) -> None:
        """Push the trial or find its push, wait for it, download its run.

        Raises
        ------
        KaggleError
            If Kaggle refuses it, it fails there, or Kaggle cannot be reached any more.
        InputError
            If its session ended before all folds were trained.
        """
        with logged(run.folder):
            kernel, kaggle = self.kernel(run), Kaggle()
            pushed = _find_push(kaggle, kernel, run) or _push(kaggle, kernel, run)
            if pushed and self._wait(kaggle, pushed, run):
                _download(kaggle, pushed, run)

    def kernel(self, run: TrialRun) -> Kernel:
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
        return build_kernel(NOTEBOOK, parameters, title=f"hbac {self.sweep} {run.number:03d}")

    def _wait(self, kaggle: Kaggle, pushed: PushedVersion, run: TrialRun) -> bool:
        """Wait until the kernel has run; False if told to stop before."""
        shown = ""
        while True:
            try:
                state, message = kaggle.status(pushed.kernel, pushed.version)
            except KaggleError as error:  # an outage ends; meanwhile the kernel runs
                state = f"unknown ({error})"
            if state != shown:
                print(f"{time.strftime('%H:%M:%S')}  {state.lower()}", flush=True)
                shown = state
            if state in FAILED_STATES:
                log = kaggle.log(pushed.kernel, pushed.version).strip()
                print(log, flush=True)
                reason = log.splitlines()[-1] if log else message.strip()
                raise KaggleError(f"{pushed.kernel} ended with {state}: {reason}; {pushed.url}")
            if state in FINAL_STATES or _stops(run, self.poll_interval):
                return state in FINAL_STATES


def _find_push(kaggle: Kaggle, kernel: Kernel, run: TrialRun) -> PushedVersion | None:
    """Return the recorded push of the same parameters, unless it has failed."""
    folder = run.folder / KERNEL_FOLDER
    if not (folder / NOTEBOOK / RECORD_FILE).is_file():
        return None
    pushed = read_record(NOTEBOOK, folder)
    if pushed.parameters != kernel.parameters:
        return None
    state, _ = kaggle.status(pushed.kernel, pushed.version)
    return None if state in FAILED_STATES else pushed


def _push(kaggle: Kaggle, kernel: Kernel, run: TrialRun) -> PushedVersion | None:
    """Push when Kaggle has a free session; None if told to stop before."""
    folder = kernel.write(kaggle.username, kaggle.secrets, run.folder / KERNEL_FOLDER)
    while True:
        try:
            pushed = push(kaggle, kernel, folder)
        except KaggleError as error:
            if not is_session_limit(error):
                raise
            print(f"{error}; waiting for a free session", flush=True)
        else:
            print(f"pushed {pushed.kernel} version {pushed.version}  {pushed.url}", flush=True)
            return pushed
        if _stops(run, SESSION_WAIT):
            return None


def _stops(run: TrialRun, seconds: float) -> bool:
    """Sleep; return early, with True, if the trial is told to stop."""
    end = time.monotonic() + seconds
    while not (run.folder / STOP).exists():
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(1.0, left))
    return True


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


def prepare(plan: SweepPlan, out: Path, storage: str = "", poll_interval: float = 60.0) -> SweepJob:
    """Check a sweep before its first trial is pushed; see `worker.prepare`."""
    execute = ExecuteOnKaggle(plan.sweep.name, poll_interval)
    job = begin(
        plan, out, competition=SLUG, store="", data=f"{SLUG} on Kaggle", storage=storage,
        execute=execute,
    )  # fmt: skip
    # the settings of a search are not known yet
    known: list[Settings] = plan.grid or [{RECIPE: name} for name in plan.recipes]
    for number, settings in enumerate(known):
        execute.kernel(job.trial_run(number, settings))
    return job
