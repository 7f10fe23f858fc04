"""Predict a hidden test set of full size: time and memory.

    python benchmarks/rerun.py --data FOLDER --run FOLDER [--eegs 2700] [--out outputs/rerun]

The test recordings of a competition folder are hard-linked under new ids and predicted as in the
inference notebook. Linked files come from the page cache after the first read; a disk would be
slower.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

import numpy as np
from measuring import peak_memory, write_report

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
    competition = enlarge(open_competition(options.data), options.eegs, options.out / "hidden")
    runs = open_runs(options.run)
    begun = time.perf_counter()
    prediction, megabytes = peak_memory(lambda: predict(runs, competition))
    minutes = (time.perf_counter() - begun) / 60
    models = sum(len(run.models) for run in runs)
    verdict = "ok" if minutes <= LIMIT else "short"
    print(f"{options.eegs:,} EEGs, {models} models: {minutes:.2f} minutes, ≤ {LIMIT:g}  {verdict}")
    print(f"{options.eegs / minutes / 60:.1f} EEGs/s, {len(prediction.fallbacks)} fell back")
    print(f"memory {megabytes:.0f} MB at most")
    report = {"eegs": options.eegs, "models": models, "minutes": minutes, "megabytes": megabytes}
    write_report(options.out / "rerun.json", report)


def enlarge(competition: Competition, eegs: int, folder: Path) -> Competition:
    """Make a test folder of ``eegs`` recordings, hard links to the existing ones."""
    shutil.rmtree(folder, ignore_errors=True)
    kinds = ["eeg", *["spectrogram"] * competition.has_spectrograms("test")]
    originals = competition.test.iloc[np.arange(eegs) % len(competition.test)]
    for kind in kinds:
        (folder / f"test_{kind}s").mkdir(parents=True)
        for new, old in enumerate(originals[f"{kind}_id"]):
            source = competition.path.resolve() / f"test_{kind}s" / f"{old}.parquet"
            os.link(source, folder / f"test_{kind}s" / f"{new}.parquet")
    rows = originals.assign(**{f"{kind}_id": np.arange(eegs) for kind in kinds})
    rows.to_csv(folder / "test.csv", index=False)
    return open_competition(folder)


if __name__ == "__main__":
    main()
