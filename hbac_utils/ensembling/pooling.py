"""Pools of several members' probabilities, and the file ``blend.json`` that keeps one.

A linear pool averages probabilities, a logarithmic one their logarithms (Genest and Zidek 1986,
Combining probability distributions, Statistical Science 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import softmax

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.environment import walk_attached
from hbac_utils.labels import N_CLASSES
from hbac_utils.metric import floored_log
from hbac_utils.training.runs import run_digest
from hbac_utils.utils.config_io import StrictModel, parse_json, read_config, validate
from hbac_utils.utils.errors import InputError

if TYPE_CHECKING:  # imports TensorFlow
    pass

FILE = "blend.json"
ByClass = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Pool:
    """Weights of members, and a calibration of the pooled logits: ``bias + scale · ln p``."""

    kind: Literal["linear", "log"]
    weights: np.ndarray  # (members,), the same for all classes, or (6, members)
    scale: np.ndarray = field(default_factory=lambda: np.ones(N_CLASSES))
    bias: np.ndarray = field(default_factory=lambda: np.zeros(N_CLASSES))

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Pool probabilities of shape (6, n, members); return shape (n, 6), rows sum to 1."""
        if self.kind == "log":
            logits = weighted_sum(floored_log(values), self.weights)
        else:
            pooled = weighted_sum(values, self.weights)
            if (self.scale == 1).all() and (self.bias == 0).all():
                return pooled / pooled.sum(axis=1, keepdims=True)
            logits = floored_log(pooled)
        return softmax(self.bias + self.scale * logits, axis=1)


def weighted_sum(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Sum values (6, n, members) with weights (members,) or (6, members), to (n, 6)."""
    weights = np.broadcast_to(weights, (len(values), values.shape[-1])).astype(values.dtype)
    return np.stack([v @ w for v, w in zip(values, weights, strict=True)], axis=1)


def mean(members: int) -> Pool:
    """Average probabilities, with equal weights."""
    return Pool("linear", np.full(members, 1 / members))


def geometric_mean(members: int) -> Pool:
    """Average logarithms, with equal weights."""
    return Pool("log", np.full(members, 1 / members))


class BlendMember(StrictModel):
    """A member in ``blend.json``."""

    name: str
    run: str  # its digest; empty: not a run of this kit
    weights: ByClass


class BlendFile(StrictModel):
    """The content of ``blend.json``, with members recognised by the digest of their run."""

    method: str
    kind: Literal["linear", "log"]
    members: tuple[BlendMember, ...]
    scale: ByClass
    bias: ByClass
    kl: float  # cross-fitted, nats
    windows: int

    def __str__(self) -> str:
        return f"{self.method}, cross-fitted {self.kl:.4f}"

    def order(self, runs: Sequence) -> list:
        """Select the members among runs or their folders, in the order of the file.

        Raises InputError if a member is no run of the kit, or its run is missing.
        """
        by_digest = {run_digest(getattr(run, "path", run)): run for run in runs}
        for member in self.members:
            if member.run not in by_digest:
                reason = "is not among the runs" if member.run else "is no run of this kit"
                raise InputError(
                    f"blend: its member {member.name} {reason}; attach it, or blend without it"
                )
        return [by_digest[member.run] for member in self.members]

    def combine(self, values: np.ndarray) -> np.ndarray:
        """Combine probabilities of shape (members, n, 6) into (n, 6)."""
        weights = np.array([member.weights for member in self.members]).T
        pool = Pool(self.kind, weights, np.array(self.scale), np.array(self.bias))
        return pool.predict(values.transpose(2, 1, 0))


def load_blend(given: str | Path) -> BlendFile:
    """Read ``blend.json`` from its path, or from its content in a notebook's parameter."""
    if str(given).lstrip().startswith("{"):
        return validate(BlendFile, parse_json(str(given), "blend"), "blend")
    if not Path(given).is_file():
        raise InputError(f"{given}: no such blend; make blend RUNS=… writes one")
    return validate(BlendFile, read_config(Path(given)), given)


def open_blend(blend: str | Path = "", folder: Path = KAGGLE_INPUT) -> BlendFile | None:
    """Read a blend by its file or content, or the attached one; None if there is none.

    Raises InputError if it is invalid, or several are attached.
    """
    if str(blend):
        return load_blend(blend)
    found = [path / FILE for path, files in walk_attached(folder) if FILE in files]
    if len(found) > 1:
        raise InputError(f"{len(found)} blends are attached, {found[0]} and {found[1]}: name one")
    return load_blend(found[0]) if found else None
