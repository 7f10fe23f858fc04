"""The `hbac` command whose `train` and `sweep` start sooner: no notebook, and fake trials."""

import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "helpers"))
from sweep_worker import FakeTraining

from hbac_utils import notebooks
from hbac_utils.cli import main
from hbac_utils.sweeps import worker


def train(name: str, parameters: dict, out: Path) -> Path:
    """Do what the training notebook does, without figures."""
    from hbac_utils.data.store import open_store
    from hbac_utils.recipe import load_recipe
    from hbac_utils.training.trainer import train

    train(load_recipe(parameters["recipe"]), open_store(parameters["store"]), parameters["run"])
    return out / f"{name}.html"


if __name__ == "__main__":
    notebooks.run_notebook = train
    worker.begin = partial(worker.begin, execute=FakeTraining(0.3))
    sys.exit(main())
