"""Sweeps on a PostgreSQL database and on a Dask cluster, with a killed worker."""

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest
from dask_cluster import dask_cluster
from sweep_worker import (
    TIMEOUT,
    assert_all_complete,
    fake_job,
    kill_one_of_two,
    states,
    wait_until_busy,
)

from hbac_utils.sweeps import study
from hbac_utils.sweeps.launcher import run_sweep
from hbac_utils.sweeps.report import read_results, write_report
from hbac_utils.utils.errors import InputError

SIX = {"grid": {"dropout": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]}}


@pytest.fixture
def postgresql():
    """URL of a database of a real server; as root it runs under another user."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip("no PostgreSQL here; install it: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="sweeps-postgresql-"))
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(program: str, *arguments: str) -> None:
        subprocess.run(
            [found[-1].with_name(program), *arguments], user=user, group=user, cwd=folder,
            check=True, stdout=subprocess.DEVNULL, timeout=TIMEOUT,
        )  # fmt: skip

    data, log = str(folder / "data"), str(folder / "log")
    options = f"-p {port} -k {folder} -h 127.0.0.1 -c fsync=off"
    try:
        call("initdb", "-D", data, "-A", "trust", "-U", "sweeper", "--no-sync")
        call("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "sweeper", "sweeps")
            yield f"postgresql+psycopg://sweeper@127.0.0.1:{port}/sweeps"
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_a_killed_worker_s_trial_is_completed_by_another_on_postgresql(
    postgresql, tmp_path, monkeypatch
):
    monkeypatch.setattr(study, "HEARTBEAT", 1)
    job = fake_job(tmp_path, SIX, 0.5, storage=postgresql)
    assert_all_complete(job, kill_one_of_two(job, tmp_path))
    assert not (job.folder / "journal.log").exists()

    # two sweeps in one database are separate, and the page can be made anywhere
    assert set(states(fake_job(tmp_path, {"name": "other"}, storage=postgresql))) == {"waiting"}
    page = write_report(read_results(job.plan, tmp_path / "elsewhere", postgresql)).read_text()
    assert page.count("data:image/png") == 7
    assert "href=" not in page, "the notebooks are elsewhere"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("a server", "storage URL: cannot be used; check server and URL, postgresql"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/sweeps", r"127.0.0.1:1/sweeps: .*used \(conn"),
        ("mysql+pymysql://me@127.0.0.1/sweeps", "127.0.0.1/sweeps: .*access module.*pip install"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line(tmp_path, url, message):
    with pytest.raises(InputError, match=message) as error:
        fake_job(tmp_path, {}, storage=url)
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_a_dask_cluster_completes_a_sweep_though_a_worker_is_killed(tmp_path):
    from distributed import Client

    job = fake_job(tmp_path, SIX, 0.5)
    with dask_cluster(tmp_path, 2) as (address, workers):
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=TIMEOUT)
        killed = []

        def kill_when_busy() -> None:
            killed.append(wait_until_busy(job, workers[0]))
            workers[0].kill()

        thread = threading.Thread(target=kill_when_busy)
        thread.start()
        assert run_sweep(job, dask=address)
        thread.join()
    assert_all_complete(job, killed[0])
