"""The verbs ``train`` and ``infer`` without their notebooks, which take seconds: same options."""

import sys

from hbac_utils import verbs
from hbac_utils.__main__ import main


def train(options) -> None:
    """Train a recipe in this process."""
    from hbac_utils.data.store import open_store
    from hbac_utils.recipe import load_recipe
    from hbac_utils.training.trainer import parse_folds, train

    recipe, folds = load_recipe(options.recipe), parse_folds(options.folds)
    train(recipe, open_store(options.store), options.run, folds, options.max_hours)


def infer(options) -> None:
    """Predict a test folder in this process."""
    from hbac_utils.data.competition import open_competition
    from hbac_utils.inference.ensemble import open_runs, predict_all
    from hbac_utils.inference.submission import write_submission

    prediction = predict_all(open_runs(options.run), open_competition(options.data))
    write_submission(prediction, options.out)


if __name__ == "__main__":
    verbs.train, verbs.infer = train, infer
    sys.exit(main())
