"""Predict a hidden test set of full size, and watch time and memory.

    python benchmarks/rerun.py --data FOLDER --run FOLDER [--eegs 2700] [--out outputs/rerun]

The test recordings of a competition folder are linked under as many new ids as wanted and predicted
by `predict_all`, as the inference notebook does. Printed are minutes, EEGs a second, and how
anonymous memory (Linux' ``RssAnon``) grows after the first tenth: slope per 1,000 EEGs with
its standard error. Files that are linked lie in the page cache after they were read once: a disk
would be slower.
"""

import argparse
import json
import os
import platform
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.ensemble import open_runs, predict_all

MUST = 15.0  # minutes
PERIOD = 0.25  # seconds between two looks at the memory
SETTLED = 0.1
STRETCHES = 20


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
    watch = Watched()
    begun = time.perf_counter()
    prediction = watch.during(lambda: predict_all(runs, competition))
    minutes = (time.perf_counter() - begun) / 60
    slope, error = watch.slope(options.eegs)
    models = sum(len(run.models) for run in runs)
    verdict = "ok" if minutes <= MUST else "short"
    print(f"{options.eegs:,} EEGs, {models} models: {minutes:.2f} minutes, ≤ {MUST:g}  {verdict}")
    print(f"{options.eegs / minutes / 60:.1f} EEGs/s, {len(prediction.fallbacks)} fell back")
    most = max(watch.megabytes)
    print(f"memory {most:.0f} MB at most, {slope:+.2f} ± {error:.2f} MB per 1,000 EEGs")
    report = {
        "eegs": options.eegs, "models": models, "minutes": minutes, "megabytes": watch.megabytes,
        "slope": slope, "error": error, "cores": os.cpu_count(), "machine": platform.platform(),
    }  # fmt: skip
    (options.out / "rerun.json").write_text(json.dumps(report) + "\n")


def _enlarge(competition: Competition, eegs: int, folder: Path) -> Competition:
    """Make a test folder of as many recordings, all linked to those that there are."""
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


class Watched:
    """The anonymous memory of the process while something runs."""

    def __init__(self):
        self.megabytes: list[float] = []
        self._over = threading.Event()

    def during(self, work):
        """Do the work and return what it gives."""
        watcher = threading.Thread(target=self._look)
        watcher.start()
        try:
            return work()
        finally:
            self._over.set()
            watcher.join()

    def _look(self) -> None:
        while not self._over.wait(PERIOD):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    self.megabytes.append(float(line.split()[1]) / 1024)

    def slope(self, eegs: int) -> tuple[float, float]:
        """Fit a line; MB per 1,000 EEGs and its standard error.

        Of means over stretches, as what is seen shortly after one another is much alike.
        """
        settled = np.array(self.megabytes[int(SETTLED * len(self.megabytes)) :])
        means = [stretch.mean() for stretch in np.array_split(settled, STRETCHES)]
        step = (1 - SETTLED) * eegs / 1000 / STRETCHES
        line = stats.linregress(step * np.arange(STRETCHES), means)
        return float(line.slope), float(line.stderr)


if __name__ == "__main__":
    main()
