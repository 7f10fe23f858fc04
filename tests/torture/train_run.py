"""Trains a run without a notebook: python train_run.py RECIPE STORE RUN [MAX_HOURS]."""

import sys

from hbac_utils.data.store import open_store
from hbac_utils.recipe import load_recipe
from hbac_utils.training import train

if __name__ == "__main__":
    hours = float(sys.argv[4]) if len(sys.argv) > 4 else 0
    train(load_recipe(sys.argv[1]), open_store(sys.argv[2]), sys.argv[3], max_hours=hours)
