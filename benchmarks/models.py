"""Train models of every kind for the same time; score them on the same held-out patients.

    python benchmarks/models.py --data FOLDER --out FOLDER [--minutes 12] [--real FOLDER]
                                [--only compact,vipeegnet]

Each model is a recipe, with the overrides of its section ``reduced`` if it has one. Fold 0 is
trained from scratch, ``fine-tune`` from the model in the package. The table holds the KL divergence
on the held-out windows, and its excess over the floor (the score of the true probabilities) as a
share of the constant prior's. ``--real`` names a competition folder with ``solution_votes.csv`` to
score the models on; nothing is chosen by it. Finished models are not trained again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import open_competition
from hbac_utils.data.packing import open_or_pack
from hbac_utils.data.store import Store
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.inference.submission import write_submission
from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.recipe import Recipe, load_recipe, override
from hbac_utils.sweeps.study import count_parameters
from hbac_utils.training.evaluation import RunResult, find_truth, score
from hbac_utils.training.trainer import train

CONTESTANTS = (
    "fine-tune", "compact", "eeg-spectrogram", "spectrogram-50-30-10", "mel-zoom", "vipeegnet",
    "multiview", "paper-efficientnetv2b2", "paper-resnet50v2", "paper-yolov8",
)  # fmt: skip


def build(name: str) -> Recipe:
    """Load a recipe at reduced size; all share a store."""
    return override(load_recipe(name, reduced=True), {"data.band": [0.5, 40.0]})


def compete(name: str, store: Store, out: Path, minutes: float) -> dict:
    """Train a line and score it on the held-out windows of fold 0."""
    run = out / name
    if not (run / "metrics.json").is_file():
        train(build(name), store, run, [0], max_hours=minutes / 60)
    metrics = json.loads((run / "metrics.json").read_text())
    history = pd.read_csv(run / "fold0" / "history.csv")
    return {
        "model": name,
        **metrics["scores"]["model"],
        "last_all": metrics["scores"]["last"]["kl_all"],
        "last_reliable": metrics["scores"]["last"]["kl_reliable"],
        "windows_per_second": history["windows_per_second"].median(),
        "epochs": len(history),
        "minutes": history["seconds"].sum() / 60,
        "parameters": count_parameters(run / "fold0" / "model.weights.h5"),
    }


def score_elsewhere(run: Path, data: Path, out: Path) -> float:
    """Score a run on other recordings; NaN if they lack an input."""
    trained, competition = open_run(run), open_competition(data)
    if "spectrogram" in trained.recipe.inputs and not competition.has_spectrograms("test"):
        return np.nan
    submission = write_submission(predict([trained], competition, progress=False), out)
    return float(score(submission, data / "solution_votes.csv")["submission"])


def main() -> None:
    """Train, score, print, write ``models.csv``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--store", type=Path, help="packed first if it is not there")
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--real", type=Path, help="a folder to score on, with solution_votes.csv")
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="recipes, comma-separated")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    place = options.store or options.out / "store"
    store = open_or_pack(place, open_competition(options.data), build("multiview"))
    names = options.only.split(",")
    table = pd.DataFrame([compete(name, store, options.out, options.minutes) for name in names])
    truth = find_truth(open_competition(options.data))
    scores = RunResult(options.out / names[0], store, truth).scores
    bars = {name: scores[name] for name in ("oracle", "prior", "uniform")}
    for key in ("kl_all", "kl_reliable"):
        floor, prior = bars["oracle"][key], bars["prior"][key]
        table[f"excess_{key[3:]}"] = (table[key] - floor) / (prior - floor)
    if options.real:
        elsewhere = options.out / "real"
        runs = [options.out / name for name in names]
        table["kl_real"] = [
            score_elsewhere(run, options.real, elsewhere / run.name) for run in runs
        ]
    print(pd.DataFrame(bars).T.round(3).to_string())
    print(table.set_index("model").T.to_string())
    table.to_csv(options.out / "models.csv", index=False)
    print(f"excess: share of the prior's distance to the floor; reliable: ≥ {RELIABLE_VOTES} votes")


if __name__ == "__main__":
    main()
