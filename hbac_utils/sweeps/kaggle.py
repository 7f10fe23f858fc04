"""Trials as kernels on Kaggle, for those who have no cluster: pushed, waited for, fetched.

The epochs of a kernel cannot be seen while it runs, so no trial is pruned there.
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
    read_log,
    read_record,
)
from hbac_utils.notebooks import export_html
from hbac_utils.recipe import load_recipe
from hbac_utils.sweeps.config import RECIPE
from hbac_utils.sweeps.jobs import Job, begin, recipe_path, trial_changes
from hbac_utils.sweeps.plan import Plan
from hbac_utils.sweeps.trials import Task, logged
from hbac_utils.training.runs import STOP
from hbac_utils.utils.errors import InputError

NOTEBOOK = "training"
FOLDER = "kernel"  # in a trial's folder: what was pushed, and the record of it

AT_ONCE = 2
"""GPU sessions that Kaggle lets an account have; where others run, a trial waits for its turn."""

BUSY = 120.0
"""Seconds before a push is tried again that Kaggle had no session for."""

DEAF = 30
"""So many questions in a row without an answer are too many."""


@dataclass(frozen=True)
class OnKaggle:
    """Does a trial's task as a kernel of its own, named after sweep and trial.

    What was pushed is recorded in the trial's folder: a trial that is taken up again waits for the
    version that runs already.

    Attributes
    ----------
    sweep : str
        Name of the sweep.
    every : float
        Seconds between two questions how a kernel stands.
    patience : float
        Seconds to wait for an answer.
    """

    sweep: str
    every: float = 60.0
    patience: float = 60.0

    def __call__(self, task: Task) -> None:
        """Push the trial or find it pushed, wait for it, fetch its run.

        Raises
        ------
        KaggleError
            If Kaggle does not take it, it fails there, or cannot be asked any more.
        InputError
            If its session ended before its folds were trained.
        """
        with logged(task.folder):
            made = self.draft(task.number, task.recipe, task.overrides, task.folds)
            kaggle = Kaggle(self.patience)
            pushed = self._found(kaggle, made, task) or self._push(kaggle, made, task)
            if pushed and self._wait(kaggle, pushed, task):
                _fetch(kaggle, pushed, task)

    def draft(self, number: int, recipe: Path, overrides: dict, folds: tuple[int, ...]) -> Kernel:
        """Prepare the kernel of a trial.

        Raises
        ------
        InputError
            If something of it cannot be pushed, or its recipe is not the one that would travel.
        """
        try:
            travels = load_recipe(recipe.stem) == load_recipe(recipe)
        except InputError:
            travels = False
        if not travels:
            raise InputError(
                f"recipe {recipe.stem}: is not the one in recipes/, and only those travel with the "
                "library; put it there under a name of its own"
            )
        parameters = {
            "run": "/kaggle/working",  # its output is the run's folder
            "recipe": recipe.stem,
            "overrides": overrides,
            "folds": ",".join(map(str, folds)),
        }
        return build_kernel(NOTEBOOK, parameters, title=f"hbac {self.sweep} {number:03d}")

    def _found(self, kaggle: Kaggle, made: Kernel, task: Task) -> PushedVersion | None:
        build = task.folder / FOLDER
        if not (build / NOTEBOOK / RECORD_FILE).is_file():
            return None
        pushed = read_record(NOTEBOOK, build)
        if pushed.parameters != made.parameters:
            return None
        state, _ = kaggle.status(pushed.kernel, pushed.version)
        return None if state in FAILED_STATES else pushed

    def _push(self, kaggle: Kaggle, made: Kernel, task: Task) -> PushedVersion | None:
        """Push as soon as Kaggle has a session free; None if told to stop before."""
        folder = made.write(kaggle.username, kaggle.secrets, task.folder / FOLDER)
        while True:
            try:
                pushed = push(kaggle, made, folder)
            except KaggleError as error:
                if not is_session_limit(error):
                    raise
                print(f"{error}; waiting for one to end", flush=True)
            else:
                print(f"pushed {pushed.kernel} version {pushed.version}  {pushed.url}", flush=True)
                return pushed
            if _is_stopped(task, BUSY):
                return None

    def _wait(self, kaggle: Kaggle, pushed: PushedVersion, task: Task) -> bool:
        """Wait until the version has run; False if told to stop before: it goes on there."""
        shown, unanswered = "", 0
        while True:
            try:
                state, message = kaggle.status(pushed.kernel, pushed.version)
                unanswered = 0
            except KaggleError as error:  # hours of training must not be lost to a night's outage
                unanswered += 1
                if unanswered == DEAF:
                    raise
                state = f"not known ({error})"
            if state != shown:
                print(f"{time.strftime('%H:%M:%S')}  {state.lower()}", flush=True)
                shown = state
            if state in FAILED_STATES:
                log = read_log(kaggle, pushed).strip()
                print(log, flush=True)
                said = log.splitlines()[-1] if log else message.strip()
                raise KaggleError(f"{pushed.kernel} ended with {state}: {said}; {pushed.url}")
            if state in FINAL_STATES:
                return True
            if _is_stopped(task, self.every):
                return False


def _is_stopped(task: Task, seconds: float) -> bool:
    """Pause; end the pause, and say so, if the trial is told to stop."""
    ends = time.monotonic() + seconds
    while not (task.folder / STOP).exists():
        left = ends - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(1.0, left))
    return True


def _fetch(kaggle: Kaggle, pushed: PushedVersion, task: Task) -> None:
    kaggle.download_output(pushed.kernel, pushed.version, task.folder)
    print(read_log(kaggle, pushed).strip(), flush=True)
    executed = task.folder / "__notebook__.ipynb"
    if executed.is_file():
        export_html(executed.replace(task.folder / f"{NOTEBOOK}.ipynb"))
    if not task.is_complete:
        hours = pushed.parameters["max_hours"]
        raise InputError(
            f"{pushed.kernel}: the {hours:g} hours of its session were too few for all folds; a "
            "trial cannot go on in a second session: take fewer folds or epochs"
        )


def prepare(plan: Plan, out: str | Path, storage: str = "", every: float = OnKaggle.every) -> Job:
    """Check everything that can be checked before a trial is pushed.

    Parameters
    ----------
    plan : Plan
    out : str or Path
        Folder of sweeps; this one's is named after it.
    storage : str
        URL of a database; empty: a file in the sweep's folder.
    every : float
        Seconds between two questions how a kernel stands.

    Raises
    ------
    InputError
        If a trial could not be pushed, or the study was begun with other settings.
    """
    execute = OnKaggle(plan.sweep.name, every)
    job = begin(
        plan, out, storage, competition=SLUG, store=Path(), data=f"{SLUG} on Kaggle",
        execute=execute,
    )  # fmt: skip
    # the settings of a search are not known yet
    for number, settings in enumerate(plan.grid or [{RECIPE: name} for name in plan.recipes]):
        path = recipe_path(job.folder, plan.base(settings))
        execute.draft(number, path, trial_changes(plan, settings), plan.sweep.folds or ())
    return job
