"""A worker in a process of its own, and a trial that takes no training: for tests of sweeps.

python tests/sweep_worker.py JOB      takes trials of a pickled job
"""

import json
import os
import pickle
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hbac_utils.sweeps.trials import STOP, Task
from hbac_utils.sweeps.worker import work


@dataclass(frozen=True)
class Replay:
    """In place of the notebook: lets a run that is there already appear again, epoch by epoch.

    The key ``dropout`` is added to all scores; a value above 0.8 fails.
    """

    run: Path
    seconds: float = 0.0

    def __call__(self, task: Task) -> None:
        task.folder.mkdir(parents=True, exist_ok=True)
        with (task.folder / "pids").open("a") as pids:
            pids.write(f"{os.getpid()}\n")
        worse = task.overrides.get("dropout", 0)
        if worse > 0.8:
            raise RuntimeError("too <b>much</b> dropout")
        for fold in task.folds:
            if not self._fold(task.folder, f"fold{fold}", worse):
                return
        metrics = json.loads((self.run / "metrics.json").read_text())
        for scores in metrics["scores"].values():
            scores.update({name: value and value + worse for name, value in scores.items()})
        (task.folder / "metrics.json").write_text(json.dumps(metrics))

    def _fold(self, folder: Path, fold: str, worse: float) -> bool:
        history = pd.read_csv(self.run / fold / "history.csv")
        history[["kl_all", "kl_reliable"]] += worse
        (folder / fold).mkdir(exist_ok=True)
        path = folder / fold / "history.csv"
        done = len(pd.read_csv(path)) if path.exists() else 0
        for epochs in range(done + 1, len(history) + 1):
            time.sleep(self.seconds)
            if (folder / STOP).exists():
                return False
            history.head(epochs).to_csv(path.with_suffix(".draft"), index=False)
            path.with_suffix(".draft").replace(path)
        shutil.copy(self.run / fold / "model.weights.h5", folder / fold)
        return True


if __name__ == "__main__":
    print(work(pickle.loads(Path(sys.argv[1]).read_bytes())))
