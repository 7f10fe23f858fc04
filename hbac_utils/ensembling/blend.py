"""Blend several models: fit each method, cross-fit it by patients, compare, and save one."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hbac_utils.data.splits import patient_folds
from hbac_utils.ensembling.members import Members
from hbac_utils.ensembling.optimize import (
    Mixture,
    class_weights,
    convex_weights,
    log_weights,
    stack,
    vector_scaling,
)
from hbac_utils.ensembling.pooling import FILE, BlendFile, BlendMember, Pool, geometric_mean, mean
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES, VOTE_COLUMNS
from hbac_utils.metric import kl_by_class, resampled_means
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing

FOLDS = 5
THREADS = 2  # each fit needs about twice its members' memory
MAX_SHARES = 12  # members whose contribution is computed


def fit_pools(values: np.ndarray, truth: np.ndarray) -> tuple[dict[str, Pool], float]:
    """Fit every method, the simplest first, to values (6, n, members) and truth (n, 6).

    Also returns the duality gap of the method ``weights``, nats.
    """
    members = values.shape[-1]
    weights, gap = convex_weights(Mixture.of(values, truth))
    weighted = Pool("linear", weights)
    pools = {
        "mean": mean(members),
        "geometric mean": geometric_mean(members),
        "weights": weighted,
        "log weights, bias": log_weights(values, truth),
        "weights, vector scaling": vector_scaling(weighted, values, truth),
        "weights by class": class_weights(values, truth, weights),
        "stack": stack(values, truth),
    }
    return pools, gap


@dataclass(frozen=True)
class Blend:
    """Members, all methods fitted to them, and their cross-fitted predictions."""

    members: Members
    fitted: np.ndarray  # bool (n,): windows to fit and score on; those with ≥ 10 votes, or all
    pools: dict[str, Pool]  # by method, the simplest first; fitted on all these windows
    predictions: dict[str, np.ndarray]  # by method, (n, 6); from fits without the patient
    gap: float  # duality gap of the weights, nats

    @cached_property
    def losses(self) -> pd.DataFrame:
        """Score of each window, nats; a column per member and method."""
        values, truth = self.members.probabilities.T, self.members.truth  # (members, n, 6)
        predicted = dict(zip(self.members.names, values, strict=True)) | self.predictions
        losses = {name: kl_by_class(truth, p).sum(axis=1) for name, p in predicted.items()}
        return pd.DataFrame(losses)

    @cached_property
    def resampled(self) -> pd.DataFrame:
        """Mean losses on the fitted windows, a row per bootstrap sample of patients."""
        losses, patients = self.losses[self.fitted], self.members.windows["patient_id"][self.fitted]
        return pd.DataFrame(resampled_means(losses, patients), columns=losses.columns)

    @cached_property
    def best_member(self) -> str:
        """The member with the lowest score."""
        return self.losses.loc[self.fitted, list(self.members.names)].mean().idxmin()

    @cached_property
    def chosen(self) -> str:
        """The simplest method that is not significantly worse than the best (95 % interval)."""
        methods = list(self.pools)
        best = self.losses.loc[self.fitted, methods].mean().idxmin()
        differences = self.resampled[methods].sub(self.resampled[best], axis=0)
        return (differences.quantile(0.025) <= 0).idxmax()

    @cached_property
    def table(self) -> pd.DataFrame:
        """Scores with 95 % intervals over patients, nats; a row per member and method.

        ``kl`` is on the fitted windows, ``kl_all`` on all; ``from``, ``to``: of the difference.
        """
        kl, means = self.losses[self.fitted].mean(), self.resampled
        differences = means.sub(means[self.best_member], axis=0)
        columns = {
            "kl": kl, "low": means.quantile(0.025), "high": means.quantile(0.975),
            "against best member": kl - kl[self.best_member],
            "from": differences.quantile(0.025), "to": differences.quantile(0.975),
            "kl_all": self.losses.mean(),
        }  # fmt: skip
        return pd.DataFrame(columns)

    @property
    def report(self) -> str:
        """The table as text, the windows that count, and the chosen method."""
        windows = "all" if self.fitted.all() else f"≥ {RELIABLE_VOTES} votes"
        patients = self.members.windows["patient_id"][self.fitted].nunique()
        return (
            f"{self.table.round(4).to_string()}\n"
            f"kl: {self.fitted.sum()} windows ({windows}) of {patients} patients; methods are "
            f"cross-fitted by patients; 95 % intervals; best member: {self.best_member}\n"
            f"weights: duality gap {self.gap:.0e} nats\n"
            f"chosen: {self.chosen}, the simplest method that is not significantly worse than the "
            "best"
        )

    @property
    def correlation(self) -> np.ndarray:
        """Correlation of the members' errors (prediction minus vote fraction)."""
        errors = self.members.probabilities - self.members.truth.T[:, :, None]
        return np.corrcoef(errors[:, self.fitted].reshape(-1, errors.shape[-1]).T)

    def shares(self) -> pd.DataFrame:
        """Tabulate ``weight``, ``kl`` and ``added`` of the members with the greatest weights.

        ``added`` is the increase of the score (nats) if the others were weighted anew without it.
        """
        weights = pd.Series(self.pools["weights"].weights, self.members.names)
        largest = weights.sort_values(ascending=False, kind="stable").head(MAX_SHARES)
        values, truth = self.members.probabilities[:, self.fitted], self.members.truth[self.fitted]
        mixture = Mixture.of(values, truth)
        score = mixture.score(weights.to_numpy())

        def added(name: str) -> float:
            place = self.members.names.index(name)
            others = Mixture(np.delete(mixture.points, place, axis=1), mixture.shares)
            return others.score(convex_weights(others, tolerance=1e-6)[0]) - score

        scores = self.losses.loc[self.fitted, largest.index].mean()
        columns = {"weight": largest, "kl": scores, "added": _threaded(added, largest.index)}
        return pd.DataFrame(columns)

    def save(self, folder: str | Path, method: str = "") -> Path:
        """Write ``blend.json`` with a method (default: `chosen`), and ``table.csv``."""
        method = method or self.chosen
        if method not in self.pools:
            raise InputError(f"method {method!r}: there are {', '.join(self.pools)}")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pool, names = self.pools[method], self.members.names
        weights = np.broadcast_to(pool.weights, (N_CLASSES, len(names))).T.tolist()
        members = zip(names, self.members.digests, weights, strict=True)
        file = BlendFile(
            method=method,
            kind=pool.kind,
            members=tuple(BlendMember(name=n, run=run, weights=w) for n, run, w in members),
            scale=tuple(pool.scale.tolist()),
            bias=tuple(pool.bias.tolist()),
            kl=float(self.table.loc[method, "kl"]),
            windows=int(self.fitted.sum()),
        )
        self.table.rename_axis("member or method").to_csv(folder / "table.csv")
        with replacing(folder / FILE) as out:
            out.write((json.dumps(file.model_dump(), indent=2) + "\n").encode())
        return folder / FILE


def blend(members: Members) -> Blend:
    """Fit every method on all windows, and cross-fit it by patients.

    Raises InputError if there are too few patients to cross-fit.
    """
    fitted = members.windows[list(VOTE_COLUMNS)].to_numpy().sum(axis=1) >= RELIABLE_VOTES
    fitted |= not fitted.any()
    values, truth, windows = members.probabilities, members.truth, members.windows
    patients = windows["patient_id"].nunique()
    folds = patient_folds(windows, min(FOLDS, patients), seed=0) if patients > 1 else np.zeros(1)
    held_out = [folds == fold for fold in np.unique(folds)]
    if not all((fitted & ~rows).any() for rows in held_out):
        raise InputError("the windows to fit on are all of one fold; more patients are needed")

    def fit_without(left_out: np.ndarray) -> tuple[dict[str, Pool], float]:
        rows = fitted & ~left_out
        return fit_pools(values[:, rows], truth[rows])

    (pools, gap), *without = _threaded(fit_without, [np.zeros_like(fitted), *held_out])
    predictions = {method: np.empty(truth.shape) for method in pools}
    for rows, (others, _) in zip(held_out, without, strict=True):
        for method, pool in others.items():
            predictions[method][rows] = pool.predict(values[:, rows])
    return Blend(members, fitted, pools, predictions, gap)


def _threaded(work: Callable, items: Iterable) -> list:
    # one BLAS thread each, or they compete for the cores
    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(work, items))
