"""The verb ``train`` without its notebook, which takes seconds: same options."""

import sys

from hbac_utils import verbs
from hbac_utils.__main__ import main


def train(options) -> None:
    """Train a recipe in this process."""
    from hbac_utils.data.store import open_store
    from hbac_utils.recipe import load_recipe
    from hbac_utils.training import parse_folds, train

    recipe, folds = load_recipe(options.recipe), parse_folds(options.folds)
    train(recipe, open_store(options.store), options.run, folds, options.max_hours)


if __name__ == "__main__":
    verbs.train = train
    sys.exit(main(["train", *sys.argv[1:]]))
