"""The verb ``sweep`` with fake trials: python replay_sweep.py SECONDS, and its options."""

import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "helpers"))
from sweep_worker import FakeTraining

from hbac_utils.cli import main
from hbac_utils.sweeps import worker

if __name__ == "__main__":
    worker.begin = partial(worker.begin, execute=FakeTraining(float(sys.argv[1])))
    sys.exit(main(["sweep", *sys.argv[2:]]))
