"""Packing: complete, resumable, one process at a time, strict about its sources and the disk."""

import errno
import gc
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from dask_cluster import dask_cluster

from hbac_utils.data import cluster
from hbac_utils.data.competition import Competition, open_competition
from hbac_utils.data.journal import PackJournal, partial_folder
from hbac_utils.data.packing import choose_windows, open_or_pack, pack
from hbac_utils.data.store import open_store
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.recipe import Data, load_recipe, override
from hbac_utils.utils.errors import DiskError, InputError
from hbac_utils.utils.files import lock

TIMEOUT = 120  # seconds


def hashes(store: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(store.iterdir())}


@pytest.fixture(scope="module")
def small(competition, tmp_path_factory) -> Competition:
    """Six EEGs of two spectrograms, one window of each; do not change it."""
    folder = tmp_path_factory.mktemp("small") / "competition"
    table = competition.train.drop_duplicates("eeg_id")
    table = table[table["spectrogram_id"].isin(table["spectrogram_id"].unique()[:3])].head(6)
    for kind in ("eeg", "spectrogram"):
        (folder / f"train_{kind}s").mkdir(parents=True)
        for i in table[f"{kind}_id"].unique():
            name = f"train_{kind}s/{i}.parquet"
            shutil.copy(competition.path / name, folder / name)
    table.to_csv(folder / "train.csv", index=False)
    return open_competition(folder)


@pytest.fixture
def own(small, tmp_path) -> Competition:
    """A copy of the small competition that a test may change."""
    return open_competition(shutil.copytree(small.path, tmp_path / "competition"))


QUIET = {"data": Data(), "jobs": 1, "progress": False}


@pytest.fixture(scope="module")
def packed(small, tmp_path_factory):
    """The small competition's store; do not change it."""
    return pack(small, tmp_path_factory.mktemp("packed") / "store", **QUIET)


def quietly(competition: Competition, out: Path, *inputs: str, **options):
    return pack(competition, out, inputs=inputs or None, **QUIET | options)


# -- what is packed --------------------------------------------------------------------


def test_an_existing_store_is_opened_and_must_match(small, packed, tiny_recipe):
    before = (packed.path / "store.json").stat().st_mtime_ns
    open_or_pack(packed.path, small, tiny_recipe)
    assert (packed.path / "store.json").stat().st_mtime_ns == before
    with pytest.raises(InputError, match="band.*pack again"):
        open_or_pack(packed.path, small, override(tiny_recipe, {"data.band": [1, 20]}))
    with pytest.raises(InputError, match=r"band \[0.5, 40.0\], the recipe needs \[1.0, 20.0\]"):
        quietly(small, packed.path, data=Data(band=(1, 20)))
    with pytest.raises(InputError, match=r"limit None.*not limit 5.*delete the store"):
        quietly(small, packed.path, limit=5)


@pytest.mark.parametrize(("first", "second"), [("eeg", "spectrogram"), ("spectrogram", "eeg")])
def test_a_store_holds_what_its_recipe_reads_and_grows(small, packed, tmp_path, first, second):
    store = quietly(small, tmp_path / "store", first)
    assert store.inputs == (first,)
    assert getattr(store, second) is None
    assert not (store.path / f"{second}.npy").exists()
    with pytest.raises(InputError, match=f"needs {second}s, which are not packed.*grows"):
        store.check(Data(), (second,))
    before = (store.path / f"{first}.npy").stat()
    store = open_or_pack(store.path, small, load_recipe("multiview"))
    after = (store.path / f"{first}.npy").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    for name in ("eeg", "spectrogram"):
        np.testing.assert_array_equal(getattr(store, name), getattr(packed, name))
    pd.testing.assert_frame_equal(store.windows, packed.windows, check_like=True)
    assert set(store.sources["name"]) == set(packed.sources["name"])
    assert store.description == packed.description
    store.check_sources(small)


@pytest.mark.parametrize("moment", ["full disk", "record", "finish"])
def test_a_growth_that_fails_leaves_the_old_store_intact(
    small, packed, tmp_path, monkeypatch, moment
):
    before = hashes(quietly(small, tmp_path / "store", "eeg").path)
    with monkeypatch.context() as patch:
        if moment == "full disk":
            patch.setattr(os, "posix_fallocate", raise_no_space, raising=False)
        elif moment == "record":
            stop_after(patch, 1, KeyboardInterrupt)
        else:  # while the new files are moved into the store
            replace = Path.replace

            def stop(path: Path, target: Path) -> None:
                if path.name == "store.json":
                    raise KeyboardInterrupt
                replace(path, target)

            patch.setattr(Path, "replace", stop)
        with pytest.raises((KeyboardInterrupt, DiskError)):
            quietly(small, tmp_path / "store", "spectrogram")
    store = open_store(tmp_path / "store")
    assert store.inputs == ("eeg",)
    assert {name: hashes(store.path)[name] for name in ("eeg.npy", "store.json")} == {
        name: before[name] for name in ("eeg.npy", "store.json")
    }
    np.testing.assert_array_equal(store.windows["eeg_start"], packed.windows["eeg_start"])
    store = quietly(small, store.path, "eeg", "spectrogram")
    np.testing.assert_array_equal(store.spectrogram, packed.spectrogram)
    assert not partial_folder(store.path).exists()


def test_an_incomplete_download_is_packed_as_far_as_it_goes(own, tmp_path, tiny_recipe, capfd):
    eegs, spectrograms = (sorted(own.present("train", kind)) for kind in ("eeg", "spectrogram"))
    own.spectrogram_path("train", spectrograms[0]).unlink()
    count = f"1 of {len(spectrograms)} spectrograms that train.csv names are missing"
    with pytest.raises(InputError, match=f"{spectrograms[0]}.parquet: no such file; {count}.*EEG"):
        open_or_pack(tmp_path / "none", own, override(load_recipe("multiview"), {"data.folds": 2}))
    complete = open_or_pack(tmp_path / "eegs", own, tiny_recipe)
    assert len(complete.windows) == len(own.train)
    own.eeg_path("train", eegs[0]).unlink()
    with pytest.raises(InputError, match="1 of 6 EEGs that train.csv names are missing.*AVAILABLE"):
        open_or_pack(tmp_path / "none", own, tiny_recipe)
    assert not (tmp_path / "none").exists()

    part = quietly(own, tmp_path / "part", "eeg", available=True)
    assert set(part.windows["eeg_id"]) == set(eegs[1:])
    assert "note: 5 of 6 windows have their recordings in train_eegs" in capfd.readouterr().err
    assert open_or_pack(part.path, own, tiny_recipe).path == part.path
    both = quietly(own, tmp_path / "both", available=True)
    assert set(both.windows["eeg_id"]) <= set(eegs[1:])
    assert set(both.windows["spectrogram_id"]) == set(spectrograms[1:])
    with pytest.raises(InputError, match=r"packed with 5 windows.* there now; delete the store"):
        quietly(own, part.path, available=True)
    shutil.rmtree(own.path / "train_eegs")
    with pytest.raises(InputError, match="no recording of train.csv is in train_eegs"):
        quietly(own, tmp_path / "none", "eeg", available=True)


def test_data_too_small_for_the_folds_are_noted_and_refused_before_the_work(
    small, tmp_path, tiny_recipe, capfd
):
    quietly(small, tmp_path / "store", limit=1)
    line = "5 folds need at least 5 patients, the data has 1; use more EEGs"
    assert f"pack: note: {line}" in capfd.readouterr().err
    with pytest.raises(InputError, match="5 folds need at least 5 patients"):
        open_or_pack(tmp_path / "none", small, override(tiny_recipe, {"data.folds": 5}))
    with pytest.raises(InputError, match="no window has 99 votes or more; lower min_votes"):
        open_or_pack(tmp_path / "none", small, override(tiny_recipe, {"stages.1.min_votes": 99}))
    assert not (tmp_path / "none").exists()


def test_other_files_are_never_touched(small, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in small.path.rglob("*")}
    (tmp_path / "thesis.txt").write_text("two years of work")
    with pytest.raises(InputError, match="no store"):
        quietly(small, tmp_path)
    with pytest.raises(InputError, match=r"thesis\.txt"):
        quietly(small, tmp_path / "thesis.txt")
    with pytest.raises(InputError, match="cannot be written"):
        quietly(small, tmp_path / "thesis.txt" / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    quietly(small, tmp_path / "store")
    assert before == {path: path.stat().st_mtime_ns for path in small.path.rglob("*")}


def test_a_limit_takes_whole_patients_and_a_larger_one_adds_some(competition):
    train = competition.train
    few, more = (choose_windows(train, limit) for limit in (10, 25))
    assert set(few["patient_id"]) < set(more["patient_id"])
    for chosen, limit in ((few, 10), (more, 25)):
        own = train[train["patient_id"].isin(chosen["patient_id"])]
        assert len(own) == len(chosen), "no patient is divided"
        largest = own.groupby("patient_id")["eeg_id"].nunique().max()
        assert abs(chosen["eeg_id"].nunique() - limit) <= largest


def test_windows_with_few_votes_are_left_out_and_wrong_numbers_refused(competition, tmp_path):
    chosen = choose_windows(competition.train, min_votes=10)
    assert chosen[list(VOTE_COLUMNS)].sum(axis=1).min() >= 10
    assert chosen.index.tolist() == list(range(len(chosen)))
    for name, value in (
        ("limit", 0), ("limit", -3), ("limit", float("nan")), ("min_votes", -1),
        ("min_votes", float("nan")), ("min_votes", 1000), ("jobs", 0),
    ):  # fmt: skip
        with pytest.raises(InputError, match=name):
            quietly(competition, tmp_path / "store", **{name: value})
    assert not list(tmp_path.iterdir())


# -- stopped and resumed ---------------------------------------------------------------


def raise_no_space(*_) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def stop_after(monkeypatch, n: int, error: type[BaseException]) -> None:
    """Let a packing be stopped when ``n`` recordings are in the journal."""
    record, calls = PackJournal.record, []

    def counting(self, *arguments) -> None:
        if len(calls) == n:
            raise error
        calls.append(arguments)
        record(self, *arguments)

    monkeypatch.setattr(PackJournal, "record", counting)


@pytest.fixture
def stopped(own, tmp_path, monkeypatch):
    """A packing stopped after four recordings."""
    with monkeypatch.context() as patch:
        stop_after(patch, 4, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            quietly(own, tmp_path / "store")
    return own, tmp_path / "store"


@pytest.mark.parametrize(
    ("torn", "left"), [(None, 4), (b'{"id": 1, "notes"', 4), (b"\xff\n", 4), (-3, 3)]
)
def test_a_stopped_pack_resumes_to_the_same_bytes(stopped, packed, capfd, torn, left):
    own, out = stopped
    assert not out.exists()
    with pytest.raises(InputError, match="no store"):
        open_store(partial_folder(out))
    journal = partial_folder(out) / "journal.jsonl"
    lines = journal.read_bytes()
    journal.write_bytes(lines[:torn] if isinstance(torn, int) else lines + (torn or b""))
    quietly(own, out)
    assert f"resuming, {left} of 6 EEGs are there" in capfd.readouterr().err
    same = ("eeg.npy", "spectrogram.npy", "windows.parquet")
    assert {n: hashes(out)[n] for n in same} == {n: hashes(packed.path)[n] for n in same}
    assert sorted(p.name for p in out.parent.iterdir()) == ["competition", "store"]


def test_only_a_file_that_was_changed_is_read_again(stopped, capfd):
    own, out = stopped
    os.utime(own.eeg_path("train", own.train["eeg_id"].min()), ns=(1, 1))
    quietly(own, out)
    assert "resuming, 3 of 6 EEGs" in capfd.readouterr().err


@pytest.mark.parametrize("change", ["settings", "restart of the machine"])
def test_after_a_change_the_packing_starts_again(stopped, tmp_path, monkeypatch, capfd, change):
    own, out = stopped
    data = Data(band=(1, 20)) if change == "settings" else Data()
    if change != "settings":
        (tmp_path / "boot_id").write_text("another")
        monkeypatch.setattr("hbac_utils.data.journal.BOOT_ID", tmp_path / "boot_id")
    quietly(own, out, data=data)
    assert "resuming" not in capfd.readouterr().err
    assert hashes(out) == hashes(quietly(own, tmp_path / "other", data=data).path)


def test_ctrl_c_gives_no_warning_of_unused_results(small, tmp_path, monkeypatch):
    stop_after(monkeypatch, 0, KeyboardInterrupt)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(KeyboardInterrupt):
            quietly(small, tmp_path / "store", jobs=2)
        gc.collect()
    assert not [str(w.message) for w in caught if "tasks" in str(w.message)]


def test_the_second_process_waits_and_takes_the_firsts_store(own, tmp_path, capfd):
    out = tmp_path / "store"
    with lock(out):
        second = threading.Thread(target=quietly, args=(own, out))
        second.start()
        while "waiting: another process is writing" not in capfd.readouterr().err:
            time.sleep(0.01)
        assert not out.exists()
        shutil.copytree(quietly(own, tmp_path / "other").path, out)
    second.join()
    assert "pack: already packed" in capfd.readouterr().err


# -- a full disk -----------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_nothing_is_left(small, packed, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DiskError) as caught:
            quietly(small, tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert str(caught.value).startswith(f"{tmp_path}: no space for the EEGs (")
    assert f"they need {packed.eeg.nbytes / 1e9:.3g} GB" in str(caught.value)
    assert not list(tmp_path.iterdir()), "the reserved space is given back"


# -- sources and damage ----------------------------------------------------------------


def test_a_changed_source_is_named(own, tiny_recipe, tmp_path):
    store = quietly(own, tmp_path / "store")
    for path in (
        own.spectrogram_path("train", own.train["spectrogram_id"][3]),
        own.eeg_path("train", own.train["eeg_id"][0]),
        own.path / "train.csv",
    ):
        os.utime(path, ns=(1, 1))
        with pytest.raises(InputError, match=f"{path}: changed.*delete the store and pack again"):
            open_or_pack(store.path, own, tiny_recipe)
    moved = open_competition(own.path.rename(tmp_path / "moved"))
    open_or_pack(store.path, moved, tiny_recipe)  # of a copy only names and sizes count
    path = moved.path / "train.csv"
    path.write_text(path.read_text() + "\n")
    with pytest.raises(InputError, match=f"{path}: changed"):
        open_or_pack(store.path, moved, tiny_recipe)
    for kind in ("eeg", "spectrogram"):
        shutil.rmtree(moved.path / f"train_{kind}s")
    open_or_pack(store.path, moved, tiny_recipe)  # the store alone is enough


@pytest.mark.parametrize(
    "name", ["eeg.npy", "spectrogram.npy", "windows.parquet", "sources.parquet", "store.json"]
)
def test_a_truncated_store_is_refused(packed, tmp_path, name):
    copy = Path(shutil.copytree(packed.path, tmp_path / "store"))
    path = copy / name
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(InputError, match=f"{path}: damaged.*delete the store and pack again"):
        open_store(copy)


def test_files_that_contradict_each_other_are_refused(packed, tmp_path):
    copy = Path(shutil.copytree(packed.path, tmp_path / "store"))
    np.save(copy / "spectrogram.npy", packed.spectrogram[:-300])
    with pytest.raises(InputError, match=r"spectrogram\.npy: damaged \(not"):
        open_store(copy)
    description = json.loads((copy / "store.json").read_text())
    description["key"]["format"] = 1
    (copy / "store.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"a store of format 1, this kit reads 2; delete"):
        open_store(copy)


# -- a cluster -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dask_cluster_packs_though_a_worker_is_killed(small, packed, tmp_path, monkeypatch):
    record = PackJournal.record
    with dask_cluster(tmp_path, 2) as (address, workers):

        def kill_one(self, *arguments) -> None:
            workers[0].kill()
            record(self, *arguments)

        monkeypatch.setattr(PackJournal, "record", kill_one)
        store = quietly(small, tmp_path / "store", dask=address)
    assert hashes(store.path)["eeg.npy"] == hashes(packed.path)["eeg.npy"]


def test_a_cluster_that_cannot_be_used_is_one_line(small, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs the package distributed")
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match=f"{address}: no scheduler answers"):
            quietly(small, tmp_path / "store", dask=address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match="pip install distributed"):
        quietly(small, tmp_path / "store", dask="tcp://127.0.0.1:1")


def test_the_shares_of_missing_values_are_those_of_the_files(own, tmp_path):
    row = own.train.iloc[0]
    path = own.eeg_path("train", row["eeg_id"])
    table = pd.read_parquet(path)
    first = int(row["eeg_label_offset_seconds"] * 200)
    table.iloc[first : first + 5000, :19] = np.float32("nan")
    table.to_parquet(path)
    store = quietly(own, tmp_path / "store")
    assert store.windows["eeg_missing"][0] == pytest.approx(0.5, abs=0.01)
    assert np.isfinite(store.eeg).all()
