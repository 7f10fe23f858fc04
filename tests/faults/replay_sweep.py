"""The verb ``sweep``, whose trials replay a run: python replay_sweep.py RUN, and its options."""

import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "helpers"))
from sweep_worker import Replay

from hbac_utils.cli import main
from hbac_utils.sweeps import jobs

if __name__ == "__main__":
    jobs.prepare = partial(jobs.prepare, execute=Replay(Path(sys.argv[1]), 0.3))
    sys.exit(main(["sweep", *sys.argv[2:]]))
