"""Rehearse a competition of the real size under Kaggle's limits (`make rehearsal`).

    python benchmarks/rehearsal.py --out FOLDER [--size full|small]

Simulates the competition with uncut tails, then takes the whole road: EDA notebook, pack, training
notebook of three recipes, out-of-fold report, blend, inference notebook from a cold page cache,
score of the submission. Each step is a child process without network and with the competition
mounted read-only, where the system permits namespaces (``unshare -rnm``; otherwise a note says so).
It is ended when its processes together have more memory than a Kaggle session, or nine tenths of
this machine's. ``steps.json`` in the folder holds the figures of each step, and grows while a step
runs: what was killed continues with the next call, and a finished step is not run again.
``rehearsal.md`` beside it is the table; that of the full size is also written into
``docs/rehearsal.md``.
"""

import argparse
import fcntl
import json
import os
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psutil
from rehearsal_road import MEMORY, SIZES, Record, Size, Step, plan, write_recipes
from rehearsal_tables import growth, projection, report

from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import lock, replacing

PERIOD = 1.0  # seconds between two samples
ISOLATE = ["unshare", "-rnm", "--propagation", "private"]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "rehearsal.md"
MARKS = "<!-- figures -->\n", "<!-- end of figures -->\n"


# -- one step --------------------------------------------------------------------


def run_step(step: Step, out: Path, record: Record, save: Callable[[], None]) -> None:
    """Run a step under the limits; ``save`` is called with every sample."""
    data = out / "competition"
    command = [sys.executable, "-m", "hbac_utils", *step.command]
    isolated = step.kaggle and subprocess.run([*ISOLATE, "true"], capture_output=True)
    if isolated and isolated.returncode == 0:
        command = [*ISOLATE, sys.executable, __file__, "--isolated", str(data), *command]
    elif step.kaggle:
        record.note = "no namespaces: with network, the competition is writable"
    if step.cold:
        drop_from_cache(data)
    before, begun, cpu = Record(**asdict(record)), time.monotonic(), _cpu_of_children()
    record.attempts += 1
    print(f"{step.name}: {' '.join(step.command)}", flush=True)
    child = psutil.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    while True:
        try:
            code = child.wait(timeout=PERIOD)
        except psutil.TimeoutExpired:
            code = None
        memory = _sample(child, before, record) if code is None else 0
        record.minutes = before.minutes + (time.monotonic() - begun) / 60
        written = sum(_bytes_in(out / name) for name in ("working", "temp"))
        record.disk = max(record.disk, written) if step.kaggle else 0
        if code is not None:
            total = before.cpu_minutes + (_cpu_of_children() - cpu) / 60
            record.cpu_minutes, record.done = max(record.cpu_minutes, total), code == 0
        save()
        if code is not None:
            break
        if step.kaggle and memory > MEMORY:
            for process in [*child.children(recursive=True), child]:
                process.kill()
    if code:
        limit = f"memory {record.memory / 1e9:.1f} of {MEMORY / 1e9:.1f} GB"
        raise InputError(f"{step.name}: ended with {code} ({limit}); call again to continue")


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _sample(child: psutil.Process, before: Record, record: Record) -> int:
    """Update a record from the processes that are alive; return the bytes of memory now."""
    memory = cpu = read = written = 0
    for process in [child, *child.children(recursive=True)]:
        try:
            with process.oneshot():
                info, times, io = (
                    process.memory_info(), process.cpu_times(), process.io_counters()
                )  # fmt: skip
        except psutil.Error:  # it has ended
            continue
        # a process has the time and the bytes of the children that it has waited for
        memory += info.rss - info.shared
        cpu += sum(times[:4])
        read, written = read + io.read_bytes, written + io.write_bytes
    record.memory = max(record.memory, memory)
    record.cpu_minutes = max(record.cpu_minutes, before.cpu_minutes + cpu / 60)
    record.read = max(record.read, before.read + read)
    record.written = max(record.written, before.written + written)
    return memory


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.lstat().st_blocks * 512
        except OSError:  # it was renamed
            continue
    return total


def drop_from_cache(data: Path) -> None:
    """Let the system forget the test recordings, so that they are read from the disk."""
    for path in data.glob("test_*/*.parquet"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def enter(data: str, command: list[str]) -> None:
    """In namespaces of its own: loopback only, a read-only competition; become the command."""
    with socket.socket() as any_socket:  # a notebook's kernel is talked to over the loopback
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    subprocess.run(["mount", "--bind", data, data], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", data], check=True)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    os.execvp(command[0], command)


# -- all -------------------------------------------------------------------------


def read_records(path: Path) -> dict[str, Record]:
    """Read ``steps.json``; empty if it does not exist."""
    if not path.is_file():
        return {}
    return {row["name"]: Record(**row) for row in json.loads(path.read_text())}


def rehearse(size: Size, out: Path, jobs: int = -1) -> str:
    """Run all steps that are not done; return the table."""
    journal = out / "steps.json"
    records = read_records(journal)

    def save() -> None:
        with replacing(journal) as file:
            file.write(json.dumps([asdict(r) for r in records.values()], indent=2).encode())

    if not records and (free := shutil.disk_usage(out).free / 1e9) < size.gigabytes:
        raise InputError(
            f"{out}: {free:.0f} GB are free, the rehearsal writes {size.gigabytes}; set OUT=…"
        )
    write_recipes(out)
    for step in plan(size, out, jobs):
        record = records.setdefault(step.name, Record(step.name))
        if not record.done:
            run_step(step, out, record, save)
            (out / "rehearsal.md").write_text(report(size, list(records.values())))
    text = report(size, list(records.values()))
    if size == SIZES["full"]:  # a small one takes as long as the programs take to start
        text += f"\n{growth(records, out)}\n{projection(records, size)}"
    return text


def main() -> None:
    """Rehearse, print and write the table."""
    if sys.argv[1:2] == ["--isolated"]:
        enter(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/rehearsal"))
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--jobs", type=int, default=-1, help="processes that simulate")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with lock(out):
            text = rehearse(SIZES[options.size], out, options.jobs)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    (out / "rehearsal.md").write_text(text)
    print(text)
    if options.size == "full" and PAGE.is_file():
        before, _, rest = PAGE.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        PAGE.write_text(before + MARKS[0] + "\n" + text + "\n" + MARKS[1] + after)


if __name__ == "__main__":
    main()
