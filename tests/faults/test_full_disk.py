"""A full or read-only disk: one line, nothing corrupt, and the same command continues."""

import shlex
from pathlib import Path

import pytest
from operations import HBAC, QUICK, Result, run

pytestmark = pytest.mark.faults


def mounted(mounts: str, command: str, log: Path) -> Result:
    """Run a shell command in a mount namespace of its own."""
    return run(["unshare", "-rm", "sh", "-c", f"{mounts} && {command}"], log)


@pytest.fixture(autouse=True)
def _may_mount(tmp_path):
    try:
        code = mounted(f"mount -t tmpfs tmpfs {tmp_path}", "true", tmp_path / "log").code
    except FileNotFoundError:
        code = 1
    if code:
        pytest.skip("no file system can be mounted here")


SIZES = {
    "pack": (8, 40, 10_000), "train": (16, 400, 1000), "infer": (4, 200), "blend": (4, 40),
    "sweep": (4, 16),
}  # fmt: skip
"""Kibibytes of the disks, one after the other; none holds the whole."""


@pytest.mark.parametrize(
    ("operation", "sizes"),
    [
        pytest.param(
            name, sizes, marks=pytest.mark.fault(f"full disk, {name}", tries=len(sizes)), id=name
        )
        for name, sizes in SIZES.items()
    ],
    indirect=["operation"],
)
def test_a_full_disk(operation, sizes, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    command = shlex.join(map(str, operation.command(disk)))
    for size in sizes:
        # what is on the small disk is carried to the next one
        result = mounted(
            f"mount -t tmpfs -o size={size}k tmpfs {disk} && cp -a {kept}/. {disk}",
            f"{command}; code=$?; mount -o remount,size=1g {disk}; rm -rf {kept}/* {kept}/.[!.]*; "
            f"cp -a {disk}/. {kept}; exit $code",
            operation.log,
        )
        result.assert_refused("no space")
    # the same path, because the command names it
    disk.rmdir()
    kept.rename(disk)
    operation.finish(disk)


@pytest.mark.fault("read-only folders", tries=4)
def test_read_only_folders(competition, store, run, rich, tmp_path):
    """Inputs may be read-only, as on Kaggle; an output is refused in one line."""
    out, still, data = tmp_path / "out", tmp_path / "still", ["--data", competition.path]
    out.mkdir()
    still.mkdir()
    folders = (competition.path, store.path, run, still)
    mounts = " && ".join(f"mount --bind {f} {f} && mount -o bind,remount,ro {f}" for f in folders)
    training = ["train", *data, "--store", store.path, "--recipe", rich]
    for command, reason in (
        ([*HBAC, "infer", *data, "--run", run, "--out", out], ""),
        ([*HBAC, "infer", *data, "--run", run, "--out", still], "cannot be written"),
        ([*QUICK, *training, "--run", still / "run"], "cannot be written"),
        ([*HBAC, "pack", *data, "--out", still / "store"], "cannot be written"),
    ):
        result = mounted(mounts, shlex.join(map(str, command)), tmp_path / "log")
        if reason:
            result.assert_refused(reason)
        else:
            assert result.code == 0, result.errors[-3000:]
