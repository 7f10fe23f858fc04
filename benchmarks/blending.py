"""Measure blending: 50 members of full size, and noise members that must not gain.

    python benchmarks/blending.py [--out outputs/blending-bench] [--members 50] [--rows 107000]
                                  [--seeds 20]

Scale: out-of-fold files with a row per window and known best weights go through ``hbac blend``.
Printed are seconds, seconds of processor time, peak memory, and the error of the weights.
Noise: one member knows the probabilities, eleven are random, 300 windows. Printed is each method's
cross-fitted score minus that member's, mean and minimum over ``--seeds`` seeds; a clearly negative
value would be a leak.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.ensembling.blend import blend
from hbac_utils.ensembling.members import Members
from hbac_utils.labels import CLASSES, N_CLASSES, VOTE_COLUMNS

COLUMNS = list(VOTE_COLUMNS)
EEGS, PATIENTS = 17_089, 1_950  # of the real competition
VOTES = 12
NOISE = 11


def main(arguments: list[str] | None = None) -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/blending-bench"))
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--rows", type=int, default=107_000)
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "cores": os.cpu_count(),
        "machine": platform.platform(),
        "scale": (found := scale(options.out, options.members, options.rows)),
        "noise": _noise(options.seeds),
    }
    print("  ".join(f"{name} {value:.4g}" for name, value in found.items()))
    (options.out / "blending.json").write_text(json.dumps(report, indent=2) + "\n")


# -- scale -----------------------------------------------------------------------


def scale(out: Path, members: int, rows: int) -> dict:
    """Blend in a process of its own; returns its seconds, memory and the error of the weights."""
    weights = _write_members(out, members, rows)
    paths = [out / f"member{i:02d}.parquet" for i in range(members)]
    command = [sys.executable, "-m", "hbac_utils", "blend", *paths, "--data", out, "--out"]
    command += [out / "blend", "--method", "weights"]
    begun = time.perf_counter()
    process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=sys.stderr)
    _, status, usage = os.wait4(process.pid, 0)
    found = {
        "members": members, "rows": rows, "seconds": time.perf_counter() - begun,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "gigabytes": usage.ru_maxrss / 2**20,
    }  # fmt: skip
    if status:
        raise SystemExit("blend failed")
    made = json.loads((out / "blend" / "blend.json").read_text())
    off = np.abs([m["weights"][0] for m in made["members"]] - weights).max()
    return found | {"weights_off": float(off)}


def _write_members(out: Path, members: int, rows: int) -> np.ndarray:
    """Write ``train.csv`` and the members' files; return the weights of the true probabilities."""
    random = np.random.default_rng(0)
    weights = random.dirichlet(np.full(members, 0.3))
    # every window has its own votes and is scored; in the real data vote vectors repeat
    eegs = np.sort(random.integers(0, EEGS, rows))
    common = random.dirichlet(np.full(N_CLASSES, 0.4), rows)
    truth = np.zeros((rows, N_CLASSES))
    folds = random.integers(0, 5, PATIENTS)[eegs % PATIENTS]
    for i, weight in enumerate(weights):
        predicted = 0.5 * common + 0.5 * random.dirichlet(np.ones(N_CLASSES), rows)
        truth += weight * predicted
        table = pd.DataFrame({"label_id": np.arange(rows), "fold": folds})
        table[COLUMNS] = predicted
        table.to_parquet(out / f"member{i:02d}.parquet", index=False)
    votes = random.multinomial(VOTES, truth / truth.sum(axis=1, keepdims=True))
    place = pd.Series(eegs).groupby(eegs).cumcount()
    train = pd.DataFrame(
        {
            "eeg_id": eegs, "eeg_sub_id": place, "eeg_label_offset_seconds": 2.0 * place,
            "spectrogram_id": eegs, "spectrogram_sub_id": place,
            "spectrogram_label_offset_seconds": 2.0 * place, "label_id": np.arange(rows),
            "patient_id": eegs % PATIENTS,
            "expert_consensus": np.array(CLASSES)[votes.argmax(axis=1)],
        }
    )  # fmt: skip
    train[COLUMNS] = votes
    train.to_csv(out / "train.csv", index=False)
    return weights


# -- noise -----------------------------------------------------------------------


def _noise(seeds: int) -> dict:
    loss = pd.DataFrame([_against_noise(seed) for seed in range(seeds)])
    table = pd.DataFrame({"mean": loss.mean(), "minimum": loss.min(), "better": (loss < 0).sum()})
    print(f"cross-fitted score minus that of the member that knows, nats, {seeds} seeds")
    print(table.round(4).to_string())
    return table.to_dict("index")


def _against_noise(seed: int) -> pd.Series:
    random = np.random.default_rng(seed)
    values = random.dirichlet(np.full(N_CLASSES, 0.6), (NOISE + 1, 300)).transpose(2, 1, 0)
    votes = random.multinomial(VOTES, values[:, :, 0].T)
    windows = pd.DataFrame(votes, columns=COLUMNS)
    windows["label_id"] = windows["eeg_id"] = windows["group"] = np.arange(300)
    windows["patient_id"] = np.arange(300) // 5
    windows["expert_consensus"] = np.array(CLASSES)[votes.argmax(axis=1)]
    names = tuple(f"m{i}" for i in range(NOISE + 1))
    table = blend(Members(names, ("",) * len(names), windows, values)).table
    return table.drop(index=list(names))["kl"] - table.loc["m0", "kl"]


if __name__ == "__main__":
    main()
