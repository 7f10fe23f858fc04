"""A store that is not complete yet: its folder, and the journal of what is in it.

Beside the store's path lies ``.<name>.partial`` with

=================== ===========================================================
``plan.json``       what the store shall be; another plan starts anew
``journal.jsonl``   a line per finished recording
``store-<digits>``  the store's files; renamed to the store's path when complete
=================== ===========================================================

A process that is killed leaves all three, and the next one takes up where the journal ends.
"""

import hashlib
import json
import os
import shutil
import time
from io import BytesIO
from pathlib import Path

import numpy as np

from hbac_utils.utils.files import flush

SYNC_SECONDS = 30
"""So much work a power failure may cost; a killed process loses what was in its hands only."""


class Partial:
    """The growing store of one plan. Only the holder of the store's `lock` may make one.

    Parameters
    ----------
    out : Path
        Where the store will appear.
    plan : dict
        What decides where each recording stands in the arrays and how it is converted.
    """

    def __init__(self, out: Path, plan: dict):
        self.out, self.folder = out, partial_folder(out)
        text = json.dumps(plan, indent=2) + "\n"
        # a worker that outlived its killed parent must not find the arrays of another plan
        self.path = self.folder / f"store-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        if not self._is_of(text):
            self._begin(text)
        self._done = self._read_journal()
        self._journal = (self.folder / "journal.jsonl").open("ab", buffering=0)
        self._append({"boot": _boot()})
        self._arrays: list[Path] = []
        self._synced = time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._journal.close()

    def done(self, kind: str) -> dict[int, dict]:
        """Finished recordings of a kind by id, with the notes that `record` was given."""
        return self._done.setdefault(kind, {})

    def bytes(self) -> int:
        """How much of the disk its files take."""
        return sum(path.stat().st_size for path in self.path.iterdir())

    def allocate(self, kind: str, shape: tuple[int, int]) -> int:
        """Make ``<kind>.npy``, float16, with all its space on the disk taken, if it is not there.

        Returns
        -------
        int
            The byte at which the array's first value stands.

        Raises
        ------
        OSError
            If the disk has no room for it; nothing is left then.
        """
        path = self.path / f"{kind}.npy"
        self._arrays.append(path)
        header = _header(shape)
        size = len(header) + 2 * shape[0] * shape[1]
        if path.exists() and path.stat().st_size == size:
            return len(header)
        self._done.pop(kind, None)
        try:
            with path.open("wb") as file:
                file.write(header)
                file.flush()
                _reserve(file.fileno(), size)
        except OSError:
            discard(self.out)
            raise
        return len(header)

    def record(self, kind: str, recording: int, notes: dict) -> None:
        """Note that a recording is in its array, and what else shall be known of it."""
        self._append({"kind": kind, "id": recording, "notes": notes})
        self.done(kind)[recording] = notes
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def finish(self) -> None:
        """Let the store appear at its path: all bytes to the disk first, then one rename."""
        for path in self.path.iterdir():
            flush(path)
        flush(self.path)
        self.path.rename(self.out)
        flush(self.out.parent)
        discard(self.out)

    def _begin(self, text: str) -> None:
        discard(self.out)
        try:
            self.path.mkdir(parents=True)
            (self.folder / "plan.json").write_text(text)
        except OSError:
            discard(self.out)
            raise

    def _is_of(self, text: str) -> bool:
        try:
            return (self.folder / "plan.json").read_text() == text and self.path.is_dir()
        except (OSError, UnicodeDecodeError):
            return False

    def _read_journal(self) -> dict[str, dict[int, dict]]:
        """Read the lines that can be trusted and cut the rest off, such as a torn last one."""
        path = self.folder / "journal.jsonl"
        raw = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        entries = _trusted(_parsed(raw))
        if raw:
            os.truncate(path, sum(map(len, raw[: len(entries)])))
        done: dict[str, dict[int, dict]] = {}
        for entry in entries:
            if "kind" in entry:
                done.setdefault(entry["kind"], {})[entry["id"]] = entry["notes"]
        return done

    def _append(self, entry: dict) -> None:
        self._journal.write(json.dumps(entry).encode() + b"\n")

    def _sync(self) -> None:
        for path in self._arrays:
            flush(path)
        self._append({"synced": True})
        os.fsync(self._journal.fileno())
        self._synced = time.monotonic()


def partial_folder(out: Path) -> Path:
    """Name the folder in which the store at ``out`` grows."""
    return out.with_name(f".{out.name}.partial")


def discard(out: Path) -> None:
    """Remove what is left of an unfinished store."""
    shutil.rmtree(partial_folder(out), ignore_errors=True)


def _reserve(descriptor: int, size: int) -> None:
    """Take the space now: with a sparse file a full disk would show only in the middle."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:  # macOS
        os.truncate(descriptor, size)


def _header(shape: tuple[int, int]) -> bytes:
    header = BytesIO()
    description = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    return header.getvalue()


def _parsed(lines: list[bytes]) -> list[dict]:
    entries = []
    for line in lines:
        try:
            entry = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            break
        entries.append(entry)
    return entries


def _trusted(entries: list[dict]) -> list[dict]:
    """Keep all if the machine has run on since; else what was surely on the disk.

    A killed process's writes are safe with the kernel. After a power failure the journal may
    have reached the disk before the arrays that it speaks of.
    """
    boots = [entry["boot"] for entry in entries if "boot" in entry]
    if boots and boots[-1] == _boot() != "":
        return entries
    synced = [i for i, entry in enumerate(entries) if "synced" in entry]
    return entries[: synced[-1] + 1] if synced else []


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
