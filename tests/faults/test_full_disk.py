"""A full or read-only disk: one line, nothing corrupt, and the same command resumes."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from operations import ENVIRONMENT, ROOT, Operation, Result, infer, pack, sweep, train, verb

pytestmark = pytest.mark.faults


def within(mounts: str, command: str, log: Path) -> Result:
    """Run a shell command in a mount namespace of its own."""
    with log.open("w") as errors:
        done = subprocess.run(
            ["unshare", "-rm", "sh", "-c", f"{mounts} && {command}"], check=False, cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | ENVIRONMENT,
            stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
    return Result(done.returncode, log.read_text(errors="replace"))


@pytest.fixture(scope="module", autouse=True)
def _may_mount(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mount")
    try:
        code = within(f"mount -t tmpfs -o size=4k tmpfs {folder}", "true", folder / "log").code
    except FileNotFoundError:
        code = 1
    if code:
        pytest.skip("no file system can be mounted here")


def on_full_disks(operation: Operation, sizes: tuple[int, ...]) -> int:
    """Fill an operation's disk at each size (kibibytes) in turn, then make it large enough.

    Returns
    -------
    int
        How often it was full.
    """
    disk, kept = operation.scratch / "disk", operation.scratch / "kept"
    disk.mkdir()
    kept.mkdir()
    full = 0
    for size in sizes:
        # what is on the small disk is carried to the next one
        command = shlex.join(operation.command(disk))
        result = within(
            f"mount -t tmpfs -o size={size}k tmpfs {disk} && cp -a {kept}/. {disk}",
            f"{command}; code=$?; mount -o remount,size=1g {disk}; rm -rf {kept}/* {kept}/.[!.]*; "
            f"cp -a {disk}/. {kept}; exit $code",
            operation.scratch / "log",
        )
        if result.code == 0:
            break
        assert result.is_one_line, (size, result.errors[-3000:])
        assert "no space" in result.last, result.last
        full += 1
    # the same path, because the command names it
    disk.rmdir()
    kept.rename(disk)
    operation.finish(disk)
    return full


@pytest.mark.fault("full disk, pack")
def test_pack(competition, tmp_path, record_property):
    record_property("tries", on_full_disks(pack(competition, tmp_path), (8, 40, 10_000)))


@pytest.mark.fault("full disk, training")
def test_training(rich, competition, store, tmp_path, record_property):
    operation = train(rich, competition, store, tmp_path)
    full = on_full_disks(operation, (16, 400, 1000, 1600))
    record_property("tries", full)
    assert full >= 2


@pytest.mark.fault("full disk, inference")
def test_inference(competition, run, tmp_path, record_property):
    full = on_full_disks(infer(competition, run, tmp_path, notebook=True), (4, 200))
    record_property("tries", full)
    assert full >= 1


@pytest.mark.fault("full disk, sweep")
def test_sweep(tiny, competition, store, tmp_path, record_property):
    full = on_full_disks(sweep(tiny, competition, store, tmp_path, 1), (4, 16))
    record_property("tries", full)
    assert full >= 1


@pytest.mark.fault("read-only folders")
def test_read_only_folders(competition, store, run, tiny, tmp_path, record_property):
    record_property("tries", 4)
    out, still = tmp_path / "out", tmp_path / "still"
    out.mkdir()
    still.mkdir()
    data = ["--data", competition.path]
    train_verb = ["train", *data, "--store", store.path, "--recipe", tiny, "--run"]
    folders = (competition.path, store.path, run, still)
    mounts = " && ".join(f"mount --bind {f} {f} && mount -o bind,remount,ro {f}" for f in folders)
    reads = (verb("infer", *data, "--run", run, "--out", out / "inference"),)
    writes = (
        verb("infer", *data, "--run", run, "--out", still),
        verb(*train_verb, still / "run"),
        verb("pack", *data, "--out", still / "store"),
    )
    for command in reads:
        result = within(mounts, shlex.join(command), tmp_path / "log")
        assert result.code == 0, result.errors[-3000:]
    for command in writes:
        result = within(mounts, shlex.join(command), tmp_path / "log")
        assert result.is_one_line, (command, result.errors[-3000:])
        assert "cannot be written" in result.last
