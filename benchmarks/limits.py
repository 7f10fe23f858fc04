"""Find out what limits a recipe on a synthetic competition: its patients, or its labels.

    python benchmarks/limits.py --data FOLDER --store FOLDER --out FOLDER [--recipe compact]

Fold 0's held-out windows are predicted after training on all other patients, on half of them (for
as many steps), and on all of them with the true probabilities in the place of the votes. Scored is
the last epoch, so no held-out vote chooses anything.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import open_competition
from hbac_utils.data.dataset import FoldData
from hbac_utils.data.store import Store, open_store
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.metric import both_scores
from hbac_utils.models.schedules import learning_rates
from hbac_utils.recipe import Recipe, load_recipe, override
from hbac_utils.training.callbacks import FoldMonitor, SetLearningRate
from hbac_utils.training.evaluation import find_truth, true_probabilities
from hbac_utils.training.state import TrainingState

COLUMNS = list(VOTE_COLUMNS)


def variants(store: Store, truth: np.ndarray, rows: np.ndarray, recipe: Recipe) -> Iterator[tuple]:
    """Give each variant's name, store, rows to train on and epochs."""
    epochs = recipe.stages[0].epochs
    patients = store.windows["patient_id"].to_numpy()
    drawn = np.random.default_rng(0).permutation(np.unique(patients[rows]))
    yield "all patients", store, rows, epochs
    half = rows[np.isin(patients[rows], drawn[: len(drawn) // 2])]
    yield "half of the patients", store, half, 2 * epochs
    told = open_store(store.path)
    total = told.windows[COLUMNS].sum(axis=1).to_numpy()[:, None]
    told.windows[COLUMNS] = truth * total  # as many votes as before: the weights stay
    yield "true probabilities for votes", told, rows, epochs


def train_last(
    store: Store, told: Store, rows: np.ndarray, recipe: Recipe, out: Path
) -> FoldMonitor:
    """Train a one-stage recipe on some rows; the monitor holds the last epoch's predictions."""
    out.mkdir(parents=True, exist_ok=True)
    state, data = TrainingState(recipe), FoldData(store, recipe, 0)
    data.training = rows
    data._groups = [data._group(0)]
    state.begin_fold()
    state.begin_stage(recipe.stages[0])
    monitor = FoldMonitor(state, data, out)
    steps = data.steps_per_epoch(0)
    state.model.fit(
        data.training_dataset(0, told.windows[COLUMNS].to_numpy()), epochs=recipe.stages[0].epochs,
        steps_per_epoch=steps, shuffle=False, verbose=0,
        callbacks=[SetLearningRate(learning_rates(recipe.stages[0], steps)), monitor],
    )  # fmt: skip
    return monitor


def main() -> None:
    """Train every variant, print and write ``limits.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", default="compact")
    options = parser.parse_args()
    recipe, store = load_recipe(options.recipe), open_store(options.store)
    training = FoldData(store, recipe, 0).training
    truth = true_probabilities(
        find_truth(open_competition(options.data)), store.windows["label_id"]
    )
    lines = []
    for name, told, rows, epochs in variants(store, truth, training, recipe):
        longer = override(recipe, {"stages.0.epochs": epochs})
        monitor = train_last(store, told, rows, longer, options.out / name.replace("/", "-"))
        floor = both_scores(monitor.votes, truth[monitor.data.evaluation])
        patients = store.windows["patient_id"].to_numpy()[rows]
        lines.append(
            {
                "variant": name,
                "patients": len(np.unique(patients)),
                "groups": store.windows["group"].iloc[rows].nunique(),
                "training loss": monitor.records[-1]["loss"],
                **both_scores(monitor.votes, monitor.last_prediction),
                "floor_all": floor["kl_all"],
                "floor_reliable": floor["kl_reliable"],
            }
        )
    table = pd.DataFrame(lines).set_index("variant")
    print(table.round(3).to_string())
    table.to_csv(options.out / "limits.csv")


if __name__ == "__main__":
    main()
