"""A disk that is full or read-only: one line, nothing corrupt, and the same command goes on."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest
from namespaces import mounts_needed, within
from operations import inference, pack, replayed_sweep, scripted_training, training
from processes import Operation, Result, done, verb

pytestmark = pytest.mark.faults


def one_line(result: Result) -> bool:
    """Tell whether a verb has ended as it should."""
    errors = result.errors
    return result.code == 2 and result.said.startswith("error: ") and "Traceback" not in errors


def on_small_disk(operation: Operation, scratch: Path, sizes: tuple[int, ...]) -> int:
    """Let an operation's disk be full at one size after the other, then make room.

    Parameters
    ----------
    operation : Operation
    scratch : Path
    sizes : tuple of int
        Kibibytes.

    Returns
    -------
    int
        How often it was full.
    """
    disk, kept = scratch / "disk", scratch / "kept"
    disk.mkdir()
    kept.mkdir()
    full = 0
    with within(f"mount -t tmpfs -o size={sizes[0]}k tmpfs {disk}") as run:
        for size in sizes:
            run(f"mount -o remount,size={size}k {disk}")
            result = run(operation.command(disk))
            if result.code == 0:
                break
            assert one_line(result), (size, result.errors[-3000:])
            assert "no space" in result.said, result.said
            full += 1
        run(f"mount -o remount,size=1g {disk}")
        result = run(operation.command(disk))
        assert result.code == 0, result.errors[-3000:]
        run(f"cp -a {disk}/. {kept}")
    operation.check(kept)
    return full


@pytest.fixture
def full_at(tmp_path, record_property) -> Callable[[Operation, tuple[int, ...], int], None]:
    """Let an operation meet a full disk at each size, at least so often, and count it."""

    def tried(operation: Operation, sizes: tuple[int, ...], at_least: int) -> None:
        full = on_small_disk(operation, tmp_path, sizes)
        record_property("tries", full)
        assert full >= at_least

    return tried


@mounts_needed
@pytest.mark.fault("full disk, pack")
def test_pack(competition, tmp_path, full_at):
    total = sum(p.stat().st_size for p in (competition.path / "train_eegs").iterdir()) // 1024
    sizes = (4, 8, 40, total // 4, 31_100, 31_130)
    full_at(pack(competition, tmp_path / "one"), sizes, 4)


@mounts_needed
@pytest.mark.fault("full disk, training")
def test_training_without_a_notebook(rich, store, tmp_path, full_at):
    sizes = (4, 16, 400, 1000, 1600, 2400, 3200)
    full_at(scripted_training(rich, store, tmp_path / "one"), sizes, 4)


@mounts_needed
@pytest.mark.fault("full disk, training")
def test_training_in_the_notebook(tiny, competition, store, tmp_path, full_at):
    full_at(training(tiny, competition, store, tmp_path / "one"), (16, 1000), 2)


@mounts_needed
@pytest.mark.fault("full disk, inference")
def test_inference(competition, run, tmp_path, full_at):
    full_at(inference(competition, run, tmp_path / "one"), (4, 200, 1000), 2)


@mounts_needed
@pytest.mark.fault("full disk, sweep")
@pytest.mark.parametrize("workers", [1, 2])
def test_sweep(workers, tiny, competition, store, run, tmp_path, full_at):
    operation = replayed_sweep(tiny, competition, store, run, tmp_path / "one", workers)
    full_at(operation, (4, 8, 16, 600, 1100, 1700), 3)


@pytest.mark.fault("file too large, inference")
def test_inference_with_a_limit_of_files(competition, run, tmp_path, record_property):
    operation = inference(competition, run, tmp_path / "one")
    limits = (500, 20_000)
    record_property("tries", len(limits))
    with_limits(operation, tmp_path, limits, one_line)


@pytest.mark.fault("file too large, training")
def test_training_with_a_limit_of_files(rich, store, tmp_path, record_property):
    operation = scripted_training(rich, store, tmp_path / "one")
    limits = (500, 100_000, 400_000)
    record_property("tries", len(limits))
    with_limits(operation, tmp_path, limits, one_line)


def with_limits(
    operation: Operation, scratch: Path, limits: tuple[int, ...], ends: Callable[[Result], bool]
) -> None:
    for limit in limits:

        def lower(limit: int = limit) -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        # its log is limited as well: an error's line has to fit
        result = done(operation.command(scratch), scratch / "log", preexec_fn=lower)
        assert ends(result), (limit, result.code, result.errors[-3000:])
    operation.finish(scratch, scratch / "log")


@mounts_needed
@pytest.mark.fault("read-only inputs")
def test_read_only_inputs(competition, store, run, tiny, tmp_path, record_property):
    record_property("tries", 6)
    out, still = tmp_path / "out", tmp_path / "still"
    out.mkdir()
    still.mkdir()
    data = ["--data", competition.path]
    reads = (
        verb("infer", *data, "--run", run, "--out", out / "inference"),
        verb("eda", *data, "--out", out / "eda"),
        verb("train", *data, "--store", store.path, "--recipe", tiny, "--run", out / "run"),
    )
    writes = (
        verb("infer", *data, "--run", run, "--out", still),
        verb("train", *data, "--store", store.path, "--recipe", tiny, "--run", still / "run"),
        verb("pack", *data, "--out", still / "store"),
    )
    folders = (competition.path, store.path, run, still)
    binds = [f"mount --bind {f} {f} && mount -o bind,remount,ro {f}" for f in folders]
    with within(" && ".join(binds)) as execute:
        for command in reads:
            result = execute(command)
            assert result.code == 0, result.errors[-3000:]
        for command in writes:
            result = execute(command)
            assert one_line(result), (command, result.errors[-3000:])
            assert "cannot be written" in result.said
