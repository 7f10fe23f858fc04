"""Submit a pushed version: check its ``submission.csv``, hand it in, wait for its score."""

import json
from functools import partial
from pathlib import Path

from hbac_utils.data.competition import read_table
from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.api import Kaggle, KaggleError
from hbac_utils.kernels.push import PushedVersion, wait
from hbac_utils.metric import check_probabilities

SUBMISSION_FILE, REPORT_FILE = "submission.csv", "inference_report.json"
SUBMISSIONS_PAGE = f"https://www.kaggle.com/competitions/{SLUG}/submissions"


def submit(
    kaggle: Kaggle, pushed: PushedVersion, folder: Path, minutes: float, poll_interval: float
) -> str:
    """Submit a pushed version and return its public score.

    A version that was submitted already is not submitted again; only its score is waited for.
    ``folder`` is that of its record; ``minutes`` is the longest wait for the version, and again
    for the score; ``poll_interval`` is in seconds.

    Raises InputError if the version's ``submission.csv`` is not valid, and KaggleError if it wrote
    none or failed, or Kaggle refuses it or cannot score it.
    """
    if not pushed.submission:
        pushed.wait(kaggle, minutes, poll_interval)
        message = _describe(pushed, _check_output(kaggle, pushed, folder / f"v{pushed.version}"))
        answer = kaggle.submit(pushed.kernel, pushed.version, SUBMISSION_FILE, message)
        if not answer.ref:
            raise KaggleError(
                f"Kaggle returned no submission number ({answer.message or 'no reason given'}): "
                f"look at {SUBMISSIONS_PAGE} before you submit again"
            )
        pushed = pushed.model_copy(update={"submission": answer.ref})
        pushed.write(folder)
        print(f"submitted  {pushed.kernel} version {pushed.version}: {message}")
    get_state = partial(kaggle.submission, pushed.submission)
    remedy = f"the hidden re-run failed, see {SUBMISSIONS_PAGE}"
    return wait(f"submission {pushed.submission}", get_state, remedy, minutes, poll_interval)


def _check_output(kaggle: Kaggle, pushed: PushedVersion, folder: Path) -> dict:
    """Download and check a version's submission; return its ``inference_report.json``."""
    pattern = rf"^({SUBMISSION_FILE}|{REPORT_FILE})$".replace(".", r"\.")
    found = kaggle.download_output(pushed.kernel, pushed.version, folder, pattern)
    files = {path.name: path for path in found}
    if SUBMISSION_FILE not in files:
        raise KaggleError(
            f"{pushed.kernel} version {pushed.version} wrote no {SUBMISSION_FILE}: is it the "
            f"inference notebook? see {pushed.url}"
        )
    check_probabilities(read_table(files[SUBMISSION_FILE]), str(files[SUBMISSION_FILE]))
    return json.loads(files[REPORT_FILE].read_text()) if REPORT_FILE in files else {}


def _describe(pushed: PushedVersion, report: dict) -> str:
    """Describe a submission: recipe and out-of-fold score of each run, blend, commit."""
    runs = [
        f"{run['recipe']} ({run['models']} models, out of fold {run['kl_all']:.4f} on all votes"
        + (f", {run['kl_reliable']:.4f} on 10 or more)" if run["kl_reliable"] is not None else ")")
        for run in report.get("runs", [])
    ]
    text = " + ".join(runs) or "unknown run"
    if report.get("blend"):
        text += f", blended ({report['blend']})"
    return f"{text}, commit {pushed.commit}, version {pushed.version}"
