"""A run's folder, read: its scores beside the constant predictions', its history.

============================ ==================================================
``recipe.json``              the recipe, every default spelled out
``fold{k}/model.weights.h5`` weights of the epoch that the recipe selects
``fold{k}/last.weights.h5``  weights of the last epoch, if the recipe selects the best one
``fold{k}/history.csv``      a row per epoch: stage, learning rate, loss, both scores
``fold{k}/predictions_*``    the held-out windows' probabilities, best and last epoch, and of the
                             model with the recipe's test-time changes, if it has any
``fold{k}/labels{s}.npy``    votes of a stage that relabels
``oof.parquet``              out-of-fold probabilities of the evaluation windows
``metrics.json``             scores beside the constant prior's and uniform's, and the SHA-256 of
                             recipe, weights and ``oof.parquet``
============================ ==================================================

``metrics.json`` is written last, so what it says of the other files holds, or they were changed
afterwards: whoever opens a run verifies them. `run_digest` is a hash of ``metrics.json``, and
``blend.json`` holds the digests of its members. A model is always rebuilt from ``recipe.json``:
there is no model configuration in a run that could execute anything.
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
from hbac_utils.metric import both_scores
from hbac_utils.recipe import Recipe, load_recipe
from hbac_utils.utils.config_io import parse_json
from hbac_utils.utils.errors import InputError, one_line
from hbac_utils.utils.files import replacing

VOUCHED = ("recipe.json", "fold*/*.weights.h5", "oof.parquet")
"""The files whose hashes stand in ``metrics.json``."""

WEIGHTS = "model.weights.h5"
LAST_WEIGHTS = "last.weights.h5"
FOLD_WEIGHTS = re.compile(r"fold(\d+)/model\.weights\.h5")

STOP = "stop"
"""A file of this name in a run's folder ends its training after the epoch, as time does."""


def is_complete(fold: Path) -> bool:
    """Tell whether the fold of this folder, such as ``fold0``, has been trained to its end."""
    # the weights are saved last, the progress removed after it
    return (fold / WEIGHTS).is_file() and not (fold / "progress.npz").is_file()


def read_metrics(run: str | Path) -> dict:
    """Read a finished run's ``metrics.json``.

    Raises
    ------
    InputError
        If the folder is no finished run, or the file is damaged.
    """
    path = Path(run) / "metrics.json"
    if not path.is_file():
        raise InputError(f"{run}: no finished run (no metrics.json in it); train one, or set RUN=…")
    metrics = parse_json(path.read_bytes(), path)
    if not isinstance(metrics, dict) or not {"scores", "prior"} <= set(metrics):
        raise InputError(f"{path}: damaged; the same training writes it again")
    return metrics


def verified(run: str | Path, name: str) -> Path:
    """Find a file of a finished run, and refuse it if it is not the one that was scored.

    Parameters
    ----------
    run : str or Path
    name : str
        Within the run, such as ``fold0/model.weights.h5``.

    Raises
    ------
    InputError
        If the folder is no finished run, or the file's hash is not the one in ``metrics.json``.
    """
    path, known = Path(run) / name, _known(Path(run))
    if name not in known:
        raise InputError(
            f"{path}: metrics.json does not vouch for it; the same training writes it again, "
            "complete folds as they are"
        )
    if not path.is_file():
        raise InputError(f"{path}: missing; copy the whole run, or train again")
    if _sha256(path) != known[name]:
        raise InputError(
            f"{path}: not the file that was scored (its SHA-256 is not that in metrics.json); copy "
            "the run anew from where it was trained; if its training was stopped, go on with it"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_recipe(run: str | Path) -> Recipe:
    """Read the recipe of a finished run.

    Raises
    ------
    InputError
        If the folder is no finished run, or the recipe not the one that was trained.
    """
    return load_recipe(verified(run, "recipe.json"))


def read_oof(run: str | Path) -> pd.DataFrame:
    """Read a finished run's out-of-fold predictions: ids, ``fold``, six probabilities.

    Raises
    ------
    InputError
        If the folder is no finished run, or the file damaged or not the one that was scored.
    """
    path = verified(run, "oof.parquet")
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's own are among them
        raise InputError(f"{path}: not a readable parquet file ({one_line(error)})") from None


def fold_weights(run: str | Path) -> dict[int, Path]:
    """Find the weights of a run by fold.

    Raises
    ------
    InputError
        If the folder is no finished run, or holds no weights, lacks a file of weights, or holds
        one that is not the one that was scored.
    """
    run = Path(run)
    names = {path.relative_to(run).as_posix() for path in run.glob(f"fold*/{WEIGHTS}")}
    names |= set(_known(run))
    folds = {int(match[1]): match[0] for match in map(FOLD_WEIGHTS.fullmatch, names) if match}
    if not folds:
        old = any(run.glob("fold*/model.keras"))
        reason = "a run of an older version (model.keras)" if old else f"no fold*/{WEIGHTS} in it"
        raise InputError(f"{run}: {reason}; train it again into a new folder")
    return {fold: verified(run, folds[fold]) for fold in sorted(folds)}


def _known(run: Path) -> dict[str, str]:
    known = read_metrics(run).get("sha256")
    return known if isinstance(known, dict) else {}


def run_digest(run: str | Path) -> str:
    """Recognise a run wherever its folder lies: a hash of its recipe and its ``metrics.json``.

    The latter holds the hashes of the models, so two runs of one digest have the same ones.

    Raises
    ------
    InputError
        If the folder is no finished run.
    """
    read_metrics(run)
    parts = [(Path(run) / name).read_bytes() for name in ("recipe.json", "metrics.json")]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def constant_priors(votes: np.ndarray) -> dict[str, np.ndarray]:
    """Find the best constant predictions: the mean vote fractions, for either score.

    Parameters
    ----------
    votes : array, shape (n, 6)

    Returns
    -------
    dict
        ``kl_all`` and ``kl_reliable``, arrays of shape (6,); the latter is the former where no
        window has ten votes.
    """
    fractions = vote_fractions(votes)
    reliable = votes.sum(axis=1) >= RELIABLE_VOTES
    everything = fractions.mean(axis=0)
    return {
        "kl_all": everything,
        "kl_reliable": fractions[reliable].mean(axis=0) if reliable.any() else everything,
    }


def summarize(run: str | Path, store: Store) -> dict:
    """Collect the folds of a run: write ``oof.parquet``, and after it ``metrics.json``.

    A kill between the two leaves a run that is refused until its training is called again, which
    comes here without training anything. This trusts the files that it finds.

    The constant prior's score is out of fold too: each fold is predicted by the mean of the
    other folds' votes.

    Returns
    -------
    dict
        ``scores`` (of the selected epochs ``model``, with the recipe's test-time changes; of the
        ``last`` and the ``best`` ones without; of ``prior`` and ``uniform``), ``prior`` (six
        numbers, for what cannot be predicted), ``folds``, ``windows``, ``sha256``. The best
        epoch was chosen by the score that it reports, so its figure is a little too good; the
        last one's is not.
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
    evaluation = store.windows.iloc[store.evaluation_windows()].set_index("label_id")
    votes = evaluation.loc[oof["label_id"], list(VOTE_COLUMNS)].to_numpy()
    columns = list(VOTE_COLUMNS)
    scores = {"model": both_scores(votes, oof[columns].to_numpy())}
    for name, table in predictions.items():
        scores[name] = both_scores(votes, table[columns].to_numpy())
    scores["prior"] = _prior_scores(evaluation, oof, votes)
    scores["uniform"] = both_scores(votes, np.full(N_CLASSES, 1 / N_CLASSES))
    metrics = {
        "recipe": recipe.name,
        "folds": sorted(int(fold) for fold in oof["fold"].unique()),
        "windows": len(oof),
        "reliable_windows": int((votes.sum(axis=1) >= RELIABLE_VOTES).sum()),
        "scores": scores,
        "prior": constant_priors(evaluation[columns].to_numpy())["kl_reliable"].tolist(),
        "sha256": {
            path.relative_to(run).as_posix(): _sha256(path)
            for pattern in VOUCHED
            for path in sorted(run.glob(pattern))
        },
    }
    with replacing(run / "metrics.json") as file:
        file.write((json.dumps(metrics, indent=2) + "\n").encode())
    return metrics


def _prior_scores(evaluation: pd.DataFrame, oof: pd.DataFrame, votes: np.ndarray) -> dict:
    return {
        score: both_scores(votes, prior_predictions(evaluation, oof, score))[score]
        for score in ("kl_all", "kl_reliable")
    }


def prior_predictions(evaluation: pd.DataFrame, oof: pd.DataFrame, score: str) -> np.ndarray:
    """Predict each fold's windows by the best constant prediction of the others' votes.

    Parameters
    ----------
    evaluation : DataFrame
        The windows that are scored, with their votes, indexed by ``label_id``.
    oof : DataFrame
        ``label_id`` and ``fold``, indexed from 0.
    score : {"kl_all", "kl_reliable"}
        For which the constant is the best one.

    Returns
    -------
    array of float64, shape (len(oof), 6)
    """
    prediction = np.empty((len(oof), N_CLASSES))
    for _, part in oof.groupby("fold"):
        others = evaluation.drop(index=part["label_id"])
        prediction[part.index] = constant_priors(others[list(VOTE_COLUMNS)].to_numpy())[score]
    return prediction


def read_history(run: str | Path) -> pd.DataFrame:
    """Read the histories of all folds that have begun, a row per fold and epoch."""
    paths = sorted(Path(run).glob("fold*/history.csv"))
    return pd.concat([pd.read_csv(path) for path in paths], ignore_index=True)


def score_table(scores: Mapping[str, Mapping[str, float | None]]) -> pd.DataFrame:
    """Tabulate scores, and how far each lies below the prior's.

    Parameters
    ----------
    scores : mapping from name to mapping
        Each as `metric.both_scores` gives it; ``prior`` is among them.

    Returns
    -------
    DataFrame of float, nats and percent
        A column for all windows, one for those with ten votes or more, and two in percent.
    """
    table = pd.DataFrame(scores, dtype=float).T
    table.columns = ["all votes", f"≥ {RELIABLE_VOTES} votes"]
    below = (100 * (1 - table / table.loc["prior"])).add_suffix(", % below prior")
    return table.round(4).join(below.round(1))


def run_scores(run: Path) -> pd.DataFrame:
    """Tabulate a run's out-of-fold scores beside the constant predictions', as `score_table`.

    Returns
    -------
    DataFrame of float
        Rows ``model``, ``prior``, ``uniform``.

    Raises
    ------
    InputError
        If the folder is no finished run.
    """
    scores = read_metrics(run)["scores"]
    return score_table({name: scores[name] for name in ("model", "prior", "uniform")})
