"""Measure what limits a recipe on a simulated competition: the number of patients, or the labels.

    python benchmarks/limits.py --data FOLDER --store FOLDER --out FOLDER [--recipe compact]

Fold 0 is predicted after training on all other patients, on half of them (for as many steps), and
on all of them with the true probabilities instead of the votes. The last epoch is scored, hence the
held-out votes select nothing.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import open_competition
from hbac_utils.data.dataset import FoldData
from hbac_utils.data.store import open_store
from hbac_utils.metric import both_scores
from hbac_utils.recipe import load_recipe, override
from hbac_utils.training.callbacks import FoldMonitor, SetLearningRate, learning_rates
from hbac_utils.training.evaluation import find_truth, true_probabilities
from hbac_utils.training.state import TrainingState


def variants(data: FoldData, truth: np.ndarray) -> Iterator[tuple]:
    """Yield each variant's name, training rows, factor of the epochs, and votes."""
    patients, rows = data.store.windows["patient_id"].to_numpy(), data.training
    drawn = np.random.default_rng(0).permutation(np.unique(patients[rows]))
    half = rows[np.isin(patients[rows], drawn[: len(drawn) // 2])]
    yield "all patients", rows, 1, data.votes
    yield "half of the patients", half, 2, data.votes
    # as many votes as before, so that weights do not change
    yield "true probabilities", rows, 1, truth * data.votes.sum(axis=1, keepdims=True)


def train(data: FoldData, rows: np.ndarray, votes: np.ndarray, out: Path) -> FoldMonitor:
    """Train the first stage on some rows; the monitor holds the last epoch's predictions."""
    out.mkdir(parents=True, exist_ok=True)
    data.training = rows
    data._groups = [data._group(0)]
    state, stage = TrainingState(data.recipe), data.recipe.stages[0]
    state.begin_fold()
    state.begin_stage(stage)
    monitor, steps = FoldMonitor(state, data, out), data.steps_per_epoch(0)
    state.model.fit(
        data.training_dataset(0, votes), epochs=stage.epochs, steps_per_epoch=steps,
        callbacks=[SetLearningRate(learning_rates(stage, steps)), monitor],
        shuffle=False, verbose=0,
    )  # fmt: skip
    return monitor


def main() -> None:
    """Train each variant, print and write ``limits.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "store", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--recipe", default="compact")
    options = parser.parse_args()
    recipe, store = load_recipe(options.recipe), open_store(options.store)
    windows = store.windows
    truth = true_probabilities(find_truth(open_competition(options.data)), windows["label_id"])
    lines = []
    for name, rows, factor, votes in variants(FoldData(store, recipe, 0), truth):
        longer = override(recipe, {"stages.0.epochs": factor * recipe.stages[0].epochs})
        monitor = train(FoldData(store, longer, 0), rows, votes, options.out / name)
        floor = both_scores(monitor.votes, truth[monitor.data.evaluation])
        lines.append(
            {
                "variant": name,
                "patients": windows["patient_id"].iloc[rows].nunique(),
                "groups": windows["group"].iloc[rows].nunique(),
                "training loss": monitor.records[-1]["loss"],
                **both_scores(monitor.votes, monitor.last_prediction),
                **{f"floor_{key.removeprefix('kl_')}": value for key, value in floor.items()},
            }
        )
    table = pd.DataFrame(lines).set_index("variant")
    print(table.round(3).to_string())
    table.to_csv(options.out / "limits.csv")


if __name__ == "__main__":
    main()
