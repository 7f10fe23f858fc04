"""Predict a hidden test set of full size: time, and growth of memory.

    python benchmarks/rerun.py --data FOLDER --run FOLDER [--eegs 2700] [--out outputs/rerun]

The test recordings of a competition folder are hard-linked under new ids and predicted as in the
inference notebook. Printed are minutes, EEGs per second, and the growth of memory during a second
pass (slope per 1,000 EEGs with its standard error), when allocators have filled their pools. Linked
files come from the page cache after the first read; a disk would be slower.
"""

import argparse
import json
import os
import platform
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
from footprint import footprint, growth

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.inference.predict import open_runs, predict

LIMIT = 15.0  # minutes


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="competition folder with test recordings")
    parser.add_argument("--run", nargs="+", required=True, help="a run, or several")
    parser.add_argument("--eegs", type=int, default=2_700)
    parser.add_argument("--out", type=Path, default=Path("outputs/rerun"))
    options = parser.parse_args(arguments)
    competition = _enlarge(open_competition(options.data), options.eegs, options.out / "hidden")
    runs = open_runs(options.run)
    begun = time.perf_counter()
    prediction = predict(runs, competition)
    minutes = (time.perf_counter() - begun) / 60
    _, megabytes = footprint(lambda: predict(runs, competition))
    slope, error = growth(megabytes, options.eegs / 1000)
    models = sum(len(run.models) for run in runs)
    verdict = "ok" if minutes <= LIMIT else "short"
    print(f"{options.eegs:,} EEGs, {models} models: {minutes:.2f} minutes, ≤ {LIMIT:g}  {verdict}")
    print(f"{options.eegs / minutes / 60:.1f} EEGs/s, {len(prediction.fallbacks)} fell back")
    print(f"memory {megabytes.max():.0f} MB at most, {slope:+.2f} ± {error:.2f} MB per 1,000 EEGs")
    report = {
        "eegs": options.eegs, "models": models, "minutes": minutes, "megabytes": megabytes.tolist(),
        "slope": slope, "error": error, "cores": os.cpu_count(), "machine": platform.platform(),
    }  # fmt: skip
    (options.out / "rerun.json").write_text(json.dumps(report) + "\n")


def _enlarge(competition: Competition, eegs: int, folder: Path) -> Competition:
    """Make a test folder of ``eegs`` recordings, hard links to the existing ones."""
    shutil.rmtree(folder, ignore_errors=True)
    test = competition.test
    rows = test.iloc[np.arange(eegs) % len(test)].reset_index(drop=True)
    rows = rows.assign(eeg_id=np.arange(eegs) + 1, spectrogram_id=np.arange(eegs) + 1)
    originals = test.iloc[np.arange(eegs) % len(test)]
    kinds = {"eegs": "eeg_id"}
    if competition.has_spectrograms("test"):
        kinds["spectrograms"] = "spectrogram_id"
    for kind, column in kinds.items():
        (folder / f"test_{kind}").mkdir(parents=True)
        for new, old in zip(rows[column], originals[column], strict=True):
            source = competition.path.resolve() / f"test_{kind}" / f"{old}.parquet"
            os.link(source, folder / f"test_{kind}" / f"{new}.parquet")
    pd.DataFrame(rows).to_csv(folder / "test.csv", index=False)
    return open_competition(folder)


if __name__ == "__main__":
    main()
