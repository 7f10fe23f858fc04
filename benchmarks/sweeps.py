"""Run the paper's sweeps at their reduced size, and weigh two workers against two single runs.

    python benchmarks/sweeps.py [--data FOLDER] [--out outputs/sweeps-bench]
                                [--only backbone,batch-size,kernel-size,workers] [--epochs 40]

Without ``--data`` a competition of 240 plain EEGs is synthesized once under ``--out``. A sweep that
is finished is not run again: remove its folder to measure it anew. The line ``workers`` takes two
trials by two workers, two ``train`` at the same time, and two ``train`` one after the other, in
turn; its numbers are ratios of the wall-clock time, start of Python and the page included. Printed
is a table; ``sweeps.json`` in the folder ``--out`` holds the raw numbers.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.packing import pack
from hbac_utils.recipe import load_recipe, override, save_recipe
from hbac_utils.synthetic.render import synthesize

PAPER = ("backbone", "batch-size", "kernel-size")
WORKERS = "workers"
MUST = 1.15  # two workers against two single runs
RECIPE = "demo"
DROPOUT = (0.2, 0.3)  # the two trials of the line about workers
EEGS = 240


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    options = _parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    competition = open_competition(options.data) if options.data else _synthesize(options.out)
    store = options.out / "store"
    pack(competition, store, load_recipe(RECIPE).data)
    names = options.only.split(",") if options.only else [*PAPER, WORKERS]
    report = {"load": os.getloadavg(), "cores": os.cpu_count(), "machine": platform.platform()}
    for name in names:
        if name == WORKERS:
            report[name] = _weigh(competition, store, options)
        else:
            report[name] = _sweep(name, competition, store, options.out)
        (options.out / "sweeps.json").write_text(json.dumps(report, indent=2) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="competition folder; synthesized by default")
    parser.add_argument("--out", type=Path, default=Path("outputs/sweeps-bench"))
    parser.add_argument("--only", default="", help="such as batch-size,workers; all by default")
    parser.add_argument("--epochs", type=int, default=40, help="of a trial of the line workers")
    parser.add_argument("--turns", type=int, default=2, help="of the line workers")
    return parser


def _synthesize(out: Path) -> Competition:
    folder = out / "competition"
    if folder.is_dir():
        return open_competition(folder)
    print(f"synthesizing {EEGS} EEGs into {folder}, once", flush=True)
    return synthesize(folder, eegs=EEGS, patients=EEGS // 2, seed=7, evidence=5, progress=False)


# -- the paper's sweeps ----------------------------------------------------------


def _sweep(name: str, competition: Competition, store: Path, out: Path) -> dict:
    begun = time.perf_counter()
    _verb(
        "sweep", f"sweeps/{name}.yaml", "--reduced", "--data", competition.path, "--store", store,
        "--out", out / "sweeps", "--workers", 1,
    )  # fmt: skip
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


# -- two workers and two single runs ---------------------------------------------


def _weigh(competition: Competition, store: Path, options: argparse.Namespace) -> dict:
    work = options.out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    overrides = {"stages.0.epochs": options.epochs}
    common = ["--data", competition.path, "--store", store]
    recipes = [_recipe(work, dropout, overrides) for dropout in DROPOUT]
    seconds: dict[str, list[float]] = {"two workers": [], "side by side": [], "in turn": []}
    for turn in range(options.turns):
        at = work / f"turn{turn}"
        sweep = _sweep_file(work, turn, overrides)
        trains = [
            ["train", *common, "--recipe", recipe, "--folds", "0", "--run"] for recipe in recipes
        ]
        cases = {
            "two workers": lambda at=at, sweep=sweep: _verb("sweep", sweep, *common, "--out", at),
            "side by side": lambda at=at, trains=trains: _together(
                [[*verb, at / f"beside{i}"] for i, verb in enumerate(trains)]
            ),
            "in turn": lambda at=at, trains=trains: [
                _verb(*verb, at / f"turn{i}") for i, verb in enumerate(trains)
            ],
        }
        for name in list(cases)[:: -1 if turn % 2 else 1]:
            begun = time.perf_counter()
            cases[name]()
            seconds[name].append(time.perf_counter() - begun)
            print(f"{name}: {seconds[name][-1] / 2:.1f} s a trial", flush=True)
    shutil.rmtree(work)
    ratios = {
        name: float(np.median(np.divide(seconds["two workers"], seconds[name])))
        for name in ("side by side", "in turn")
    }
    for name, ratio in ratios.items():
        verdict = "ok" if ratio <= MUST else "short"
        print(f"two workers : two single runs {name}  {ratio:.2f}  ≤ {MUST:.2f}  {verdict}")
    return {"seconds": seconds, "ratios": ratios, "must": MUST}


def _recipe(folder: Path, dropout: float, overrides: dict) -> Path:
    path = folder / f"dropout{dropout}.json"
    save_recipe(override(load_recipe(RECIPE), {"dropout": dropout, **overrides}), path)
    return path


def _sweep_file(folder: Path, turn: int, overrides: dict) -> Path:
    content = {
        "name": f"weighed-{turn}", "recipe": RECIPE, "overrides": overrides,
        "grid": {"dropout": list(DROPOUT)}, "folds": [0], "workers": 2,
    }  # fmt: skip
    path = folder / f"turn{turn}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def _command(arguments: tuple | list) -> list[str]:
    return [sys.executable, "-m", "hbac_utils", *map(str, arguments)]


def _verb(*arguments: object) -> None:
    subprocess.run(_command(arguments), check=True, stdout=subprocess.DEVNULL)


def _together(verbs: list[list]) -> None:
    processes = [subprocess.Popen(_command(verb), stdout=subprocess.DEVNULL) for verb in verbs]
    for process in processes:
        if process.wait():
            raise subprocess.CalledProcessError(process.returncode, process.args)


if __name__ == "__main__":
    main()
