"""Score a run on simulated recordings of hours: events, segments and the agreement of the outputs.

    python benchmarks/recordings.py --out FOLDER [--run simulated] [--hours 6] [--seeds 1 2 3]

Each seed is a patient (`synthetic.hours`). Events are scored as in SzCORE (Dan et al. 2024,
arXiv:2402.13005; package ``timescoring``): ``event`` counts events, with its tolerances of 30 s
before and 60 s after, ``time`` counts seconds. The lines "true" score the events that the true
probabilities of the segments give, as if a model predicted them: what segments of ten seconds
cost. The KL divergence is of the predicted from the true probabilities of the segments. Writes
``recordings.csv``, the table that is printed.
"""

import argparse
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from timescoring.annotations import Annotation
from timescoring.scoring import EventScoring, SampleScoring

from hbac_utils.data.layout import SEGMENT_SECONDS
from hbac_utils.labels import CLASSES
from hbac_utils.metric import kl_divergence
from hbac_utils.recording.events import find_events, szcore_table
from hbac_utils.recording.outputs import read_files
from hbac_utils.synthetic.hours import synthesize_hours

RATE = 10  # Hz, of the events
SCORINGS = {"event": EventScoring, "time": SampleScoring}
TYPES = {"Seizure": "sz"} | {name: name.lower() for name in CLASSES[1:-1]}


def spans(events: pd.DataFrame, pattern: str) -> list[tuple[float, float]]:
    """List begin and end (seconds) of a pattern's events in a SzCORE table, in their order."""
    own = events[events["eventType"] == TYPES[pattern]].sort_values("onset")
    return list(zip(own["onset"], own["onset"] + own["duration"], strict=True))


def count(truth: pd.DataFrame, predicted: pd.DataFrame, seconds: float) -> pd.DataFrame:
    """Count events or seconds of two SzCORE tables: per pattern and scoring ``true tp fp``."""
    rows = []
    for pattern in TYPES:
        both = (
            Annotation(spans(events, pattern), RATE, round(seconds * RATE))
            for events in (truth, predicted)
        )
        reference, hypothesis = both
        for name, scoring in SCORINGS.items():
            score = scoring(reference, hypothesis)
            rows.append((pattern, name, score.refTrue, score.tp, score.fp))
    columns = ["pattern", "scoring", "true", "tp", "fp"]
    return pd.DataFrame(rows, columns=columns).set_index(["pattern", "scoring"])


def rates(counts: Iterable[pd.DataFrame], hours: float) -> pd.DataFrame:
    """Compute the rates over all recordings, which have ``hours`` together."""
    total = sum(counts)
    return pd.DataFrame({
        "true": total["true"],
        "sensitivity": total["tp"] / total["true"],
        "precision": total["tp"] / (total["tp"] + total["fp"]),
        # in time: seconds per hour
        "false per hour": total["fp"] / hours,
    })  # fmt: skip


def check_outputs(folder: Path, table: pd.DataFrame, seconds: float) -> None:
    """Compare ``events.tsv``, ``probabilities.parquet`` and the page's table of events.

    Raises AssertionError if they disagree.
    """
    found, written = find_events(table), pd.read_csv(folder / "events.tsv", sep="\t")
    stored = pd.read_parquet(folder / "probabilities.parquet")
    pd.testing.assert_frame_equal(find_events(stored), found)
    expected = szcore_table(found, seconds, None)[["onset", "duration", "eventType", "confidence"]]
    pd.testing.assert_frame_equal(written[list(expected)], expected, check_dtype=False)
    shown = read_page_events(folder / "report.html")
    assert shown["pattern"].tolist() == found["pattern"].tolist()
    np.testing.assert_allclose(shown["onset"], found["onset"], atol=1)  # whole seconds


def read_page_events(path: Path) -> pd.DataFrame:
    """Read the page's table of events: ``onset`` (s) and ``pattern``."""
    _, _, rest = path.read_text().partition('<table class="events">')
    rows = []
    for row in re.findall(r"<tr>.*?</tr>", rest.partition("</table>")[0], re.DOTALL):
        cells = re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL)
        if cells:  # not the head
            time, _, pattern, _ = (re.sub("<.*?>", "", cell).strip() for cell in cells[-4:])
            rows.append((pd.Timedelta(time).total_seconds(), pattern))
    return pd.DataFrame(rows, columns=["onset", "pattern"])


def main() -> None:
    """Simulate, read, score, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", default="simulated")
    parser.add_argument("--hours", type=float, default=6)
    parser.add_argument("--evidence", type=float, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    counts: dict[str, list[pd.DataFrame]] = {"predicted": [], "true": []}
    truths, predictions = [], []
    for seed in arguments.seeds:
        folder = arguments.out / f"patient{seed}"
        if not folder.exists():
            synthesize_hours(folder, hours=arguments.hours, seed=seed, evidence=arguments.evidence)
        truth = pd.read_parquet(folder / "truth.parquet").assign(duration=float(SEGMENT_SECONDS))
        events = pd.read_csv(folder / "truth.tsv", sep="\t")
        out = arguments.out / "read" / folder.name
        (reading,) = read_files([folder / "recording.edf"], [arguments.run], out)
        seconds = reading.recording.seconds
        check_outputs(out / "recording", reading.table, seconds)
        for name, table in (("predicted", reading.table), ("true", truth)):
            counts[name].append(
                count(events, szcore_table(find_events(table), seconds, None), seconds)
            )
        known = reading.table[CLASSES[0]].notna().to_numpy()
        truths.append(truth.loc[known, list(CLASSES)].to_numpy())
        predictions.append(reading.table.loc[known, list(CLASSES)].to_numpy())
    hours = sum(map(len, truths)) * SEGMENT_SECONDS / 3600
    table = pd.concat({name: rates(own, hours) for name, own in counts.items()}, names=["table"])
    table.round(3).to_csv(arguments.out / "recordings.csv")
    print(table.round(3).to_string())
    truth, prediction = np.concatenate(truths), np.concatenate(predictions)
    prior = truth.mean(axis=0)
    right = (truth.argmax(axis=1) == prediction.argmax(axis=1)).mean()
    kl, of_prior = (kl_divergence(truth, other) for other in (prediction, prior))
    print(
        f"{len(arguments.seeds)} recordings, {hours:.1f} readable hours; KL divergence {kl:.3f} "
        f"(constant prior: {of_prior:.3f}); leading class right in {right:.1%} of the segments"
    )


if __name__ == "__main__":
    main()
