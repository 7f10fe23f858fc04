"""Run the paper's sweeps at their reduced size.

    python benchmarks/sweeps.py [--data FOLDER] [--out outputs/sweeps-bench]
                                [--only backbone,batch-size,kernel-size]

Without ``--data`` a competition of 240 easy EEGs is simulated once under ``--out``. A finished
sweep is not run again: remove its folder to measure it anew. ``sweeps.json`` in the folder
``--out`` holds the numbers.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from measuring import simulated_competition, write_report

from hbac_utils.data.competition import Competition, open_competition

PAPER = ("backbone", "batch-size", "kernel-size")
EEGS = 240


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="competition folder (default: simulated)")
    parser.add_argument("--out", type=Path, default=Path("outputs/sweeps-bench"))
    parser.add_argument("--only", default=",".join(PAPER), help="sweeps, comma-separated")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.data:
        competition = open_competition(options.data)
    else:
        folder = options.out / "competition"
        competition = simulated_competition(folder, EEGS, patients=EEGS // 2, seed=7, evidence=5)
    report = {}
    for name in options.only.split(","):
        report[name] = sweep(name, competition, options.out)
        write_report(options.out / "sweeps.json", report)


def sweep(name: str, competition: Competition, out: Path) -> dict:
    """Run a sweep by its verb; print and return its table."""
    command = [
        sys.executable, "-m", "hbac_utils", "sweep", f"sweeps/{name}.yaml", "--reduced",
        "--data", competition.path, "--store", out / "store", "--out", out / "sweeps",
    ]  # fmt: skip
    begun = time.perf_counter()
    subprocess.run([*map(str, command)], stdout=subprocess.DEVNULL, check=True)
    minutes = (time.perf_counter() - begun) / 60
    folder = out / "sweeps" / f"{name}-reduced"
    table = pd.read_csv(folder / "results.csv")
    axis = table.columns[table.columns.get_loc("state") + 1]
    shown = [axis, "state", "kl_reliable", "kl_all", "parameters", "windows_per_second", "minutes"]
    print(f"\n{name}, reduced: {minutes:.1f} min in all; {folder / 'report.html'}")
    print(table[shown].round(4).to_string(index=False), flush=True)
    prior = {score: float(table[f"prior_{score}"].iloc[0]) for score in ("kl_reliable", "kl_all")}
    print(f"prior: {prior['kl_reliable']:.4f}, all votes {prior['kl_all']:.4f}")
    return {"minutes": minutes, "prior": prior, "trials": table[shown].to_dict("records")}


if __name__ == "__main__":
    main()
