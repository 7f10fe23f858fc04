"""The pack journal: which recordings are already in an unfinished store.

Beside the store's path is the folder ``.<name>.partial`` with

=================== ===========================================================
``plan.json``       what the store will be; another plan starts again
``journal.jsonl``   a line per finished recording
``store-<digits>``  the store's files, or those by which it grows; moved when complete
=================== ===========================================================

After a kill the next process resumes where the journal ends. After a restart of the machine the
packing starts again: the journal may list recordings that did not reach the disk.
"""

import hashlib
import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np

from hbac_utils.utils.files import flush

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # Linux; another one after each restart


class PackJournal:
    """The unfinished store at ``out``; the caller holds the store's `lock`.

    ``plan`` is everything that determines the layout and the content of the arrays.
    """

    def __init__(self, out: Path, plan: dict):
        self.out, self.folder = out, partial_folder(out)
        boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else ""
        text = json.dumps(plan | {"boot": boot}, indent=2) + "\n"
        # a worker that survived its killed parent must not write into another plan's arrays
        self.path = self.folder / f"store-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        plan_path = self.folder / "plan.json"
        same = plan_path.is_file() and plan_path.read_bytes() == text.encode()
        if not same or not self.path.is_dir():
            discard(out)
            self.path.mkdir(parents=True)
            plan_path.write_bytes(text.encode())
        self.done = self._read()  # ids of finished recordings, and the notes given to `record`
        self._file = (self.folder / "journal.jsonl").open("a", buffering=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def record(self, recording: int, notes: dict) -> None:
        """Note that a recording is in the array."""
        self._file.write(json.dumps({"id": recording, "notes": notes}) + "\n")
        self.done[recording] = notes

    def allocate(self, name: str, shape: tuple[int, int]) -> int:
        """Create ``<name>.npy``, float16, with its disk space reserved; return its first byte.

        An existing one is kept. If the disk has no space, the unfinished store is removed.
        """
        path = self.path / f"{name}.npy"
        with suppress(OSError, ValueError):
            return np.load(path, mmap_mode="r").offset
        self.done.clear()
        self._file.truncate(0)
        try:
            np.lib.format.open_memmap(path, "w+", "<f2", shape)
            # with a sparse file a full disk would show only in the middle of the work
            if hasattr(os, "posix_fallocate"):
                with path.open("r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError:
            discard(self.out)
            raise
        return np.load(path, mmap_mode="r").offset

    def finish(self) -> None:
        """Move the complete store to its path: all bytes to the disk first, then one rename.

        Into a store that grows, its files are moved one by one: until ``store.json``, which is
        the last, the others say nothing that the old one contradicts.
        """
        for path in self.path.iterdir():
            flush(path)
        if self.out.exists():
            for path in sorted(self.path.iterdir(), key=lambda path: path.name == "store.json"):
                path.replace(self.out / path.name)
        else:
            self.path.rename(self.out)
        discard(self.out)

    def _read(self) -> dict[int, dict]:
        """Read the journal up to the first damaged line, and cut off the rest."""
        path = self.folder / "journal.jsonl"
        path.touch()
        done: dict[int, dict] = {}
        good = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                entry = json.loads(line) if line.endswith(b"\n") else {}
                done[entry["id"]] = entry["notes"]
            except (ValueError, KeyError, TypeError):
                break
            good += len(line)
        os.truncate(path, good)
        return done


def partial_folder(out: Path) -> Path:
    """Folder in which the store at ``out`` grows."""
    return out.with_name(f".{out.name}.partial")


def discard(out: Path) -> None:
    """Remove an unfinished store."""
    shutil.rmtree(partial_folder(out), ignore_errors=True)
