"""Atomic files, folder locks, and messages for errors of the disk."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from hbac_utils.utils.errors import DiskError
from hbac_utils.utils.files import lock, remove_drafts, replacing, writing

KILLED = """
import os, signal, sys
from hbac_utils.utils.files import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"n" * 100_000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""

HOLDING = """
import sys, time
from pathlib import Path
from hbac_utils.utils.files import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def fail(number):
    def raise_error(*_):
        raise OSError(number, os.strerror(number))

    return raise_error


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old and longer"
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["file"]


def test_after_a_full_disk_the_old_file_is_there_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"), replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_after_a_kill_the_old_file_is_there_and_the_draft_can_be_removed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    child = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    remove_drafts(tmp_path)
    assert names(tmp_path) == ["file"]


def test_the_second_process_waits_until_the_first_is_killed(tmp_path, capfd):
    folder = tmp_path / "store"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    timer = threading.Timer(0.3, child.kill)
    timer.start()
    begun = time.monotonic()
    with lock(folder):
        assert time.monotonic() - begun > 0.2
    child.wait()
    assert capfd.readouterr().err == f"waiting: another process is writing {folder}\n"
    assert names(tmp_path) == []


def test_recipes_can_be_imported_without_fcntl():
    code = "import sys; sys.modules['fcntl'] = None; import hbac_utils.recipe"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "out: no space on the disk (No space left on device); free some space"),
        (errno.ENAMETOOLONG, "out: cannot be written (File name too long); choose another path"),
        (errno.EROFS, "out: cannot be written (Read-only file system); choose another path"),
        (errno.EIO, "out: cannot be written (Input/output error); choose another path"),
    ],
)
def test_an_error_of_the_disk_is_one_line_with_a_remedy(number, message):
    with pytest.raises(DiskError) as caught, writing("out"):
        fail(number)()
    assert str(caught.value).startswith(message)
