"""Write and check ``submission.csv`` and its report."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from hbac_utils.data.competition import Competition, read_table
from hbac_utils.data.readers import read_submitted_ids
from hbac_utils.inference.predict import COLUMNS, Prediction
from hbac_utils.metric import SubmissionError, check_probabilities
from hbac_utils.utils.files import replacing, writing


def write_submission(prediction: Prediction, out: str | Path) -> Path:
    """Write ``submission.csv`` and ``inference_report.json``, and return the former's path.

    Too many fallbacks give a warning on standard error and in the report.

    Raises
    ------
    SubmissionError
        If a probability is invalid; nothing is written then.
    DiskError
        If the folder cannot be written to, or its disk is full.
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

    Raises
    ------
    SubmissionError
        If columns, ids, range or sums are wrong, or the ids are not those of ``test.csv``, each
        once and in its order.
    """
    given = read_submitted_ids(path)
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
