"""What the workers of a sweep are sent: its plan, and where everything lies."""

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hbac_utils.data.competition import Competition
from hbac_utils.data.store import Store, digest
from hbac_utils.recipe import save_recipe
from hbac_utils.sweeps.config import Settings
from hbac_utils.sweeps.plan import Plan
from hbac_utils.sweeps.storage import HEARTBEAT, open_storage
from hbac_utils.sweeps.study import Claim, SweepStudy, begin_study
from hbac_utils.sweeps.trials import Execute, Task, execute_notebook


class Deadline:
    """A moment on a clock that nobody puts forward or back.

    Such a clock is a machine's own: another process, perhaps elsewhere, is sent the seconds left.

    Parameters
    ----------
    seconds : float
        From now.
    """

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds; negative when it is over."""
        return self._end - time.monotonic()

    def __getstate__(self) -> dict[str, float]:
        return {"left": self.left}

    def __setstate__(self, state: dict[str, float]) -> None:
        self.__init__(state["left"])


@dataclass(frozen=True)
class Job:
    """All that a worker needs to know, in a form that can be sent to it.

    Attributes
    ----------
    plan : Plan
    competition : str
    store : Path
    data : str
        Identifies what was packed.
    folder : Path
        Of the sweep: ``trials/NNN`` are runs, ``recipes`` what they start from.
    storage : str
        URL of a database; empty: a file in the folder.
    heartbeat : int
        Seconds, in a database.
    deadline : Deadline or None
        When the workers stop.
    stop : Path
        They stop, too, when there is this file.
    execute : callable
        Does a trial's `Task`.
    """

    plan: Plan
    competition: str
    store: Path
    data: str
    folder: Path
    storage: str
    stop: Path
    heartbeat: int = HEARTBEAT
    deadline: Deadline | None = None
    execute: Execute = execute_notebook

    @property
    def is_over(self) -> bool:
        """Whether no further trial shall begin, and those that run shall be put off."""
        return (self.deadline is not None and self.deadline.left < 0) or self.stop.exists()

    def study(self) -> SweepStudy:
        """Open the study."""
        storage = open_storage(self.folder, self.storage, self.heartbeat)
        return begin_study(self.plan, storage, self.folder, self.data)

    def task(self, claim: Claim) -> Task:
        """Say what a trial is to do."""
        plan, settings = self.plan, claim.settings
        return Task(
            number=claim.number,
            settings=settings,
            competition=self.competition,
            store=self.store,
            recipe=recipe_path(self.folder, plan.base(settings)),
            overrides=trial_changes(plan, settings),
            folder=trial_folder(self.folder, claim.number),
            folds=plan.sweep.folds or tuple(range(plan.recipe(settings).data.folds)),
            max_hours=max(1e-9, self.deadline.left / 3600) if self.deadline else 0,
        )


def trial_changes(plan: Plan, settings: Settings) -> dict[str, Any]:
    """Collect what a trial replaces in the recipe that it starts from."""
    return plan.sweep.overrides | plan.changes(settings)


def trial_folder(folder: Path, number: int) -> Path:
    """Say where a trial's run lies in the folder of the sweep."""
    return folder / "trials" / f"{number:03d}"


def recipe_path(folder: Path, name: str) -> Path:
    """Say where the copy of a recipe lies that the trials start from."""
    return folder / "recipes" / f"{Path(name).stem}.json"


def prepare(
    plan: Plan,
    competition: Competition,
    store: str | Path,
    out: str | Path,
    storage: str = "",
    execute: Execute = execute_notebook,
    heartbeat: int = HEARTBEAT,
) -> Job:
    """Check everything that can be checked before a trial, and pack the store if need be.

    Parameters
    ----------
    plan : Plan
    competition : Competition
    store : str or Path
        Packed first if it is not there.
    out : str or Path
        Folder of sweeps; this one's is named after it.
    storage : str
        URL of a database; empty: a file in the sweep's folder.
    execute, heartbeat : optional
        See `Job`.

    Raises
    ------
    InputError
        If competition, store or storage cannot be used for all trials of the plan.
    """
    from hbac_utils.data.packing import open_or_pack  # takes seconds, which a worker can spare

    packed = open_or_pack(Path(store).absolute(), competition, next(iter(plan.recipes.values())))
    plan.check(packed)
    return begin(
        plan, out, storage, heartbeat, competition=str(competition.path.absolute()),
        store=packed.path, data=identify(packed), execute=execute,
    )  # fmt: skip


def begin(
    plan: Plan, out: str | Path, storage: str = "", heartbeat: int = HEARTBEAT, **what: Any
) -> Job:
    """Make a sweep's folder with its recipes, and its study.

    Parameters
    ----------
    plan, out, storage, heartbeat
        As of `prepare`.
    **what
        Further attributes of the `Job`.

    Raises
    ------
    InputError
        If there is a study of this name that was begun with other settings or data.
    """
    folder = (Path(out) / plan.sweep.name).absolute()
    (folder / "recipes").mkdir(parents=True, exist_ok=True)
    hours = plan.sweep.budget.hours
    job = Job(
        plan=plan,
        folder=folder,
        storage=storage,
        stop=folder / f".stop-{uuid.uuid4().hex[:8]}",
        heartbeat=heartbeat,
        deadline=Deadline(3600 * hours) if hours else None,
        **what,
    )
    job.study()  # refuses a study of other settings before its recipes are overwritten
    for name, recipe in plan.originals.items():
        save_recipe(recipe, recipe_path(folder, name))
    return job


def identify(store: Store) -> str:
    """Condense what was packed, and how: two machines may have it in different places."""
    sources = digest(store.sources[["name", "bytes"]])
    return f"{sources[:16]} {store.description['subset']}"
