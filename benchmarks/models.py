"""Train models of every kind for the same time; score them on the same held-out patients.

    python benchmarks/models.py --data FOLDER --out FOLDER [--minutes 12] [--real FOLDER]
                                [--only compact,waveform]

Each model is a recipe, reduced for a CPU where `CONTESTANTS` says so. Its step is timed first;
its stages get as many epochs as fit into the time, in the recipe's proportion; then fold 0 is
trained from scratch. The table holds the KL divergence on the held-out windows, and its excess
over the floor (the score of the true probabilities) as a share of the constant prior's.
``--real`` names a competition folder with ``solution_votes.csv`` to score the models on; nothing
is chosen by it. Finished models are not trained again.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import open_competition
from hbac_utils.data.dataset import FoldData
from hbac_utils.data.packing import open_or_pack
from hbac_utils.data.store import Store
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.inference.submission import write_submission
from hbac_utils.labels import RELIABLE_VOTES
from hbac_utils.recipe import Recipe, load_recipe, override
from hbac_utils.sweeps.study import count_parameters
from hbac_utils.training.evaluation import RunResult, find_truth, score
from hbac_utils.training.state import TrainingState
from hbac_utils.training.trainer import train
from hbac_utils.utils.backend import keras, tf

SMALL = {"backbone.variant": "b0", "backbone.weights": "none"}
SMALL_BRANCH = {"branches.0.view.frames": 128, "branches.0.view.bins": 16}

CONTESTANTS: dict[str, tuple[str, dict[str, object]]] = {
    "compact": ("compact", {}),
    "waveform": ("waveform-b3", {**SMALL, "view.rate": 40}),
    "eeg-spectrogram": ("eeg-spectrogram", {"view.frames": 128, "view.bins": 16}),
    "multiview": (
        "multiview", {"view.rate": 40, **SMALL_BRANCH, "branches.1.view.size": [100, 75]}
    ),
    "paper-efficientnetv2": ("paper-efficientnetv2b2", {**SMALL, "view.size": [200, 150]}),
}  # fmt: skip
"""Line of the table: recipe, and overrides that reduce it."""

MARGIN = 0.93  # share of the time that is planned for
TIMED_STEPS = 12


def build(name: str) -> Recipe:
    """Recipe of a line."""
    recipe, changes = CONTESTANTS[name]
    return override(load_recipe(recipe), changes)


def time_epochs(recipe: Recipe, store: Store) -> tuple[list[float], float]:
    """Seconds of an epoch of each stage, scoring included, and of building and tracing."""
    data, begun = FoldData(store, recipe, 0), time.perf_counter()
    state = TrainingState(recipe)
    state.begin_fold()
    once, epochs = time.perf_counter() - begun, []
    held_out = data.evaluation_dataset()
    for index, stage in enumerate(recipe.stages):
        state.begin_stage(stage)
        batches = data.training_dataset(index)
        first, few, more = (_time_fit(state.model, batches, n) for n in (1, 1, 1 + TIMED_STEPS))
        step = (more - few) / TIMED_STEPS  # without the start of `fit`
        begun = time.perf_counter()
        state.model.predict(held_out, verbose=0)
        scoring = time.perf_counter() - begun
        once += first - step
        epochs.append(step * data.steps_per_epoch(index) + scoring)
    return epochs, once


def _time_fit(model: keras.Model, dataset: tf.data.Dataset, steps: int) -> float:
    batches = dataset.take(steps).cache()
    for _ in batches:
        pass
    begun = time.perf_counter()
    model.fit(batches, verbose=0, shuffle=False)
    return time.perf_counter() - begun


def fit_into(recipe: Recipe, epochs: list[float], seconds: float) -> Recipe:
    """Reduce the epochs of all stages in proportion."""
    planned = sum(s.epochs * cost for s, cost in zip(recipe.stages, epochs, strict=True))
    factor = min(1.0, max(seconds, 0.0) / planned)
    changes = {}
    for i, stage in enumerate(recipe.stages):
        n = max(1, int(stage.epochs * factor))
        changes[f"stages.{i}.epochs"] = n
        changes[f"stages.{i}.warmup_epochs"] = min(stage.warmup_epochs, n / 4)
    return override(recipe, changes)


def compete(name: str, store: Store, out: Path, minutes: float) -> dict:
    """Train a line and score it on the held-out windows of fold 0."""
    run, notes = out / name, out / f"{name}.json"
    if not notes.is_file():
        recipe = build(name)
        keras.utils.set_random_seed(recipe.seed)
        epochs, once = time_epochs(recipe, store)
        recipe = fit_into(recipe, epochs, MARGIN * 60 * minutes - once)
        shown = " + ".join(str(stage.epochs) for stage in recipe.stages)
        print(f"{name}: {shown} epochs planned", flush=True)
        begun = time.perf_counter()
        train(recipe, store, run, [0], max_hours=minutes / 60)
        seconds = time.perf_counter() - begun
        notes.write_text(json.dumps({"minutes": seconds / 60, "epochs planned": shown}) + "\n")
    metrics = json.loads((run / "metrics.json").read_text())
    history = pd.read_csv(run / "fold0" / "history.csv")
    return {
        "model": name,
        **metrics["scores"]["model"],
        "last_all": metrics["scores"]["last"]["kl_all"],
        "last_reliable": metrics["scores"]["last"]["kl_reliable"],
        "windows_per_second": history["windows_per_second"].median(),
        "epochs": len(history),
        "parameters": count_parameters(run / "fold0" / "model.weights.h5"),
        **json.loads(notes.read_text()),
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
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="lines, comma-separated")
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
