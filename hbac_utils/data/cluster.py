"""Workers for `pack`: processes of this machine, or of a Dask cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import TimeoutError as StalledError
from pathlib import Path

from joblib import Parallel, parallel_config

from hbac_utils.errors import InputError

PATIENCE = 10  # seconds for the scheduler to answer, and for a first worker to appear
STALLED = 600  # seconds without a recording after which a cluster counts as dead


@contextmanager
def workers(jobs: int, scheduler: str, folder: Path) -> Iterator[Parallel]:
    """Open the workers; their results come in the order in which they are ready.

    Parameters
    ----------
    jobs : int
        Processes of this machine; −1 for one a core. A cluster uses all that it has; for one
        with a single core joblib does the work in this process.
    scheduler : str
        Address of a Dask scheduler such as ``tcp://host:8786``; empty for this machine.
    folder : Path
        A folder that every worker must see under this path.

    Raises
    ------
    InputError
        If ``distributed`` is not installed, the scheduler does not answer, has no worker, or a
        worker does not see the folder.
    """
    if not scheduler:
        yield Parallel(n_jobs=jobs, return_as="generator_unordered")
        return
    with connect(scheduler) as client:
        check_workers(client, scheduler, folder)
        with parallel_config(backend="dask", client=client):
            try:
                # joblib never hears of a scheduler that dies: only time tells
                yield Parallel(n_jobs=-1, return_as="generator_unordered", timeout=STALLED)
            except StalledError:
                raise InputError(
                    f"dask {scheduler}: nothing came back for {STALLED} s; see to the scheduler "
                    "and its workers, and pack again: it goes on where it was"
                ) from None


def connect(scheduler: str):
    """Connect to a Dask scheduler; return its ``distributed.Client``, which closes as a context.

    Raises
    ------
    InputError
        If ``distributed`` is not installed, or no scheduler answers at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError(
            f"dask {scheduler}: needs the package distributed here and on all workers; "
            "install it: pip install distributed"
        ) from None
    try:
        return Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"dask {scheduler}: no scheduler answers there ({type(error).__name__}); "
            "start one: dask scheduler"
        ) from None


def check_workers(client, scheduler: str, folder: Path) -> None:
    """Refuse a cluster without a worker, or with one that does not see the folder.

    Raises
    ------
    InputError
        Either way; the worker is named.
    """
    try:
        client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
        raise InputError(
            f"dask {scheduler}: the scheduler has no worker; start some: dask worker {scheduler}"
        ) from None
    for worker, sees in client.run(os.path.isdir, str(folder)).items():
        if not sees:
            raise InputError(
                f"dask {scheduler}: the worker {worker} does not see {folder}; "
                "competition and store must lie under the same path on all machines"
            )
