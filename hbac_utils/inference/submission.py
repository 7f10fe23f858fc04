"""The prediction of a test folder; write and check ``submission.csv`` and its report."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition, read_ids, read_table
from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.metric import SubmissionError, check_probabilities
from hbac_utils.utils.files import replacing, writing

COLUMNS = list(VOTE_COLUMNS)

# share of recordings with the prior above which there is a warning: each costs about half a nat,
# so 1 % costs 0.005 of the score, as much as separates neighbours on the leaderboard
MAX_FALLBACKS = 0.01


@dataclass
class Prediction:
    """Predictions of a test folder."""

    submission: pd.DataFrame  # ``eeg_id`` and six probabilities, a row per ``eeg_id`` of test.csv
    by_fold: dict[str, np.ndarray]  # of each fold model, (n, 6); the prior where it has none
    fallbacks: dict[int | str, str] = field(default_factory=dict)  # given the prior: the reason
    repaired: dict[int | str, str] = field(default_factory=dict)  # malformed: what was wrong
    runs: list[dict] = field(default_factory=list)  # recipe, models, scores, EEGs not predicted
    blend: str = ""  # how several runs were blended; empty if all models count the same

    @property
    def ids(self) -> pd.Series:
        """The ``eeg_id`` of each row."""
        return self.submission["eeg_id"]

    @property
    def probabilities(self) -> np.ndarray:
        """The submitted probabilities, shape (n, 6)."""
        return self.submission[COLUMNS].to_numpy()

    def summary(self) -> pd.DataFrame:
        """Count the recordings that were predicted and those that got the prior."""
        total, lost = len(self.submission), len(self.fallbacks)
        counts = {"predicted": total - lost, "given the prior": lost, "in the submission": total}
        return pd.Series(counts, name="recordings").to_frame()

    @property
    def warning(self) -> str:
        """A warning if more than `MAX_FALLBACKS` of the recordings got the prior; else empty."""
        total, lost = len(self.submission), len(self.fallbacks)
        if lost <= MAX_FALLBACKS * total:
            return ""
        return (
            f"WARNING: {lost:,} of {total:,} recordings ({lost / total:.1%}) got the training "
            f"prior, not a prediction (more than {MAX_FALLBACKS:.0%}). "
            f"The first reason: {next(iter(self.fallbacks.values()))}"
        )

    def verdict(self) -> str:
        """Summarise the prediction in one line: the warning, or the counts."""
        total = len(self.submission)
        return self.warning or (
            f"{total - len(self.fallbacks):,} of {total:,} recordings were predicted, "
            f"{len(self.repaired):,} of them repaired"
        )

    def fallback_table(self) -> pd.DataFrame:
        """List the EEGs that got the prior, with the reason."""
        return pd.DataFrame(self.fallbacks.items(), columns=["eeg_id", "reason"])

    def repaired_table(self) -> pd.DataFrame:
        """List the EEGs that were predicted from malformed files, with what was wrong."""
        return pd.DataFrame(self.repaired.items(), columns=["eeg_id", "what was wrong"])


def write_submission(prediction: Prediction, out: str | Path) -> Path:
    """Write ``submission.csv`` and ``inference_report.json``, and return the former's path.

    Too many fallbacks give a warning on standard error and in the report. Raises SubmissionError if
    a probability is invalid (nothing is written then), DiskError if the disk is full.
    """
    out = Path(out)
    path = out / "submission.csv"
    check_probabilities(prediction.submission, str(path))
    if prediction.warning:
        print(prediction.warning, file=sys.stderr, flush=True)
    report = {
        "rows": len(prediction.submission),
        "warning": prediction.warning,
        "runs": prediction.runs,
        "blend": prediction.blend,
        "fallbacks": {str(eeg_id): reason for eeg_id, reason in prediction.fallbacks.items()},
        "repaired": {str(eeg_id): what for eeg_id, what in prediction.repaired.items()},
    }
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            prediction.submission.to_csv(file, index=False)
        with replacing(out / "inference_report.json") as file:
            file.write(json.dumps(report, indent=2).encode() + b"\n")
    return path


def check_submission(path: Path, competition: Competition) -> pd.DataFrame:
    """Read a written submission and check it as the competition does; return the findings.

    Raises SubmissionError if columns, range or sums are wrong, or the ids are not those of
    ``test.csv``, each once and in its order.
    """
    given = read_ids(path)["eeg_id"].tolist()
    # an empty table has no numeric columns by itself
    table = read_table(path).astype(dict.fromkeys(COLUMNS, float), errors="ignore")
    table = table.assign(eeg_id=given)
    check_probabilities(table, str(path))
    wanted = competition.test["eeg_id"].drop_duplicates().tolist()
    if given != wanted:
        missing, unknown = len(set(wanted) - set(given)), len(set(given) - set(wanted))
        what = f"{missing} eeg_id of test.csv are missing and {unknown} are not in it"
        if not missing and not unknown:
            what = "not in the order of test.csv"
        raise SubmissionError(f"{path}: {what}; predict this test folder again")
    found = {"file": str(path), "rows": f"{len(table):,}, one for each eeg_id of test.csv"}
    values = table[COLUMNS].to_numpy()
    if len(values):
        found["probabilities"] = f"from {values.min():.2g} to {values.max():.2g}, none missing"
        found["row sums"] = f"1, to within {np.abs(values.sum(axis=1) - 1).max():.0e}"
    return pd.Series(found, name="found").to_frame()
