"""A blend: every method cross-fitted by patients, compared, and the one to use saved."""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.data.splits import patient_folds
from hbac_utils.ensembling.calibration import stack, temperature, vector_scaling
from hbac_utils.ensembling.members import Members
from hbac_utils.ensembling.optimize import (
    Problem,
    Solution,
    class_weights,
    convex_weights,
    pose,
    selected_weights,
)
from hbac_utils.ensembling.pooling import Pool, geometric_mean, mean
from hbac_utils.environment import walk_attached
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES
from hbac_utils.metric import kl_by_class, resampled_means
from hbac_utils.training.runs import run_digest
from hbac_utils.utils.config_io import StrictModel, parse_json, read_config, validate
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing

if TYPE_CHECKING:  # it imports TensorFlow
    from hbac_utils.inference.predict import Run

FOLDS = 5
AT_ONCE = 2  # fits; each needs about twice its members' memory
MOST = 12  # members whose contribution is computed
ADDED_TOLERANCE = 1e-6  # nats: of these contributions
FILE = "blend.json"


@dataclass(frozen=True)
class Blend:
    """Members, all methods fitted to them, and their cross-fitted predictions.

    Attributes
    ----------
    members : Members
    fitted : array of bool, shape (n,)
        The windows that weights are fitted and scored on: ten votes or more, or all.
    pools : dict of str to Pool
        By method, fitted on all windows: for new recordings.
    predictions : dict of str to array, shape (n, 6)
        By method, each window's by a pool that was fitted without its patient.
    gap : float
        How far the weights' score can be from the best that weights can do, nats.
    """

    members: Members
    fitted: np.ndarray
    pools: dict[str, Pool]
    predictions: dict[str, np.ndarray]
    gap: float

    @cached_property
    def losses(self) -> pd.DataFrame:
        """Each window's score: a column per member and method, nats."""
        truth = self.members.truth
        columns = {
            name: kl_by_class(truth, self.members.probabilities[:, :, place].T).sum(axis=1)
            for place, name in enumerate(self.members.names)
        }
        columns |= {
            method: kl_by_class(truth, prediction).sum(axis=1)
            for method, prediction in self.predictions.items()
        }
        return pd.DataFrame(columns)

    @cached_property
    def best_member(self) -> str:
        """The member with the lowest score on the windows that count."""
        return self.losses.loc[self.fitted, list(self.members.names)].mean().idxmin()

    @cached_property
    def table(self) -> pd.DataFrame:
        """Scores with 95 % intervals from resampled patients, nats.

        A row per member and method. ``kl`` is on the windows that count, with ``low`` and
        ``high``; ``against best member`` is the difference from that, again with an interval;
        ``kl_all`` is on all windows.
        """
        losses = self.losses[self.fitted]
        patients = self.members.windows["patient_id"][self.fitted]
        means = resampled_means(losses, patients)
        differences = means - means[:, [losses.columns.get_loc(self.best_member)]]
        low, high = np.quantile(means, (0.025, 0.975), axis=0)
        below, above = np.quantile(differences, (0.025, 0.975), axis=0)
        scores = losses.mean()
        columns = {
            "kl": scores, "low": low, "high": high,
            "against best member": scores - scores[self.best_member],
            "from": below, "to": above, "kl_all": self.losses.mean(),
        }  # fmt: skip
        return pd.DataFrame(columns)

    @cached_property
    def chosen(self) -> str:
        """The simplest method that the best one is not better than beyond doubt.

        Beyond doubt: the 95 % interval of their difference over resampled patients excludes zero.
        """
        losses = self.losses.loc[self.fitted, list(METHODS)]
        means = resampled_means(losses, self.members.windows["patient_id"][self.fitted])
        best = int(losses.mean().argmin())
        low = np.quantile(means - means[:, [best]], 0.025, axis=0)
        return losses.columns[np.argmax(low <= 0)]

    @property
    def report(self) -> str:
        """The table as text, what counts, and which method is chosen."""
        kind = f"≥ {RELIABLE_VOTES} votes" if not self.fitted.all() else "all"
        patients = self.members.windows["patient_id"][self.fitted].nunique()
        table = self.table.round(4).to_string()
        return (
            f"{table}\nkl: {self.fitted.sum()} windows ({kind}) of {patients} patients; methods "
            f"are cross-fitted by patients; 95 % intervals; best member: {self.best_member}\n"
            f"weights are within {self.gap:.0e} nats of the best that weights can do\n"
            f"chosen: {self.chosen}, the simplest that no other is better than beyond doubt"
        )

    @property
    def correlation(self) -> np.ndarray:
        """How alike the members err: of prediction minus vote fraction; (members, members)."""
        errors = self.members.probabilities - self.members.truth.T[:, :, None]
        errors = errors[:, self.fitted].reshape(-1, len(self.members.names))
        return np.corrcoef(errors.T)

    def shares(self) -> pd.DataFrame:
        """Say what the members with the greatest weights contribute.

        Returns
        -------
        DataFrame of float
            A row for each of `MOST` members at most: ``weight``, ``kl`` alone, and ``added``, how
            much higher the score would be if the others were weighted anew without it, nats.
        """
        weights = pd.Series(self.pools["weights"].weights, self.members.names)
        chosen = weights.sort_values(ascending=False, kind="stable").head(MOST)
        problem = pose(self.members.probabilities[:, self.fitted], self.members.truth[self.fitted])
        whole = problem.score(weights.to_numpy())

        def lost(name: str) -> float:
            others = problem.without(self.members.names.index(name))
            return others.score(convex_weights(others, ADDED_TOLERANCE).weights) - whole

        added = _side_by_side(lost, chosen.index)
        scores = self.losses.loc[self.fitted, chosen.index].mean()
        return pd.DataFrame({"weight": chosen, "kl": scores, "added": added})

    def save(self, folder: str | Path, method: str = "") -> Path:
        """Write ``blend.json``, which inference applies, and ``table.csv``.

        Parameters
        ----------
        folder : str or Path
        method : str
            One of `METHODS`; the `chosen` one by default.

        Raises
        ------
        InputError
            If there is no such method.
        """
        method = method or self.chosen
        if method not in METHODS:
            raise InputError(f"method {method!r}: there are {', '.join(METHODS)}")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pool = self.pools[method]
        weights = np.broadcast_to(pool.weights, (N_CLASSES, len(self.members.names)))
        file = BlendFile(
            method=method,
            kind=pool.kind,
            members=tuple(
                BlendMember(name=name, run=digest, weights=tuple(own))
                for name, digest, own in zip(
                    self.members.names, self.members.digests, weights.T.tolist(), strict=True
                )
            ),
            scale=tuple(pool.scale.tolist()),
            bias=tuple(pool.bias.tolist()),
            kl=float(self.table.loc[method, "kl"]),
            windows=int(self.fitted.sum()),
        )
        self.table.rename_axis("member or method").to_csv(folder / "table.csv")
        path = folder / FILE
        with replacing(path) as out:
            out.write((json.dumps(file.model_dump(), indent=2) + "\n").encode())
        return path


def blend(members: Members) -> Blend:
    """Fit and cross-fit every method.

    Each method's prediction of a window comes from a fit without the window's patient, so its
    score is honest; that of the best member is a little too good, as it was chosen by it.

    Raises
    ------
    InputError
        If there are fewer than two patients.
    """
    votes = members.votes.sum(axis=1)
    fitted = votes >= RELIABLE_VOTES
    if not fitted.any():
        fitted = np.ones(len(votes), bool)
    truth, windows = members.truth, members.windows
    folds = patient_folds(windows, min(FOLDS, windows["patient_id"].nunique()), seed=0)
    held_out = [folds == fold for fold in np.unique(folds)]
    if not all((fitted & ~rows).any() for rows in held_out):
        raise InputError("the windows to fit on are all of one fold; more patients are needed")

    def fit_without(left_out: np.ndarray | bool) -> tuple[dict[str, Pool], float]:
        rows = fitted & ~left_out
        fit = Fit(members.probabilities[:, rows], truth[rows])
        return {method: make(fit) for method, make in METHODS.items()}, fit.solution.gap

    (pools, gap), *without = _side_by_side(fit_without, [np.bool_(False), *held_out])
    predictions = {method: np.empty((len(votes), N_CLASSES)) for method in METHODS}
    for rows, (others, _) in zip(held_out, without, strict=True):
        for method, pool in others.items():
            predictions[method][rows] = pool.predict(members.probabilities[:, rows])
    return Blend(members, fitted, pools, predictions, gap)


def _side_by_side(work: Callable, items: Iterable) -> list:
    # numpy works outside of Python's lock; one thread of BLAS each, or they would fight for cores
    with threadpool_limits(1), ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(work, items))


class BlendMember(StrictModel):
    """A member in ``blend.json``."""

    name: str
    run: str  # its digest, which vouches for its models; empty: no run of the kit
    weights: tuple[float, float, float, float, float, float]  # by class


class BlendFile(StrictModel):
    """What ``blend.json`` holds."""

    method: str
    kind: Literal["linear", "log"]
    members: tuple[BlendMember, ...]
    scale: tuple[float, float, float, float, float, float]
    bias: tuple[float, float, float, float, float, float]
    kl: float  # cross-fitted, nats
    windows: int

    @property
    def pool(self) -> Pool:
        """The pool; its members in the order of the file."""
        weights = np.array([member.weights for member in self.members]).T
        return Pool(self.kind, weights, np.array(self.scale), np.array(self.bias))

    def __str__(self) -> str:
        return f"{self.method}, cross-fitted {self.kl:.4f}"

    def order(self, runs: "Sequence[Run]") -> "list[Run]":
        """Find the members among runs, in the order of the file.

        Raises
        ------
        InputError
            If a member is no run of the kit, or its run is not there.
        """
        by_digest = {run_digest(run.path): run for run in runs}
        for member in self.members:
            if member.run not in by_digest:
                reason = "is not among the runs" if member.run else "is no run of this kit"
                raise InputError(
                    f"blend: its member {member.name} {reason}; attach it, or blend without it"
                )
        return [by_digest[member.run] for member in self.members]

    def combine(self, values: np.ndarray) -> np.ndarray:
        """Combine probabilities of shape (members, n, 6) into (n, 6)."""
        return self.pool.predict(values.transpose(2, 1, 0))


def open_blend(blend: str | Path = "", folder: Path = KAGGLE_INPUT) -> BlendFile | None:
    """Read a blend by its file or content, or the attached one; None if there is none.

    Raises
    ------
    InputError
        If it is damaged, or several are attached.
    """
    if str(blend):
        return load_blend(blend)
    found = [path / FILE for path, files in walk_attached(folder) if FILE in files]
    if len(found) > 1:
        raise InputError(f"{len(found)} blends are attached, {found[0]} and {found[1]}: name one")
    return load_blend(found[0]) if found else None


def load_blend(given: str | Path) -> BlendFile:
    """Read ``blend.json``, or its content, as a notebook's parameter may hold it.

    Raises
    ------
    InputError
        If it is not there or not what a blend wrote.
    """
    if str(given).lstrip().startswith("{"):
        return validate(BlendFile, parse_json(str(given), "blend"), "blend")
    path = Path(given)
    if not path.is_file():
        raise InputError(f"{path}: no such blend; make blend RUNS=… writes one")
    return validate(BlendFile, read_config(path), path)


@dataclass
class Fit:
    """All methods on one set of windows; what several of them need is computed once.

    Parameters
    ----------
    values : array, shape (6, n, members)
    truth : array, shape (n, 6)
    """

    values: np.ndarray
    truth: np.ndarray

    def __post_init__(self):
        self.problem: Problem = pose(self.values, self.truth)
        self.solution: Solution = convex_weights(self.problem)

    @property
    def members(self) -> int:
        """How many there are."""
        return self.values.shape[-1]

    @property
    def weighted(self) -> Pool:
        """The linear pool with the lowest score."""
        return Pool("linear", self.solution.weights)


METHODS: dict[str, Callable[[Fit], Pool]] = {
    "mean": lambda fit: mean(fit.members),
    "geometric mean": lambda fit: geometric_mean(fit.members),
    "mean, temperature": lambda fit: temperature(mean(fit.members), fit.values, fit.truth),
    "weights": lambda fit: fit.weighted,
    "selection": lambda fit: Pool("linear", selected_weights(fit.problem)),
    "weights, temperature": lambda fit: temperature(fit.weighted, fit.values, fit.truth),
    "weights, vector scaling": lambda fit: vector_scaling(fit.weighted, fit.values, fit.truth),
    "weights by class": lambda fit: class_weights(fit.values, fit.truth, fit.solution.weights),
    "stack": lambda fit: stack(fit.values, fit.truth),
}
"""In this order the first one is chosen that no other one is better than beyond doubt."""
