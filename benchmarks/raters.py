"""Compare the simulated panel of experts with a log of real votes.

    python benchmarks/raters.py --votes votes.csv.gz --raters raters.csv

The log is that of Jing et al. (2023), doi:10.1212/WNL.0000000000201670, as tables: ``votes`` with
segment, rater and vote (0 Other, 1 Seizure, 2 LPD, 3 GPD, 4 LRDA, 5 GRDA), ``raters`` with rater
and expert32. Compared are segments with ten votes or more of the 32 experts, and as many simulated
ones with as many votes.
"""

import argparse

import numpy as np
import pandas as pd

from hbac_utils.labels import CLASSES, RELIABLE_VOTES, vote_fractions
from hbac_utils.metric import expert_yardstick
from hbac_utils.synthetic import raters

CODES = (5, 0, 1, 2, 3, 4)  # of the log, to the order of CLASSES


def real_votes(votes: str, raters: str) -> np.ndarray:
    """Count the experts' votes on each segment, shape (n, 6)."""
    log, people = pd.read_csv(votes), pd.read_csv(raters)
    log = log[log["rater"].isin(people.loc[people["expert32"], "rater"])]
    log["class"] = np.array(CODES)[log["vote"]]
    counts = log.groupby(["segment", "class"]).size().unstack(fill_value=0).to_numpy()
    return counts[counts.sum(axis=1) >= RELIABLE_VOTES]


def simulated_votes(totals: np.ndarray) -> np.ndarray:
    """Draw episodes that many experts see, and so many votes on each, shape (n, 6)."""
    rng = np.random.default_rng(0)
    kinds, shares = raters.episode_kinds(reliable=True)
    drawn = rng.choice(len(kinds), len(totals), p=shares)
    evidence = [raters.draw_evidence(rng, kinds[kind], rng.random(), True) for kind in drawn]
    panels = [raters.draw_panel(rng, int(min(total, raters.PANEL))) for total in totals]
    return raters.count_votes(np.array(evidence), panels)


def describe(votes: np.ndarray) -> dict[str, float]:
    """Describe votes, shape (n, 6): shares, agreement, entropy (nats), the expert yardstick."""
    fractions, totals = vote_fractions(votes), votes.sum(axis=1)
    terms = fractions * np.log(np.where(fractions > 0, fractions, 1))
    rows = {f"{name}, share of the votes": fractions[:, i].mean() for i, name in enumerate(CLASSES)}
    for i, name in enumerate(CLASSES):
        again = votes[:, i] * (votes[:, i] - 1) / (totals - 1)
        rows[f"{name}, chance that another expert agrees"] = again.sum() / votes[:, i].sum()
    rows["entropy of a segment's votes"] = -terms.sum(axis=1).mean()
    return rows | {f"{name} as prediction, KL": x for name, x in expert_yardstick(votes).items()}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votes", required=True)
    parser.add_argument("--raters", required=True)
    options = parser.parse_args()
    real = real_votes(options.votes, options.raters)
    simulated = simulated_votes(real.sum(axis=1))
    table = pd.DataFrame({"real": describe(real), "simulated": describe(simulated)})
    print(f"{len(real):,} segments\n{table.round(3).to_string()}")


if __name__ == "__main__":
    main()
