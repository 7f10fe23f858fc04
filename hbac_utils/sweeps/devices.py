"""What each of several workers on one machine gets of it."""

import os
import shutil
import subprocess


def share(worker: int, workers: int) -> dict[str, str]:
    """Choose the environment of one worker's trials.

    Each has a GPU of its own as long as there are enough; TensorFlow would otherwise take all
    the memory of all GPUs in every trial. Cores are divided. What the user has set stays.

    Parameters
    ----------
    worker : int
        From 0.
    workers : int

    Returns
    -------
    dict of str to str
        Environment variables to set; none for a single worker.
    """
    if workers == 1:
        return {}
    threads = str(max(1, _cores() // workers))
    chosen = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads}
    gpus = visible_gpus()
    if gpus:
        chosen["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
    chosen = {name: value for name, value in chosen.items() if name not in os.environ}
    if gpus:
        chosen["CUDA_VISIBLE_DEVICES"] = gpus[worker % len(gpus)]
    return chosen


def visible_gpus() -> list[str]:
    """List the GPUs that this process may use, by what ``CUDA_VISIBLE_DEVICES`` calls them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.split() if found.returncode == 0 else []


def _cores() -> int:
    return len(os.sched_getaffinity(0))
