"""Packing is atomic, resumes, waits for its like, knows its sources, and bears a full disk."""

import contextlib
import gc
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hbac_utils.data import packing as cluster
from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.journal import Partial, partial_folder
from hbac_utils.data.packing import Subset, open_or_pack, pack
from hbac_utils.data.store import open_store
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import Data, override
from hbac_utils.utils.errors import InputError

ROOT = Path(__file__).parents[3]
PATIENCE = 120  # seconds until a process counts as hanging
COPIES = 5  # of every recording, so that there is a middle to be killed in


def hashes(store: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(store.iterdir())}


@pytest.fixture(scope="module")
def long_competition(competition, tmp_path_factory) -> Competition:
    """The competition several times over: the same files under other ids."""
    folder = tmp_path_factory.mktemp("long") / "competition"
    tables = []
    for copy in range(COPIES):
        table = competition.train.copy()
        table[["eeg_id", "spectrogram_id"]] += copy * 10**11
        table["label_id"] += copy * 10**11
        tables.append(table)
        for kind in ("eeg", "spectrogram"):
            (folder / f"train_{kind}s").mkdir(parents=True, exist_ok=True)
            for i in table[f"{kind}_id"].unique():
                source = competition.path / f"train_{kind}s" / f"{i - copy * 10**11}.parquet"
                os.link(source, folder / f"train_{kind}s" / f"{i}.parquet")
    pd.concat(tables).to_csv(folder / "train.csv", index=False)
    return open_competition(folder)


@pytest.fixture(scope="module")
def undisturbed(long_competition, tmp_path_factory) -> dict[str, str]:
    """What a pack that nothing disturbs writes."""
    store = pack(
        long_competition, tmp_path_factory.mktemp("undisturbed") / "store", Data(), progress=False
    )
    return hashes(store.path)


def _heed_ctrl_c() -> None:
    # a shell lets its background jobs ignore it, and their children inherit that
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def started(*arguments, **options):
    """Run a Python module in a session of its own; nothing of it outlives the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        **{"preexec_fn": _heed_ctrl_c} | options,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def packing(competition: Competition, out: Path, *arguments, **options):
    return started(
        "hbac_utils", "pack", "--data", competition.path, "--out", out, *arguments, **options
    )


def outcome(process) -> tuple[int, str]:
    """Wait for a process; its exit code and its standard error without progress bars."""
    _, errors = process.communicate(timeout=PATIENCE)
    lines = [line for line in errors.replace("\r", "\n").splitlines() if "file/s]" not in line]
    lines = [line for line in lines if line and "s/file]" not in line]
    return process.returncode, "\n".join(lines)


def finished(out: Path) -> int:
    """How many recordings the journal of an unfinished store lists."""
    journal = partial_folder(out) / "journal.jsonl"
    return journal.read_bytes().count(b'"notes"') if journal.exists() else 0


def wait_until(condition, process) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, outcome(process)
        assert time.monotonic() < end, "nothing happens"
        time.sleep(0.002)


# -- undisturbed -----------------------------------------------------------------------


def test_what_exists_is_opened_not_packed_again(store, competition, tiny_recipe):
    before = (store.path / "store.json").stat().st_mtime_ns
    open_or_pack(store.path, competition, tiny_recipe)
    assert (store.path / "store.json").stat().st_mtime_ns == before
    narrow = override(tiny_recipe, {"data.band": [1, 20]})
    with pytest.raises(InputError, match="pack again"):
        open_or_pack(store.path, competition, narrow)


def test_packing_without_spectrograms_and_refusing_to_use_them(own_competition, tmp_path):
    for path in (own_competition.path / "train_spectrograms").iterdir():
        path.unlink()
    (own_competition.path / "train_spectrograms").rmdir()
    store = pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    store.check(Data())
    with pytest.raises(InputError, match="needs spectrograms"):
        store.check(Data(), ("spectrogram",))


def test_a_missing_or_short_recording_stops_the_packing(own_competition, tmp_path):
    row = own_competition.train.iloc[-1]
    path = own_competition.eeg_path("train", row["eeg_id"])
    table = pd.read_parquet(path)
    table.iloc[:-200].to_parquet(path)
    with pytest.raises(InputError, match="but a window of train.csv ends at row"):
        pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    path.unlink()
    with pytest.raises(InputError, match=f"{row['eeg_id']}.parquet: no such file"):
        pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    assert not list(tmp_path.glob("*store*")), "nothing was begun"


def test_a_store_can_be_packed_from_kaggles_read_only_input(competition, tmp_path):
    # the competition's folder is not written to
    before = {path: path.stat().st_mtime_ns for path in competition.path.rglob("*")}
    pack(open_competition(competition.path), tmp_path / "store", Data(), jobs=1, progress=False)
    assert before == {path: path.stat().st_mtime_ns for path in competition.path.rglob("*")}


# -- killed, and taken up again --------------------------------------------------------


def test_a_killed_pack_resumes_and_ends_as_if_nothing_had_been(
    long_competition, undisturbed, tmp_path
):
    out = tmp_path / "store"
    eegs = long_competition.train["eeg_id"].nunique()
    total = eegs + long_competition.train["spectrogram_id"].nunique()
    # moments with much left to do, for a fast machine does a good deal until the kill arrives
    early, late = np.random.default_rng(7).integers([1, eegs + 1], [eegs // 2, eegs + 20])
    before = 0
    for moment, jobs in ((0, 1), (early, 2), (late, 1)):
        with packing(long_competition, out, "--jobs", jobs) as process:
            wait_until(lambda m=moment: finished(out) > m, process)
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not out.exists(), "nothing stands at the store's path"
        with pytest.raises(InputError, match="no store"):
            open_store(partial_folder(out))
        assert before <= moment < finished(out) < total
        before = finished(out)
    with packing(long_competition, out, "--jobs", 1) as process:
        code, said = outcome(process)
    assert code == 0
    assert f"resuming, {eegs} of {eegs} EEGs and {before - eegs} of" in said
    assert hashes(out) == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["store"], "nothing is left beside it"


def test_ctrl_c_leaves_what_was_done(long_competition, undisturbed, tmp_path):
    out = tmp_path / "store"
    with packing(long_competition, out, "--jobs", 2) as process:
        wait_until(lambda: finished(out) > 5, process)
        process.send_signal(signal.SIGINT)
        code, said = outcome(process)
    assert (code, said) == (130, "stopped")
    assert finished(out) > 5
    pack(long_competition, out, Data(), progress=False)
    assert hashes(out) == undisturbed


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_ctrl_c_leaves_undone_is_not_warned_of(competition, tmp_path, monkeypatch, jobs):
    def record(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Partial, "record", record)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(KeyboardInterrupt):
            pack(competition, tmp_path / "store", Data(), jobs=jobs, progress=False)
        gc.collect()
    assert not [str(w.message) for w in warned if "tasks" in str(w.message)]


@pytest.fixture
def broken(own_competition, tmp_path):
    """A competition whose last EEG has a footer but no readable body, and a store begun from it."""
    path = own_competition.eeg_path("train", own_competition.train["eeg_id"].max())
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * 200_000 + whole[200_000:])
    with pytest.raises(InputError, match=f"{path.name}: not a readable parquet file"):
        pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    path.write_bytes(whole)
    return own_competition, tmp_path / "store"


@pytest.mark.parametrize(("torn", "left"), [(b'{"kind": "eeg", "id": 1', 38), (None, 37)])
def test_only_a_file_that_was_mended_is_read_again(broken, store, capfd, torn, left):
    competition, out = broken
    assert not out.exists()
    first = competition.eeg_path("train", competition.train["eeg_id"].min())
    os.utime(first, ns=(1, 1))
    journal = partial_folder(out) / "journal.jsonl"
    lines = journal.read_bytes()
    journal.write_bytes(lines + torn if torn else lines.removesuffix(b"\n"))
    pack(competition, out, Data(), jobs=1, progress=False)
    assert f"resuming, {left} of 40 EEGs and 0 of" in capfd.readouterr().err
    same = ("eeg.npy", "spectrogram.npy", "windows.parquet")
    assert {name: hashes(out)[name] for name in same} == {
        name: hashes(store.path)[name] for name in same
    }


def test_what_was_begun_for_other_signals_is_not_used(broken, tmp_path, capfd):
    competition, out = broken
    narrow = Data(band=(1, 20))
    pack(competition, out, narrow, jobs=1, progress=False)
    assert "resuming" not in capfd.readouterr().err
    pack(competition, tmp_path / "other", narrow, jobs=1, progress=False)
    assert hashes(out) == hashes(tmp_path / "other")


def test_after_a_power_failure_only_what_surely_reached_the_disk_counts(broken, capfd):
    competition, out = broken
    journal = partial_folder(out) / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    lines[0] = '{"boot": "another"}\n'
    lines.insert(11, '{"synced": true}\n')
    journal.write_text("".join(lines))
    pack(competition, out, Data(), jobs=1, progress=False)
    assert "resuming, 10 of 40 EEGs" in capfd.readouterr().err


# -- two at once -----------------------------------------------------------------------


def test_of_two_at_once_the_second_waits_and_takes_the_firsts_store(
    long_competition, undisturbed, tmp_path
):
    out = tmp_path / "store"
    with packing(long_competition, out) as first:
        wait_until(lambda: finished(out) > 0, first)
        with packing(long_competition, out) as second:
            assert outcome(second) == (
                0, f"waiting: another process is writing {out}\npack: already packed"
            )  # fmt: skip
            assert outcome(first) == (0, "")
    assert hashes(out) == undisturbed


def test_who_waits_packs_if_the_other_is_killed(long_competition, undisturbed, tmp_path):
    out = tmp_path / "store"
    with packing(long_competition, out) as first:
        wait_until(lambda: finished(out) > 0, first)
        with packing(long_competition, out, "--jobs", 1) as second:
            waiting = second.stderr.readline()
            first.kill()
            code, said = outcome(second)
    assert (waiting, code) == (f"waiting: another process is writing {out}\n", 0)
    assert "pack: resuming" in said
    assert hashes(out) == undisturbed


# -- a store that does not match, or is damaged ----------------------------------------


def test_an_existing_store_must_match_what_is_asked_for(competition, store):
    assert pack(competition, store.path, Data()).path == store.path
    with pytest.raises(InputError, match=r"band \[0.5, 40.0\], the recipe wants \[1.0, 20.0\]"):
        pack(competition, store.path, Data(band=(1, 20)))
    with pytest.raises(InputError, match=r"limit None.*asked for limit 5.*delete the store"):
        pack(competition, store.path, Data(), limit=5)


def test_the_verb_ends_with_one_line(competition, store, tmp_path):
    recipe = tmp_path / "narrow.yaml"
    text = (ROOT / "recipes" / "compact.yaml").read_text()
    assert "\ndata:" not in text
    recipe.write_text(text + "\ndata: {band: [1, 20]}\n")
    with packing(competition, store.path, "--recipe", recipe) as process:
        code, said = outcome(process)
    assert (code, said.count("\n")) == (2, 0)
    assert said.startswith(f"error: {store.path}: packed with band [0.5, 40.0]")


def test_what_is_no_store_is_not_touched(competition, tmp_path):
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(InputError, match="no store"):
        pack(competition, tmp_path, Data())
    with pytest.raises(InputError, match=r"thesis\.txt"):
        pack(competition, tmp_path / "thesis.txt", Data())
    with pytest.raises(InputError, match="cannot be written"):
        pack(competition, tmp_path / "thesis.txt" / "store", Data())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.fixture
def own_store(own_competition, tiny_recipe, tmp_path):
    return open_or_pack(tmp_path / "store", own_competition, tiny_recipe)


def test_a_changed_source_is_named(own_competition, own_store, tiny_recipe, tmp_path):
    train = own_competition.path / "train.csv"
    for path in (
        own_competition.spectrogram_path("train", own_competition.train["spectrogram_id"][3]),
        own_competition.eeg_path("train", own_competition.train["eeg_id"][0]),
        train,
    ):
        os.utime(path, ns=(1, 1))
        with pytest.raises(InputError, match=f"{path}: not as it was.*delete the store and pack"):
            open_or_pack(own_store.path, own_competition, tiny_recipe)
        with pytest.raises(InputError, match=f"{path}: not as it was"):
            pack(own_competition, own_store.path, Data())
    moved = open_competition(own_competition.path.rename(tmp_path / "moved"))
    open_or_pack(own_store.path, moved, tiny_recipe)  # elsewhere only names and sizes count
    path = moved.path / "train.csv"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match=f"{path}: not as it was"):
        open_or_pack(own_store.path, moved, tiny_recipe)


def test_a_store_stands_without_its_recordings(own_competition, own_store, tiny_recipe):
    shutil.rmtree(own_competition.path / "train_spectrograms")
    with pytest.raises(InputError, match="train_spectrograms/.*not as it was"):
        open_or_pack(own_store.path, own_competition, tiny_recipe)
    shutil.rmtree(own_competition.path / "train_eegs")
    open_or_pack(own_store.path, own_competition, tiny_recipe)


def test_spectrograms_that_came_later_are_noticed(own_competition, tiny_recipe, tmp_path):
    folder = own_competition.path / "train_spectrograms"
    aside = folder.rename(tmp_path / "aside")
    pack(own_competition, tmp_path / "store", Data(), jobs=1, progress=False)
    aside.rename(folder)
    with pytest.raises(InputError, match="train_spectrograms: not as it was"):
        open_or_pack(tmp_path / "store", own_competition, tiny_recipe)


@pytest.mark.parametrize(
    "name", ["eeg.npy", "spectrogram.npy", "windows.parquet", "sources.parquet", "store.json"]
)
@pytest.mark.parametrize("rest", [-1000, 0])
def test_a_truncated_store_is_refused(store, tmp_path, name, rest):
    copy = Path(shutil.copytree(store.path, tmp_path / "store"))
    path = copy / name
    path.write_bytes(path.read_bytes()[:rest])
    with pytest.raises(InputError, match=f"{path}: damaged.*delete the store and pack again"):
        open_store(copy)


def test_files_that_do_not_fit_each_other_are_refused(store, tmp_path):
    copy = Path(shutil.copytree(store.path, tmp_path / "store"))
    np.save(copy / "spectrogram.npy", store.spectrogram[:-300])
    with pytest.raises(InputError, match=r"spectrogram\.npy: damaged \(not"):
        open_store(copy)
    description = json.loads((copy / "store.json").read_text())
    description["spectrogram_rows"] -= 300
    (copy / "store.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"windows\.parquet: damaged \(its positions leave spec"):
        open_store(copy)
    del description["eeg_samples"]
    (copy / "store.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"store\.json: damaged \(no eeg_samples\)"):
        open_store(copy)
    description["key"]["format"] = 1
    (copy / "store.json").write_text(json.dumps(description | {"eeg_samples": 1}))
    with pytest.raises(InputError, match=r"a store of format 1, this kit reads 2; delete"):
        open_store(copy)


# -- a full disk -----------------------------------------------------------------------


@pytest.mark.fault("full disk, pack")
@pytest.mark.parametrize("bytes_of_a_file", [100, pytest.param(100_000, marks=pytest.mark.faults)])
def test_a_disk_without_room_is_a_clear_error(competition, store, tmp_path, bytes_of_a_file):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_of_a_file, bytes_of_a_file))

    out = tmp_path / "store"
    with packing(competition, out, preexec_fn=limit) as process:
        code, said = outcome(process)
    needed = (store.eeg.nbytes + store.spectrogram.nbytes) / 1e9
    assert (code, said.count("\n")) == (2, 0)
    assert f"error: {tmp_path}: no room for the store" in said
    assert f"needs {needed:.3g} GB" in said
    assert not list(tmp_path.iterdir()), "the space that was taken is given back"
    pack(competition, out, Data(), progress=False)
    assert hashes(out) == hashes(store.path)


def test_a_disk_that_fills_up_on_the_way_is_a_clear_error(competition, store, tmp_path):
    arrays = store.eeg.nbytes + store.spectrogram.nbytes
    script = f"""
        mount -t tmpfs -o size={arrays // 1024 + 40}k tmpfs {tmp_path} || exit 77
        pack="{sys.executable} -m hbac_utils pack --data {competition.path} --out {tmp_path}/store"
        $pack 2>&1 >/dev/null | tail -n 1
        ls {tmp_path}
        mount -o remount,size=1g {tmp_path}
        $pack 2>&1 >/dev/null | grep -o 'resuming, 40 of 40'
        cd {tmp_path}/store && sha256sum *
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no small file system can be mounted here")
    error, resumed, *sums = done.stdout.splitlines()
    assert error.startswith(f"error: {tmp_path}: no room for the store (")
    assert resumed == "resuming, 40 of 40"
    assert {line.split()[1]: line.split()[0] for line in sums} == hashes(store.path)


# -- a part of it ----------------------------------------------------------------------


def test_a_limit_takes_whole_patients(own_competition, tmp_path):
    table = own_competition.train
    store = pack(own_competition, tmp_path / "store", Data(), limit=15, jobs=1, progress=False)
    assert store.description["subset"] == {"limit": 15, "min_votes": 0}
    chosen = store.windows["patient_id"].unique()
    assert 10 <= store.windows["eeg_id"].nunique() <= 20
    whole = table[table["patient_id"].isin(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(store.windows[list(table)], whole, check_dtype=False)
    more = Subset(limit=25).choose(table)["patient_id"].unique()
    assert set(chosen) < set(more), "a larger limit adds patients"
    assert len(Subset(limit=1).choose(table)) > 0
    assert len(Subset(limit=10**6).choose(table)) == len(table)


def test_windows_with_few_votes_and_their_recordings_are_left_out(own_competition, tmp_path):
    table = own_competition.train
    enough = table[list(VOTE_COLUMNS)].sum(axis=1) >= 10
    unread = set(table["eeg_id"]) - set(table["eeg_id"][enough])
    assert unread
    for eeg_id in unread:
        own_competition.eeg_path("train", eeg_id).unlink()
    store = pack(own_competition, tmp_path / "store", Data(), min_votes=10, jobs=1, progress=False)
    assert list(store.windows["label_id"]) == list(table["label_id"][enough])
    rows = store.windows.drop_duplicates("eeg_id")
    assert len(store.eeg) == (rows["eeg_last"] - rows["eeg_first"]).sum()


def test_an_empty_part_is_refused(competition, tmp_path):
    for part, value, reason in (
        ("limit", 0, "limit 0"),
        ("min_votes", -1, "min_votes -1"),
        ("min_votes", 999, "no window .* has 999 votes or more; lower"),
    ):
        with pytest.raises(InputError, match=reason):
            pack(competition, tmp_path / "store", Data(), **{part: value})


# -- a cluster -------------------------------------------------------------------------


@contextlib.contextmanager
def dask_cluster(folder: Path, n_workers: int):
    """A real scheduler and workers on loopback; yields its address and the processes."""
    pytest.importorskip("distributed", reason="the Dask test needs the package distributed")
    note = folder / "scheduler.json"
    with contextlib.ExitStack() as stack:
        scheduler = stack.enter_context(
            started("dask", "scheduler", "--host", "127.0.0.1", "--port", 0, "--no-dashboard",
                    "--scheduler-file", note)
        )  # fmt: skip
        wait_until(lambda: note.exists() and note.read_text().endswith("}"), scheduler)
        address = json.loads(note.read_text())["address"]
        workers = [
            stack.enter_context(
                started("dask", "worker", address, "--no-nanny", "--nthreads", 1,
                        "--no-dashboard", "--local-directory", folder / f"worker{i}")
            )
            for i in range(n_workers)
        ]  # fmt: skip
        yield address, workers


def test_a_dask_cluster_packs_though_a_worker_is_killed(long_competition, undisturbed, tmp_path):
    from distributed import Client

    out = tmp_path / "store"
    with dask_cluster(tmp_path, 2) as (address, workers):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
        with packing(long_competition, out, "--dask", address) as process:
            wait_until(lambda: finished(out) > 20, process)
            workers[0].kill()
            left = long_competition.train["eeg_id"].nunique() - finished(out)
            code, said = outcome(process)
    assert code == 0, said
    assert left > 20, "it was killed in the middle"
    assert hashes(out) == undisturbed


def test_a_cluster_that_cannot_be_used_is_a_clear_error(competition, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 1)
    out = tmp_path / "store"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{address}: no scheduler answers"):
            pack(competition, out, Data(), dask=address)
    with dask_cluster(tmp_path, 0) as (address, _):  # noqa: SIM117
        with pytest.raises(InputError, match=f"{address}: the scheduler has no worker"):
            pack(competition, out, Data(), dask=address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="pip install distributed"):
        pack(competition, out, Data(), dask="tcp://127.0.0.1:1")


def test_a_cluster_that_stands_still_is_a_clear_error(competition, tmp_path, monkeypatch):
    def check_and_stop(client, *_):
        client.wait_for_workers(2, timeout=PATIENCE)
        for worker in workers:
            worker.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(cluster, "check_workers", check_and_stop)
    monkeypatch.setattr(cluster, "STALLED", 2)
    with dask_cluster(tmp_path, 2) as (address, workers):  # noqa: SIM117
        with pytest.raises(InputError, match=f"{address}: nothing came back for 2 s"):
            pack(competition, tmp_path / "store", Data(), dask=address, progress=False)
