"""The verbs ``train`` and ``infer`` without their notebooks, which take seconds: same options."""

import sys
from pathlib import Path

from hbac_utils import notebooks
from hbac_utils.cli import main


def run_in_process(name: str, parameters: dict, out: Path) -> Path:
    """Do what a notebook does, without figures."""
    {"training": train, "inference": infer}[name](parameters)
    return Path(out) / f"{name}.html"


def train(parameters: dict) -> None:
    from hbac_utils.data.store import open_store
    from hbac_utils.recipe import load_recipe
    from hbac_utils.training.trainer import parse_folds, train

    recipe, folds = load_recipe(parameters["recipe"]), parse_folds(parameters["folds"])
    store = open_store(parameters["store"])
    train(recipe, store, parameters["run"], folds, parameters["max_hours"])


def infer(parameters: dict) -> None:
    from hbac_utils.data.competition import open_competition
    from hbac_utils.inference.predict import open_runs, predict
    from hbac_utils.inference.submission import write_submission

    competition = open_competition(parameters["data"])
    write_submission(predict(open_runs(parameters["run"]), competition), parameters["out"])


if __name__ == "__main__":
    notebooks.run_notebook = run_in_process
    sys.exit(main())
