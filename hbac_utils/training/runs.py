"""The files of a run: reading, verification, scores.

=============================== =======================================================
``recipe.json``                 the recipe with all defaults
``fold{k}/model.weights.h5``    weights of the epoch that the recipe selects
``fold{k}/last.weights.h5``     weights of the last epoch, if the recipe selects the best
``fold{k}/history.csv``         a row per epoch: stage, learning rate, loss, both scores
``fold{k}/predictions_*``       probabilities of the held-out windows: best epoch, last
                                epoch, and with test-time augmentation, if there is any
``fold{k}/labels{s}.npy``       votes of a stage with pseudo-labels
``oof.parquet``                 out-of-fold probabilities of the scored windows
``metrics.json``                scores, those of constant predictions, and the SHA-256 of
                                recipe, weights and ``oof.parquet``
=============================== =======================================================

``metrics.json`` is written last. Readers verify the hashes of the other files, to detect damaged
and exchanged files. `run_digest` is a hash of ``metrics.json``; ``blend.json`` holds those of
its members. The model is always rebuilt from ``recipe.json``: a run contains no model
configuration that could execute anything.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.store import Store
from hbac_utils.labels import N_CLASSES, RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import both_scores, expert_yardstick, leading_calibration, worth_in_experts
from hbac_utils.recipe import Recipe, check_parameters, initial_weights, load_recipe
from hbac_utils.utils.config_io import parse_json
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import check_writable, replacing

COLUMNS = list(VOTE_COLUMNS)
WEIGHTS = "model.weights.h5"
LAST_WEIGHTS = "last.weights.h5"
FOLD_WEIGHTS = re.compile(r"fold(\d+)/model\.weights\.h5")

HASHED = ("recipe.json", "fold*/*.weights.h5", "oof.parquet")  # with hashes in metrics.json
STOP = "stop"  # a file of this name in a run's folder stops its training after the current epoch


def check_training(
    recipe: Recipe, run: str | Path, folds: str = "", max_hours: float = 0.0
) -> tuple[int, ...]:
    """Check all of a training that needs no data, before packing; return its folds.

    Raises InputError as `recipe.check_parameters` does, if the run's folder holds another recipe or
    cannot be written, if its initial weights are missing, and if a run that makes pseudo-labels is
    not finished or lacks a fold.
    """
    chosen = check_parameters(recipe, folds, max_hours)
    initial_weights(recipe)
    check_recipe(run, recipe)
    check_writable(run)
    for stage in recipe.stages:
        for other in stage.pseudo_labels.runs if stage.pseudo_labels else ():
            if lacking := set(chosen) - set(fold_weights(other)):
                raise InputError(
                    f"pseudo_labels.runs: {other} has no fold {min(lacking)}; train it first"
                )
    return chosen


def check_recipe(run: str | Path, recipe: Recipe) -> None:
    """Refuse a folder with the run of another recipe."""
    path = Path(run) / "recipe.json"
    # test-time augmentation may change: it does not affect what was trained
    if path.exists() and load_recipe(path).model_copy(update={"tta": recipe.tta}) != recipe:
        raise InputError(f"{run}: holds another recipe's run; choose another folder (RUN=…)")


def is_complete(fold: Path) -> bool:
    """Whether the fold of a folder such as ``fold0`` has been trained to its end."""
    # the weights are written last, the progress file is removed after it
    return (fold / WEIGHTS).is_file() and not (fold / "progress.npz").is_file()


def read_metrics(run: str | Path) -> dict:
    """Read the ``metrics.json`` of a finished run, or raise an `InputError`."""
    path = Path(run) / "metrics.json"
    if not path.is_file():
        raise InputError(f"{run}: not a finished run (no metrics.json); train one, or set RUN=…")
    metrics = parse_json(path.read_bytes(), path)
    if not isinstance(metrics, dict) or not {"scores", "prior"} <= set(metrics):
        raise InputError(f"{path}: damaged; run the same training again to repair it")
    return metrics


def verified(run: str | Path, name: str) -> Path:
    """Return the path of a file of a finished run, such as ``oof.parquet``, with a valid hash.

    Raises InputError if the run is not finished, or the hash is not that in ``metrics.json``.
    """
    path, known = Path(run) / name, read_metrics(run).get("sha256", {})
    if name not in known:
        raise InputError(f"{path}: not in metrics.json; run the same training again to add it")
    if not path.is_file():
        raise InputError(f"{path}: missing; copy the whole run, or train again")
    if _sha256(path) != known[name]:
        raise InputError(
            f"{path}: changed after it was scored (its SHA-256 differs from metrics.json); copy "
            "the run again, or if its training was interrupted, resume it"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_recipe(run: str | Path) -> Recipe:
    """Read the recipe of a finished run."""
    return load_recipe(verified(run, "recipe.json"))


def read_oof(run: str | Path) -> pd.DataFrame:
    """Read a finished run's out-of-fold predictions: ids, ``fold``, six probabilities."""
    return pd.read_parquet(verified(run, "oof.parquet"))


def fold_weights(run: str | Path) -> dict[int, Path]:
    """Find the weights of a finished run by fold, and verify them."""
    run = Path(run)
    names = {path.relative_to(run).as_posix() for path in run.glob(f"fold*/{WEIGHTS}")}
    names |= set(read_metrics(run).get("sha256", {}))
    folds = {int(match[1]): match[0] for match in map(FOLD_WEIGHTS.fullmatch, names) if match}
    if not folds:
        if any(run.glob("fold*/model.keras")):
            reason = "a run of version 0.1 (model.keras); docs/models.md says how to convert it"
        else:
            reason = f"no fold*/{WEIGHTS} in it; train it again into a new folder"
        raise InputError(f"{run}: {reason}")
    return {fold: verified(run, folds[fold]) for fold in sorted(folds)}


def run_digest(run: str | Path) -> str:
    """Hash of a finished run's recipe and metrics, which contain the hashes of its weights."""
    read_metrics(run)
    parts = [(Path(run) / name).read_bytes() for name in ("recipe.json", "metrics.json")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def scored_windows(store: Store) -> pd.DataFrame:
    """Rows of ``store.windows`` that are scored, indexed by ``label_id``."""
    return store.windows.iloc[store.evaluation_windows()].set_index("label_id")


def summarize(run: str | Path, store: Store) -> dict:
    """Combine the folds of a run: write ``oof.parquet``, then ``metrics.json``; return its content.

    It has ``scores`` of the ``model`` (selected epochs, with test-time augmentation), of ``last``
    and ``best`` epochs without it, of ``prior`` (mean votes of the other folds) and ``uniform``;
    ``experts``, the `metric.expert_yardstick` of the windows with ten votes or more;
    ``calibration``, the `metric.leading_calibration`; ``prior`` (six
    numbers, for recordings that cannot be predicted), ``folds``, ``windows``, ``sha256``. The
    score of the best epoch is slightly optimistic: it selected the epoch.
    """
    run = Path(run)
    recipe = load_recipe(run / "recipe.json")
    kinds = ("last", "best", "tta") if recipe.tta.is_on else ("last", "best")
    predictions = {
        name: pd.concat(
            pd.read_parquet(path) for path in sorted(run.glob(f"fold*/predictions_{name}.parquet"))
        )
        for name in kinds
    }
    oof = predictions["tta" if recipe.tta.is_on else recipe.select].reset_index(drop=True)
    with replacing(run / "oof.parquet") as file:
        oof.to_parquet(file, index=False)
    scored = scored_windows(store)
    votes = scored.loc[oof["label_id"], COLUMNS].to_numpy()
    scores = {"model": both_scores(votes, oof[COLUMNS].to_numpy())}
    for name, table in predictions.items():
        scores[name] = both_scores(votes, table[COLUMNS].to_numpy())
    scores["prior"] = {
        name: both_scores(votes, prior_predictions(scored, oof, name))[name]
        for name in ("kl_all", "kl_reliable")
    }
    scores["uniform"] = both_scores(votes, np.full(N_CLASSES, 1 / N_CLASSES))
    metrics = {
        "recipe": recipe.name,
        "folds": sorted(int(fold) for fold in oof["fold"].unique()),
        "windows": len(oof),
        "reliable_windows": int((votes.sum(axis=1) >= RELIABLE_VOTES).sum()),
        "scores": scores,
        "experts": expert_yardstick(votes),
        "calibration": leading_calibration(votes, oof[COLUMNS].to_numpy()),
        "prior": constant_priors(scored[COLUMNS].to_numpy())["kl_reliable"].tolist(),
        "sha256": {
            path.relative_to(run).as_posix(): _sha256(path)
            for pattern in HASHED
            for path in sorted(run.glob(pattern))
        },
    }
    with replacing(run / "metrics.json") as file:
        file.write((json.dumps(metrics, indent=2) + "\n").encode())
    return metrics


def constant_priors(votes: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the best constant prediction, the mean vote fractions, for each score: (6,).

    Those for ``kl_all`` and ``kl_reliable`` are equal if no window has ten votes.
    """
    fractions = vote_fractions(votes)
    reliable = votes.sum(axis=1) >= RELIABLE_VOTES
    everything = fractions.mean(axis=0)
    return {
        "kl_all": everything,
        "kl_reliable": fractions[reliable].mean(axis=0) if reliable.any() else everything,
    }


def prior_predictions(scored: pd.DataFrame, oof: pd.DataFrame, score: str) -> np.ndarray:
    """Predict each fold's windows by the constant that is optimal on the other folds' votes.

    ``scored`` is from `scored_windows`; ``oof`` has ``label_id`` and ``fold``, indexed from 0;
    ``score`` is "kl_all" or "kl_reliable".
    """
    prediction = np.empty((len(oof), N_CLASSES))
    for _, part in oof.groupby("fold"):
        others = scored.drop(index=part["label_id"])
        prediction[part.index] = constant_priors(others[COLUMNS].to_numpy())[score]
    return prediction


def read_history(run: str | Path) -> pd.DataFrame:
    """Read the histories of all folds that have begun, a row per fold and epoch."""
    paths = sorted(Path(run).glob("fold*/history.csv"))
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def score_table(
    scores: Mapping[str, Mapping[str, float | None]], experts: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Tabulate scores (nats), by name as from `metric.both_scores`, and % below the ``prior``.

    ``experts``, from `metric.expert_yardstick`, are rows below.
    """
    rows = dict(scores)
    for name, score in (experts or {}).items():
        rows[name] = {"kl_all": None, "kl_reliable": score}
    table = pd.DataFrame(rows, dtype=float).T
    table.columns = ["all votes", f"≥ {RELIABLE_VOTES} votes"]
    below = (100 * (1 - table / table.loc["prior"])).add_suffix(", % below prior")
    return table.round(4).join(below.round(1))


def run_scores(run: Path) -> pd.DataFrame:
    """Tabulate a finished run's out-of-fold scores: ``model``, ``prior``, ``uniform``, experts."""
    metrics = read_metrics(run)
    scores = {name: metrics["scores"][name] for name in ("model", "prior", "uniform")}
    return score_table(scores, metrics.get("experts"))  # absent before version 0.3


def run_worth(run: Path) -> str:
    """Say between how many experts a run's score on windows with ten votes or more lies."""
    metrics = read_metrics(run)
    return worth_in_experts(metrics["scores"]["model"]["kl_reliable"], metrics.get("experts", {}))
