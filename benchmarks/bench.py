"""Measure speed and growth against yardsticks in the same run (`make bench`).

    python benchmarks/bench.py [--data FOLDER] [--growth 1000,4000,17089] [--quick]

Each line compares two cases that are measured alternately; its number is the median over the turns,
for growth the ratio of the best turns. Without ``--data`` a competition is simulated once under
``--out`` (a minute for 400 EEGs on two cores). ``bench.json`` beside the folder ``--out`` holds
the table.
"""

import argparse
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from bench_models import model_lines, view_line
from bench_windows import (
    JOBS,
    QUICK,
    TIMES_FASTER,
    Effort,
    batch_speed,
    gpu_line,
    mixture_line,
    seconds_of_starter,
    training_data,
    warm_up,
    window_lines,
)
from blending import scale as blend_scale
from measuring import HEAD, Line, ratio, simulated_competition, take_turns, write_report

from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.packing import pack
from hbac_utils.recipe import Data, load_recipe
from hbac_utils.synthetic.plan import make_plan
from hbac_utils.synthetic.render import EEGS_PER_PATIENT

BLEND_LIMITS = {"seconds": 60, "gigabytes": 2.0}


# -- data ----------------------------------------------------------------------


def subset(competition: Competition, eegs: int, folder: Path) -> Competition:
    """Link whole spectrograms, in random order, until there are ``eegs`` EEGs or a few more."""
    table = competition.train
    sessions = table.groupby("spectrogram_id")["eeg_id"].nunique().sample(frac=1, random_state=0)
    before = sessions.cumsum() - sessions
    chosen = table["spectrogram_id"].isin(sessions.index[before < eegs])
    return link(competition, table[chosen], folder)


def link(
    competition: Competition, table: pd.DataFrame, folder: Path, spectrograms: bool = True
) -> Competition:
    """Make a competition of other rows over the same recordings."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table.to_csv(folder / "train.csv", index=False)
    for name in ("train_eegs", *["train_spectrograms"] * spectrograms):
        if (competition.path / name).is_dir():
            (folder / name).symlink_to((competition.path / name).resolve())
    return open_competition(folder)


def only_spectrograms(competition: Competition, folder: Path) -> Competition:
    """Put all windows into one EEG, so that packing is about spectrograms alone."""
    table = competition.train.sort_values("spectrogram_label_offset_seconds", kind="stable")
    table = table.drop_duplicates("spectrogram_id", keep="last")
    first = table.iloc[0]
    table = table.assign(
        eeg_id=first["eeg_id"], eeg_sub_id=range(len(table)), eeg_label_offset_seconds=0.0,
        patient_id=first["patient_id"],
    )  # fmt: skip
    return link(competition, table, folder)


# -- packing -------------------------------------------------------------------


def seconds_to_pack(competition: Competition, store: Path) -> float:
    """Time `pack`, and remove the store."""
    begun = time.perf_counter()
    pack(competition, store, Data(), jobs=JOBS, progress=False)
    elapsed = time.perf_counter() - begun
    shutil.rmtree(store)
    return elapsed


def seconds_to_decode(paths: list[Path]) -> float:
    """Time pyarrow reading the files with as many workers."""

    def read(path: Path) -> int:  # a function inside, so that the workers need not import it
        return pq.read_table(path).nbytes

    begun = time.perf_counter()
    joblib.Parallel(n_jobs=JOBS)(joblib.delayed(read)(path) for path in paths)
    return time.perf_counter() - begun


def pack_lines(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Packing against mere decoding, and spectrograms against the starter's conversion too."""
    table = competition.train
    eegs = [competition.eeg_path("train", i) for i in table["eeg_id"].unique()]
    images = [competition.spectrogram_path("train", i) for i in table["spectrogram_id"].unique()]
    cases = [
        ("EEG", 0.5, link(competition, table, work / "eegs", spectrograms=False), eegs),
        ("spectrograms", 0.6, only_spectrograms(competition, work / "spectrograms"), images),
    ]
    lines = []
    for name, floor, part, paths in cases:
        megabytes = sum(pq.read_table(path).nbytes for path in paths) / 1e6
        timed = {
            "pyarrow": partial(seconds_to_decode, paths),
            "pack": partial(seconds_to_pack, part, work / "packed"),
        }
        if name == "spectrograms":
            timed["starter"] = partial(seconds_of_starter, paths, work / "npy")
        take_turns(1, timed)  # starts the workers
        measured = take_turns(effort.turns, timed)
        speed = {case: megabytes / np.median(values) for case, values in measured.items()}
        note = f"{speed['pack']:.0f} : {speed['pyarrow']:.0f} MB/s, {len(paths)} files"
        share = ratio(measured, "pyarrow", "pack")
        lines.append(Line(f"pack {name} : pyarrow decoding", share, floor, note=note))
    rate = {case: len(paths) / np.median(values) for case, values in measured.items()}
    note = f"{rate['pack']:.0f} : {rate['starter']:.0f} files/s; decoding {rate['pyarrow']:.0f}"
    share = ratio(measured, "starter", "pack")
    return [*lines, Line("pack spectrograms : starter's .npy", share, TIMES_FASTER, note=note)]


# -- growth --------------------------------------------------------------------


def planning_line(effort: Effort) -> Line:
    """Time per EEG of planning a simulation, at several sizes, processor time."""

    def ms_per_eeg(eegs: int) -> float:
        again = max(1, effort.plans[1] // eegs)
        begun = time.process_time()
        for seed in range(again):
            make_plan(eegs, max(1, round(eegs / EEGS_PER_PATIENT)), eegs // 10, seed)
        return 1e3 * (time.process_time() - begun) / (again * eegs)

    return _growth_line("plan the simulation", ms_per_eeg, {n: n for n in effort.plans}, 2)


def _growth_line(name: str, ms_per_eeg: Callable, counts: dict[int, int], turns: int) -> Line:
    measured = take_turns(turns, {n: partial(ms_per_eeg, n) for n in counts})
    # the best turn: sizes cannot be paired turn by turn, and other processes only add time
    best = {n: min(values) for n, values in measured.items()}
    note = "ms per EEG: " + ", ".join(f"{counts[n]:,} EEGs {v:.3g}" for n, v in best.items())
    share = max(best.values()) / min(best.values())
    return Line(f"growth, {name}: slowest : fastest size", share, ceiling=1.15, note=note)


def growth_lines(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Time per EEG of packing and of an epoch's batches, at several sizes."""
    parts = {n: subset(competition, n, work / f"subset-{n}") for n in effort.growth}
    counts = {n: part.train["eeg_id"].nunique() for n, part in parts.items()}
    recipe, windows = load_recipe("compact"), {}
    for n, part in parts.items():
        store = pack(part, work / f"grown-{n}", Data(), jobs=JOBS, progress=False)
        windows[n] = training_data(store, recipe)
        warm_up(windows[n])

    def pack_time(n: int) -> float:
        again = min(max(counts.values()) // counts[n], 8)  # as much work at every size
        seconds = [seconds_to_pack(parts[n], work / "packed") for _ in range(again)]
        return 1e3 * float(np.mean(seconds)) / counts[n]

    def batch_time(n: int) -> float:
        per_window = 1e3 / batch_speed(windows[n], effort.windows)
        return per_window * len(windows[n].rows_of_epoch(0, 0)) / counts[n]

    cases = {"pack": pack_time, "an epoch's batches": batch_time}
    return [
        _growth_line(name, timed, counts, min(effort.turns, 3)) for name, timed in cases.items()
    ]


# -- blending ------------------------------------------------------------------


def blend_lines(work: Path, effort: Effort) -> list[Line]:
    """Blend members of full size in a process of its own."""
    members, rows = effort.members
    if not members:
        return []
    (folder := work / "blend").mkdir()
    found = blend_scale(folder, members, rows)
    shutil.rmtree(folder)
    note = f"weights off by {found['weights_off']:.4f} at most"
    return [
        Line(f"blend {members} × {rows:,} rows, {unit}", found[unit], ceiling=limit, note=note)
        for unit, limit in BLEND_LIMITS.items()
    ]


# -- the whole -----------------------------------------------------------------


def measure(competition: Competition, work: Path, effort: Effort) -> list[Line]:
    """Measure all lines; print each group when it is done."""
    small = subset(competition, effort.eegs, work / "competition")
    store = pack(small, work / "store", Data(), jobs=JOBS, progress=False)
    groups = (
        # first: a process is said to have had the memory of the one that started it
        lambda: blend_lines(work, effort),
        lambda: pack_lines(small, work, effort),
        lambda: window_lines(store, effort),
        lambda: [gpu_line(store, effort)],
        lambda: [mixture_line(work, effort.turns)],
        lambda: model_lines(store, effort),
        lambda: [view_line(effort)],
        lambda: [planning_line(effort)],
        lambda: growth_lines(competition, work, effort),
    )
    print(HEAD)
    lines: list[Line] = []
    for group in groups:
        lines += (added := group())
        print(*added, sep="\n", flush=True)
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="competition folder (default: simulated)")
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"), help="working folder")
    parser.add_argument("--growth", default="", help="numbers of EEGs, such as 1000,4000,17089")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see it run")
    options = parser.parse_args(arguments)
    begun = time.perf_counter()
    effort = QUICK if options.quick else Effort()
    if options.growth:
        effort = replace(effort, growth=tuple(sorted(map(int, options.growth.split(",")))))
    if options.data:
        competition = open_competition(options.data)
    else:
        largest = max(*effort.growth, effort.eegs)
        competition = simulated_competition(options.out / f"competition-{largest}", largest)
    work = options.out / "work"
    shutil.rmtree(work, ignore_errors=True)
    lines = measure(competition, work, effort)
    shutil.rmtree(work)
    report = options.out.with_suffix(".json")
    minutes = (time.perf_counter() - begun) / 60
    rows = [asdict(line) | {"goal": line.goal, "verdict": line.verdict} for line in lines]
    write_report(report, {"minutes": minutes, "lines": rows, "effort": asdict(effort)})
    failed = sum(line.verdict == "fail" for line in lines)
    print(f"\n{failed} of {len(lines)} lines fail; {minutes:.1f} minutes; report  {report}")


if __name__ == "__main__":
    main()
