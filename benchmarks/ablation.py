"""Train recipe `simulated` for a few minutes, with one part changed in each line.

    python benchmarks/ablation.py --data FOLDER --shifted FOLDER --out FOLDER [--epochs 3]

Every line starts from random weights and sees the same number of mixtures. Scored are the test EEGs
of two simulated competitions, all 50 s and the labelled ten alone: ``--data`` of the simulator that
the mixtures are made with, ``--shifted`` of another (`benchmarks/fine_tuning.py` makes one).
Finished lines are not trained again.
"""

import argparse
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd

from hbac_utils.data.competition import open_competition
from hbac_utils.data.layout import SEGMENT
from hbac_utils.data.packing import open_or_pack
from hbac_utils.data.test_loader import read_test_recording
from hbac_utils.inference.predict import open_run
from hbac_utils.labels import VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import kl_divergence
from hbac_utils.recipe import Recipe, load_recipe, override
from hbac_utils.synthetic import mixtures, raters
from hbac_utils.training.trainer import train

COUNT = "data.simulated.components"
LINES: dict[str, dict[str, object]] = {
    "recipe": {},
    "1,000 components": {COUNT: 1000},
    "votes of three experts": {"data.simulated.votes": 3},
    "never the ten seconds alone": {"augment.segment_only": 0.0},
    "no masked derivations": {"augment.channel_mask": 0.0},
    "softmax head": {"head": "softmax"},
    "width 32": {"backbone.width": 32},
    "width 64": {"backbone.width": 64},
    "experts of equal limits": {},
    "plain mixtures": {},
}
"""Line of the table, and what it changes in the recipe."""

PLAIN = ("FADED", "TILTED", "UNREADABLE", "FAILED_ELECTRODES")
PATCHES: dict[str, tuple[ModuleType, dict[str, object]]] = {
    "experts of equal limits": (raters, {"_THRESHOLDS": np.zeros_like(raters._THRESHOLDS)}),
    "plain mixtures": (mixtures, dict.fromkeys(PLAIN, 0.0)),
}
"""Lines that change the simulation instead."""


def build(changes: dict[str, object], epochs: int) -> Recipe:
    """Recipe of a line."""
    short = {
        COUNT: 6000, "data.simulated.windows": 16384, "backbone.width": 48, "dropout": 0.1,
        "stages.0.epochs": epochs, "stages.0.batch_size": 32, "stages.0.warmup_epochs": 0.2,
    }  # fmt: skip
    return override(load_recipe("simulated"), short | changes)


def read_test(folder: Path, recipe: Recipe) -> tuple[np.ndarray, np.ndarray]:
    """Read the test EEGs, float16, (n, 10000, 19), and their vote fractions, (n, 6)."""
    competition = open_competition(folder)
    votes = pd.read_csv(folder.with_name(f"{folder.name}_truth") / "solution.csv")
    votes = votes.set_index("eeg_id").loc[competition.test["eeg_id"], list(VOTE_COLUMNS)]
    rows = competition.test.to_dict("records")
    eeg = [read_test_recording(competition, row, "eeg", recipe.data)[0] for row in rows]
    return np.stack(eeg), vote_fractions(votes.to_numpy())


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--shifted", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3, help="of 16,384 mixtures")
    parser.add_argument("--only", default="", help="numbers of lines, comma-separated")
    options = parser.parse_args()
    plain = build({}, options.epochs)
    store = open_or_pack(options.out / "store", open_competition(options.shifted), plain)
    tests = {"test": read_test(options.data, plain), "shifted": read_test(options.shifted, plain)}
    numbers = map(int, options.only.split(",")) if options.only else range(len(LINES))
    rows = []
    for number in numbers:
        name, changes = list(LINES.items())[number]
        run = options.out / f"run{number}"
        module, values = PATCHES.get(name, (mixtures, {}))
        saved = {key: getattr(module, key) for key in values}
        module.__dict__.update(values)
        train(build(changes, options.epochs), store, run, folds=[0])
        module.__dict__.update(saved)
        (model,) = open_run(run).models.values()
        row: dict[str, object] = {"changed": name, "parameters": model.count_params()}
        for test, (eeg, fractions) in tests.items():
            alone = np.zeros_like(eeg)
            alone[:, SEGMENT] = eeg[:, SEGMENT]
            for label, inputs in ((test, eeg), (f"{test}, 10 s alone", alone)):
                predicted = model.predict({"eeg": inputs}, verbose=0)
                row[label] = kl_divergence(fractions, predicted)
        history = pd.read_csv(run / "fold0" / "history.csv")
        rows.append(row | {"minutes": history["seconds"].sum() / 60})
        print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False), flush=True)
    print(pd.DataFrame(rows).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
