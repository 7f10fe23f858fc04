"""Parallel workers: processes of this machine, or a Dask cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import TimeoutError as ParallelTimeout
from pathlib import Path

from joblib import Parallel, parallel_config

from hbac_utils.utils.errors import InputError

CONNECT_SECONDS = 10  # for the scheduler to answer, and for a first worker to appear
STALLED_SECONDS = 600  # without a result, after which a cluster counts as dead


@contextmanager
def workers(jobs: int, scheduler: str, folder: Path) -> Iterator[Parallel]:
    """Open a joblib pool whose results arrive in the order in which they are ready.

    It has ``jobs`` processes (−1 for one a core), or the workers of a Dask scheduler such as
    ``tcp://host:8786``, which must all see the folder under its path.
    """
    if not scheduler:
        yield Parallel(n_jobs=jobs, return_as="generator_unordered")
        return
    with connect(scheduler) as client:
        check_workers(client, scheduler, folder)
        with parallel_config(backend="dask", client=client):
            try:
                # joblib does not notice that a scheduler died, except by this timeout
                yield Parallel(n_jobs=-1, return_as="generator_unordered", timeout=STALLED_SECONDS)
            except ParallelTimeout:
                raise InputError(
                    f"dask {scheduler}: no result for {STALLED_SECONDS} s; check the scheduler "
                    "and its workers and pack again, it resumes"
                ) from None


def connect(scheduler: str):
    """Connect to a Dask scheduler; return its ``distributed.Client``, a context manager."""
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"dask {scheduler}: needs the package distributed here and on all workers; "
            "install it: pip install distributed"
        ) from None
    try:
        return Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"dask {scheduler}: no scheduler answers there ({type(error).__name__}); "
            "start one: dask scheduler"
        ) from None


def check_workers(client, scheduler: str, folder: Path) -> None:
    """Refuse a cluster without a worker, or with one that does not see the folder."""
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError:
        raise InputError(
            f"dask {scheduler}: the scheduler has no worker; start some: dask worker {scheduler}"
        ) from None
    for worker, sees in client.run(os.path.isdir, str(folder)).items():
        if not sees:
            raise InputError(
                f"dask {scheduler}: the worker {worker} does not see {folder}; "
                "competition and store must have the same path on all machines"
            )
