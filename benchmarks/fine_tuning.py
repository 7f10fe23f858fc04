"""Fine-tune the model in the package on little data of another kind.

Compared with training from random weights, for as long as each recipe takes.

    python benchmarks/fine_tuning.py --out FOLDER [--sizes 150,1500] [--seed 501] [--recipes NAMES]

The data stands in for real data: other seeds, and a simulator whose experts draw their limits
elsewhere and whose signals have other sizes and forms than those that the model was trained on
(`SHIFTS`). Each recipe is trained on fold 0 of five, and scored on 400 test EEGs of other patients.
Finished parts are not done again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
from numpy.random import Generator

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.packing import open_or_pack
from hbac_utils.inference.predict import predict
from hbac_utils.inference.submission import write_submission
from hbac_utils.recipe import SHIPPED, load_recipe
from hbac_utils.synthetic import patterns, raters, sessions
from hbac_utils.synthetic.background import Background, draw_session_background
from hbac_utils.synthetic.render import synthesize
from hbac_utils.training.evaluation import score
from hbac_utils.training.trainer import train

TEST_EEGS, EEGS_PER_PATIENT = 400, 5


def other_background(patient: Generator, session: Generator) -> Background:
    """Draw a background with larger, slower and less reactive activity."""
    drawn = draw_session_background(patient, session)
    return replace(
        drawn, amplitude=1.5 * drawn.amplitude, exponent=drawn.exponent + 0.4,
        delta=1.3 * drawn.delta, beta=0.5 * drawn.beta, reactivity=0.5 * drawn.reactivity,
    )  # fmt: skip


SHIFTS = (
    # experts: where half of them see a pattern, a seizure, discharges, one side; how they differ
    (patterns, "CONTRAST", (2.0, 3.0)),
    (patterns, "FREQUENCIES", (3.4, 2.1)),
    (patterns, "EVOLUTION", (0.42, 0.2)),
    (patterns, "PERIODICITY", (0.44, 0.11)),
    (patterns, "LATERALITY", (0.33, 0.11)),
    (raters, "_THRESHOLDS", 1.4 * raters._THRESHOLDS),
    (sessions, "draw_session_background", other_background),
)
"""Module, name in it, and its value in the shifted simulator."""


def simulate(folder: Path, eegs: int, seed: int) -> Competition:
    """Simulate a competition with the shifted simulator, in this process."""
    if folder.is_dir():
        return open_competition(folder)
    saved = [getattr(module, name) for module, name, _ in SHIFTS]
    try:
        for module, name, value in SHIFTS:
            setattr(module, name, value)
        return synthesize(
            folder, eegs=eegs, patients=eegs // EEGS_PER_PATIENT, test_eegs=TEST_EEGS, seed=seed,
            eeg_only=True, jobs=1,
        )  # fmt: skip
    finally:
        for (module, name, _), value in zip(SHIFTS, saved, strict=True):
            setattr(module, name, value)


def score_test(run: str | Path, data: Competition, out: Path) -> dict[str, float]:
    """Score a run on the test EEGs, beside the prior of its training data and the truth."""
    submission = write_submission(predict([run], data, progress=False), out)
    truth = data.path.with_name(f"{data.path.name}_truth")
    prior = None if run == SHIPPED else Path(run)
    found = score(submission, truth / "solution.csv", prior, truth / "truth.parquet")
    return {"KL": found["submission"], "prior": found.get("prior"), "truth": found["oracle"]}


def main() -> None:
    """Simulate, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sizes", default="150,1500", help="training EEGs, comma-separated")
    parser.add_argument("--seed", type=int, default=501)
    parser.add_argument("--recipes", default="compact,demo,fine-tune", help="comma-separated")
    options = parser.parse_args()
    rows = []
    for size in map(int, options.sizes.split(",")):
        data = simulate(options.out / f"data{size}", size, options.seed)
        place = options.out / f"results{size}"
        row = {"EEGs": size, "recipe": "none, the model in the package", "minutes": 0.0}
        rows.append(row | score_test(SHIPPED, data, place / SHIPPED))
        for name in options.recipes.split(","):
            recipe, run = load_recipe(name), options.out / f"run-{Path(name).stem}-{size}"
            store = open_or_pack(options.out / f"store{size}", data, recipe)
            train(recipe, store, run, folds=[0])
            seconds = pd.read_csv(run / "fold0" / "history.csv")["seconds"].sum()
            row = {"EEGs": size, "recipe": name, "minutes": seconds / 60}
            rows.append(row | score_test(run, data, place / run.name))
    table = pd.DataFrame(rows)
    table["excess"] = (table["KL"] - table["truth"]) / (table["prior"] - table["truth"])
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
