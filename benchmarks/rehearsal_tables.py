"""The tables of a rehearsal: figures per step, growth, projected sessions on Kaggle."""

import json
import os
import platform
from pathlib import Path

import psutil
from rehearsal_road import CORES, DISK, HOURS, MEMORY, Record, Size, Step, plan

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.recipe import load_recipe


def report(size: Size, records: list[Record]) -> str:
    """Write the table of the steps."""
    steps = {step.name: step for step in plan(size, Path())}
    rows = [
        {
            "step": r.name,
            "minutes": f"{r.minutes:.1f}" + ("" if r.done else ", unfinished"),
            "CPU minutes": f"{r.cpu_minutes:.1f}",
            "CPU ms per EEG": f"{6e4 * r.cpu_minutes / steps[r.name].eegs:,.1f}",
            "memory, GB": f"{r.memory / 1e9:.1f}",
            "read, GB": f"{r.read / 1e9:.1f}",
            "written, GB": f"{r.written / 1e9:.1f}",
            "on disk, GB": f"{r.disk / 1e9:.1f}" if steps[r.name].kaggle else "",
            "attempts": r.attempts,
            "limits": _verdict(r, steps[r.name]),
        }
        for r in records
    ]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(map(str, row.values()) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    hours = sum(r.minutes for r in records) / 60
    machine = f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB"
    about = (
        f"{size.eegs:,} EEGs of {size.patients:,} patients, {size.test_eegs:,} test EEGs; "
        f"{hours:.1f} hours in all; {machine}, {platform.system()}; memory limit "
        f"{MEMORY / 1e9:.1f} GB, disk {DISK / 1e9:.0f} GB."
    )
    return f"{about}\n\n{table}\n"


def growth(records: dict[str, Record], out: Path) -> str:
    """Compare packing all EEGs with packing a tenth, per hour of EEG."""
    seconds = {}
    for name, store in (("pack a tenth", "tenth"), ("pack", "store")):
        rows = json.loads((out / "temp" / store / "store.json").read_text())["eeg_samples"]
        hours = rows / SAMPLING_RATE / 3600
        seconds[name] = 60 * records[name].cpu_minutes / hours
    tenth, whole = seconds.values()
    return (
        f"Growth: packing an hour of EEG takes {whole:.2f} s of a core at the whole size and "
        f"{tenth:.2f} s at a tenth of it, {whole / tenth:.2f} times as long.\n"
    )


def projection(records: dict[str, Record], size: Size) -> str:
    """Project Kaggle's sessions: measured CPU time on its cores, estimated operations on its T4."""
    from cost import T4_PAIR, count, estimate  # loads TensorFlow

    names = ("compact", "vipeegnet", "mel-zoom")
    gpu = {f"training, {n}": estimate(load_recipe(n))["T4 × 2 hours"] for n in names}
    forward = sum(count(load_recipe(name)).seconds(T4_PAIR, training=False) for name in names)
    gpu["inference, three runs of five folds"] = size.test_eegs * 5 * forward / 3600
    lines = ["| session | CPU minutes | hours of 4 cores | hours of T4 × 2 | sum | limit |"]
    lines.append("| --- " * 6 + "|")
    for session, hours in gpu.items():
        kind = session.partition(",")[0]
        cpu = records["pack" if kind == "training" else "inference, cold"].cpu_minutes
        total = cpu / 60 / CORES + hours
        cells = f"{cpu:.1f}", f"{cpu / 60 / CORES:.2f}", f"{hours:.2f}", f"{total:.2f}"
        lines.append(f"| {session} | {' | '.join(cells)} | {HOURS[kind]} |")
    return "\n".join(lines) + "\n"


def _verdict(record: Record, step: Step) -> str:
    if not step.kaggle:
        return "not on Kaggle"
    over = [
        name
        for name, value, limit in (("memory", record.memory, MEMORY), ("disk", record.disk, DISK))
        if value > limit
    ]
    return ("over: " + ", ".join(over) if over else "kept") + (record.note and f" ({record.note})")
