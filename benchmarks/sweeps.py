"""Run the paper's sweeps at their reduced size; compare two workers with two single runs.

    python benchmarks/sweeps.py [--data FOLDER] [--out outputs/sweeps-bench]
                                [--only backbone,batch-size,kernel-size,workers] [--epochs 40]

Without ``--data`` a competition of 240 easy EEGs is simulated once under ``--out``. A finished
sweep is not run again: remove its folder to measure it anew. The line ``workers`` runs two trials
by two workers, two ``train`` at the same time, and two ``train`` in sequence, alternately; its
numbers are ratios of wall-clock time. ``sweeps.json`` in the folder ``--out`` holds the raw
numbers.
"""

import argparse
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import yaml
from measuring import ratio, simulated_competition, take_turns, write_report

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.packing import pack
from hbac_utils.recipe import load_recipe, override, save_recipe

PAPER = ("backbone", "batch-size", "kernel-size")
WORKERS = "workers"
MUST = 1.15  # two workers against two single runs
RECIPE = "demo"
DROPOUT = (0.2, 0.3)  # the two trials of the line about workers
EEGS = 240


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="competition folder (default: simulated)")
    parser.add_argument("--out", type=Path, default=Path("outputs/sweeps-bench"))
    parser.add_argument("--only", default=",".join([*PAPER, WORKERS]), help="comma-separated lines")
    parser.add_argument("--epochs", type=int, default=40, help="of a trial of the line workers")
    parser.add_argument("--turns", type=int, default=2, help="of the line workers")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.data:
        competition = open_competition(options.data)
    else:
        folder = options.out / "competition"
        competition = simulated_competition(folder, EEGS, patients=EEGS // 2, seed=7, evidence=5)
    store, report = options.out / "store", {}
    pack(competition, store, load_recipe(RECIPE).data)
    for name in options.only.split(","):
        if name == WORKERS:
            report[name] = _compare_workers(competition, store, options)
        else:
            report[name] = _sweep(name, competition, store, options.out)
        write_report(options.out / "sweeps.json", report)


def _sweep(name: str, competition: Competition, store: Path, out: Path) -> dict:
    begun = time.perf_counter()
    _verbs([
        "sweep", f"sweeps/{name}.yaml", "--reduced", "--data", competition.path, "--store", store,
        "--out", out / "sweeps", "--workers", 1,
    ])  # fmt: skip
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


def _compare_workers(competition: Competition, store: Path, options: argparse.Namespace) -> dict:
    work = options.out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    overrides = {"stages.0.epochs": options.epochs}
    data = ["--data", competition.path, "--store", store]
    sweep = {
        "name": "workers", "recipe": RECIPE, "overrides": overrides, "folds": [0], "workers": 2,
        "grid": {"dropout": list(DROPOUT)},
    }  # fmt: skip
    (work / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    runs = []
    for dropout in DROPOUT:
        recipe = work / f"dropout{dropout}.json"
        save_recipe(override(load_recipe(RECIPE), {"dropout": dropout, **overrides}), recipe)
        run = ["--recipe", recipe, "--folds", "0", "--run", work / "trial" / f"dropout{dropout}"]
        runs.append(["train", *data, *run])

    def seconds_per_trial(*calls) -> float:
        begun = time.perf_counter()
        for call in calls:
            call()
        shutil.rmtree(work / "trial")
        return (time.perf_counter() - begun) / 2

    both = ["sweep", work / "sweep.yaml", *data, "--out", work / "trial"]
    cases = {
        "two workers": partial(seconds_per_trial, partial(_verbs, both)),
        "at the same time": partial(seconds_per_trial, partial(_verbs, *runs)),
        "in sequence": partial(seconds_per_trial, *(partial(_verbs, run) for run in runs)),
    }
    seconds = take_turns(options.turns, cases)
    shutil.rmtree(work)
    ratios = {name: ratio(seconds, "two workers", name) for name in list(cases)[1:]}
    for name, value in ratios.items():
        verdict = "ok" if value <= MUST else "short"
        print(f"two workers : two single runs {name}  {value:.2f}  ≤ {MUST:.2f}  {verdict}")
    return {"seconds": seconds, "ratios": ratios, "must": MUST}


def _verbs(*verbs: list) -> None:
    """Run verbs of `hbac` at the same time."""
    commands = [[sys.executable, "-m", "hbac_utils", *map(str, verb)] for verb in verbs]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    for process in processes:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)


if __name__ == "__main__":
    main()
