"""Files that appear whole, whatever happens to their writers."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hbac_utils.utils.files import replacing

KILLED = """
import os, signal, sys
from hbac_utils.utils.files import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"n" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old and longer"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"new" * (1 // 0))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_a_kill_leaves_the_old_file_and_its_draft_is_written_over(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    child = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == [".draft.file", "file"]
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_writers_take_turns(tmp_path):
    path, sizes = tmp_path / "file", (10, 1_000, 100_000)

    def write(size):
        for _ in range(30):
            with replacing(path) as file:
                file.write(b"x" * size)

    threads = [threading.Thread(target=write, args=(size,)) for size in sizes]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert len(path.read_bytes()) in sizes
    assert names(tmp_path) == ["file"]


def test_the_bytes_are_on_the_disk_before_the_name(tmp_path, monkeypatch):
    path, done = tmp_path / "file", []
    own_sync, own_rename = os.fsync, os.rename

    def fsync(descriptor):
        done.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        own_sync(descriptor)

    def replace(source, target, **options):
        done.append("rename")
        own_rename(source, target, **options)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with replacing(path) as file:
        file.write(b"new")
    assert done == [str(tmp_path / ".draft.file"), "rename", str(tmp_path)]


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    code = f"import resource; {limit}\n" + KILLED
    child = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert f"OSError: [Errno {errno.EFBIG}]" in child.stderr
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]
