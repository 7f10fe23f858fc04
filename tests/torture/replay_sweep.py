"""A sweep whose trials replay a run: python replay_sweep.py SWEEP COMPETITION STORE RUN OUT."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from sweep_worker import Replay

from hbac_utils.data.competition import open_competition
from hbac_utils.sweeps.jobs import prepare
from hbac_utils.sweeps.plan import Plan
from hbac_utils.sweeps.report import write_report
from hbac_utils.sweeps.results import Results
from hbac_utils.sweeps.sweep import load_sweep
from hbac_utils.sweeps.workers import run

if __name__ == "__main__":
    sweep, competition, store, replayed, out = sys.argv[1:]
    plan = Plan(load_sweep(sweep))
    execute = Replay(Path(replayed), 0.3)
    job = prepare(plan, open_competition(competition), store, out, execute=execute)
    run(job)
    write_report(Results(plan, job.study()), job.folder)
