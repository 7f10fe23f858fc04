"""A sweep's trials: which wait, which run, which have ended, and whose turn it is.

Every trial that is to be has a slot, a number from 0. What Optuna calls a trial is an attempt at
a slot: usually there is one, but if its worker is killed, or told to stop, another follows. All
slots are queued at the start, so that any number of workers take exactly as many trials as the
sweep has, whoever dies.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState

from hbac_utils.sweeps.config import Choices, Range, Settings, label, values
from hbac_utils.sweeps.plan import Plan
from hbac_utils.sweeps.storage import Hold, Storage
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock

DEATHS = 3
"""After so many killed workers a slot counts as failed: it may be what kills them."""

ENDED = ("complete", "pruned", "failed")
"""States of a slot that nothing more comes of."""


@dataclass(frozen=True)
class Slot:
    """A trial of the sweep, with all attempts at it, the first one first."""

    number: int
    attempts: tuple[FrozenTrial, ...]

    @property
    def state(self) -> str:
        """One of `ENDED`, or ``running``, ``waiting``, ``interrupted``."""
        states = {attempt.state for attempt in self.attempts}
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING):
            if state in states:
                return state.name.lower()
        if TrialState.WAITING in states:
            return "waiting"
        return "failed" if self.error else "interrupted"

    @property
    def error(self) -> str:
        """Why it has failed; empty if it has not."""
        failed = [a for a in self.attempts if a.state == TrialState.FAIL]
        if not failed:
            return ""
        if failed[-1].user_attrs.get("error"):
            return failed[-1].user_attrs["error"]
        killed = [a for a in failed if not {"stopped", "error"} & a.user_attrs.keys()]
        return f"its worker was killed {len(killed)} times" if len(killed) >= DEATHS else ""

    @property
    def attempt(self) -> FrozenTrial:
        """The attempt that counts: the one with a result, or the last."""
        for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING):
            for attempt in self.attempts:
                if attempt.state == state:
                    return attempt
        return self.attempts[-1]

    @property
    def settings(self) -> Settings:
        """What sets it apart, as far as it is known."""
        attempt = self.attempt
        return attempt.system_attrs.get("fixed_params", {}) | attempt.params


def begin_study(plan: Plan, storage: Storage, folder: Path, data: str) -> "SweepStudy":
    """Open a plan's study in a storage; make it if it is not there.

    Parameters
    ----------
    plan : Plan
    storage : Storage
    folder : Path
        Of the sweep, for a lock among the workers of this machine.
    data : str
        Identifies what the trials are trained on: trials on other data do not compare.

    Raises
    ------
    InputError
        If there is a study of this name that was begun with other settings or data.
    """
    with suppress(DuplicatedStudyError):
        optuna.create_study(study_name=plan.sweep.name, storage=storage.optuna)
    study = open_study(plan, storage, folder, data)
    if "fixed" not in study.optuna.user_attrs:
        study.optuna.set_user_attr("fixed", plan.fixed() | {"data": data})
    return study


def open_study(plan: Plan, storage: Storage, folder: Path, data: str | None = None) -> "SweepStudy":
    """Open a plan's study, which must be there; ``data`` None: whatever it was trained on.

    Raises
    ------
    InputError
        If it is not there, or was begun with other settings or data.
    """
    name = plan.sweep.name
    try:
        study = optuna.load_study(study_name=name, storage=storage.optuna)
    except KeyError:
        raise InputError(f"sweep {name}: was not begun, says {storage.name}; run it") from None
    begun = study.user_attrs.get("fixed", {})
    wanted = plan.fixed() | ({} if data is None else {"data": data})
    changed = [key for key in wanted if begun.get(key, wanted[key]) != wanted[key]]
    if changed:
        raise InputError(
            f"sweep {name}: was begun with other {changed[0]}, says {storage.name}; give the sweep "
            "another name, or remove what is there"
        )
    return SweepStudy(plan, study, storage, folder)


class SweepStudy:
    """A plan's study; `begin_study` and `open_study` make one.

    Attributes
    ----------
    plan : Plan
    optuna : optuna.Study
    storage : Storage
    folder : Path
    """

    def __init__(self, plan: Plan, study: optuna.Study, storage: Storage, folder: Path):
        self.plan, self.optuna, self.storage, self.folder = plan, study, storage, folder

    def slots(self) -> list[Slot]:
        """List the trials, begun or not."""
        attempts: dict[int, list[FrozenTrial]] = {}
        for trial in self.optuna.get_trials(deepcopy=False):
            attempts.setdefault(trial.user_attrs["slot"], []).append(trial)
        return [Slot(number, tuple(attempts[number])) for number in sorted(attempts)]

    def fill(self, retry_failed: bool = False) -> None:
        """Queue the slots that are missing; those that have failed too, if asked to."""
        if retry_failed:
            # the one that has killed its worker for the last time may not be known to have failed
            self.storage.fail_dead(self.optuna)
        with self._alone():
            slots = self.slots()
            for slot in slots:
                if retry_failed and slot.state == "failed":
                    self._queue(slot.number, slot.settings)
            there = {slot.number for slot in slots}
            for number in range(self.plan.n_trials):
                if number not in there:
                    self._queue(number, self.plan.grid[number] if self.plan.grid else {})

    def recover(self) -> None:
        """Queue again what was stopped, or whose worker has died."""
        self.storage.fail_dead(self.optuna)
        if not any(slot.state == "interrupted" for slot in self.slots()):
            return
        with self._alone():
            for slot in self.slots():
                if slot.state == "interrupted":
                    self._queue(slot.number, slot.settings)

    def claim(self) -> "Claim | None":
        """Begin the first trial that waits; None if none does."""
        for slot in self.slots():
            if slot.state != "waiting" or slot.number >= self.plan.n_trials:
                continue
            waiting = next(a for a in slot.attempts if a.state == TrialState.WAITING)
            hold = self.storage.hold(waiting._trial_id)
            if hold is None:
                continue
            if self._begin(waiting):
                return Claim(self, slot, self._trial(slot, waiting), hold)
            hold.release()
        return None

    def _queue(self, number: int, settings: Settings) -> None:
        self.optuna.enqueue_trial(settings, user_attrs={"slot": number})

    def _begin(self, waiting: FrozenTrial) -> bool:
        # what `Study.ask` does, but it would make a trial more where another worker was faster
        try:
            return self.storage.optuna.set_trial_state_values(
                waiting._trial_id, state=TrialState.RUNNING
            )
        except UpdateFinishedTrialError:
            return False

    def _trial(self, slot: Slot, waiting: FrozenTrial) -> Trial:
        # a study of its own: samplers and pruners keep what they have read of the others
        study = optuna.load_study(
            study_name=self.plan.sweep.name,
            storage=self.storage.optuna,
            sampler=self._sampler(slot.number),
            pruner=self._pruner(),
        )
        study.get_trials(deepcopy=False)  # a database's cache must have seen the trial
        return Trial(study, waiting._trial_id)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Seeded by the slot: two workers must not draw the same numbers."""
        search = self.plan.sweep.search
        if search is None:
            return optuna.samplers.RandomSampler()  # a grid's settings are in the queue
        seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
        if search.sampler == "random":
            return optuna.samplers.RandomSampler(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            # with several workers: do not propose what already runs
            return optuna.samplers.TPESampler(seed=seed, constant_liar=True)

    def _pruner(self) -> optuna.pruners.BasePruner:
        pruning = self.plan.sweep.pruning
        if pruning is None:
            return optuna.pruners.NopPruner()
        return optuna.pruners.MedianPruner(pruning.startup_trials, pruning.warmup_epochs)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # of workers on other machines a slot may come twice into the queue; then the first of
        # both is taken, and the other one only if that dies
        self.folder.mkdir(parents=True, exist_ok=True)
        with lock(self.folder / "queue"):
            yield


class Claim:
    """A trial that this worker has begun.

    Attributes
    ----------
    number : int
        Of the slot.
    settings : dict
    lost : bool
        Whether it was given to another worker, because this one seemed dead.
    """

    def __init__(self, study: SweepStudy, slot: Slot, trial: Trial, hold: Hold):
        self.number, self.lost = slot.number, False
        self._trial, self._hold = trial, hold
        self.settings: Settings = {
            key: _suggest(trial, key, axis) for key, axis in study.plan.sweep.axes.items()
        }

    def beat(self) -> None:
        """Give a sign of life, if one is due."""
        self._hold.beat()

    def report(self, epoch: int, value: float) -> None:
        """Report the objective after an epoch."""
        try:
            self._trial.report(value, epoch)
        except UpdateFinishedTrialError:
            self.lost = True

    @property
    def is_hopeless(self) -> bool:
        """Whether the pruner gives the trial up."""
        return self._trial.should_prune()

    def complete(self, value: float, result: dict) -> None:
        """End with a value of the objective."""
        self._end(TrialState.COMPLETE, value, result=result)

    def prune(self, result: dict) -> None:
        """End before the last epoch; the last report is the value."""
        self._end(TrialState.PRUNED, result=result)

    def fail(self, error: str, result: dict) -> None:
        """End for good with an error."""
        self._end(TrialState.FAIL, result=result, error=error)

    def interrupt(self, reason: str) -> None:
        """End for now; the trial is queued again."""
        self._end(TrialState.FAIL, stopped=reason)

    def die(self) -> None:
        """End as if this worker had been killed; the trial is queued again a few times."""
        self._end(TrialState.FAIL)

    def _end(self, state: TrialState, value: float | None = None, **attributes) -> None:
        try:
            for name, attribute in attributes.items():
                self._trial.set_user_attr(name, attribute)
            self._trial.study.tell(self._trial, value, state)
        except (UpdateFinishedTrialError, ValueError) as error:
            if not self._was_lost():
                raise
            print(f"trial {self.number}: another worker has taken it over ({error})", flush=True)
        finally:
            self._hold.release()

    def _was_lost(self) -> bool:
        self.lost = self._trial.study.trials[self._trial.number].state.is_finished()
        return self.lost


def _suggest(trial: Trial, key: str, axis: tuple | Range | Choices):
    if not isinstance(axis, Range):
        return trial.suggest_categorical(key, [label(value) for value in values(axis)])
    if axis.is_whole:
        return trial.suggest_int(key, axis.low, axis.high, step=axis.step or 1, log=axis.log)
    return trial.suggest_float(key, axis.low, axis.high, step=axis.step, log=axis.log)
