"""A submission: a pushed version's ``submission.csv``, checked, handed in, its score waited for."""

import json
from pathlib import Path

from hbac_utils.data.competition import read_table
from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.api import Kaggle, KaggleError, wait
from hbac_utils.kernels.push import Pushed, fetch_output, wait_until_complete, write_record
from hbac_utils.metric import check_probabilities

FILE, REPORT = "submission.csv", "inference_report.json"
PAGE = f"https://www.kaggle.com/competitions/{SLUG}/submissions"


def submit(kaggle: Kaggle, pushed: Pushed, folder: Path, minutes: float, every: float) -> str:
    """Submit a pushed version and wait for its score.

    A version that was submitted already is not submitted again; its score is waited for.

    Parameters
    ----------
    kaggle : Kaggle
    pushed : Pushed
    folder : Path
        Where its record lies, ``build/{name}``.
    minutes : float
        When to give up waiting, for the version and again for the score.
    every : float
        Seconds between two questions.

    Returns
    -------
    str
        The public score, as Kaggle writes it.

    Raises
    ------
    InputError
        If the version's ``submission.csv`` is not valid.
    KaggleError
        If it did not complete or wrote none, or Kaggle refuses it or cannot score it.
    """
    if not pushed.submission:
        wait_until_complete(kaggle, pushed, minutes, every)
        message = describe(pushed, check_output(kaggle, pushed, folder / f"v{pushed.version}"))
        answer = kaggle.submit(pushed.kernel, pushed.version, FILE, message)
        if not answer.ref:
            raise KaggleError(
                f"Kaggle gave the submission no number ({answer.message or 'and no reason'}): "
                f"look at {PAGE} before you submit again"
            )
        pushed = pushed.model_copy(update={"submission": answer.ref})
        write_record(pushed, folder)
        print(f"submitted  {pushed.kernel} version {pushed.version}: {message}")
    return _score(kaggle, pushed, minutes, every)


def check_output(kaggle: Kaggle, pushed: Pushed, folder: Path) -> dict:
    """Fetch and check a version's submission.

    Returns
    -------
    dict
        Its ``inference_report.json``; empty if it wrote none.

    Raises
    ------
    InputError
        If the submission is not valid.
    KaggleError
        If the version wrote none.
    """
    files = {path.name: path for path in fetch_output(kaggle, pushed, folder, (FILE, REPORT))}
    if FILE not in files:
        raise KaggleError(
            f"{pushed.kernel} version {pushed.version} wrote no {FILE}: is it the inference "
            f"notebook? see {pushed.url}"
        )
    check_probabilities(read_table(files[FILE]), str(files[FILE]))
    return json.loads(files[REPORT].read_text()) if REPORT in files else {}


def describe(pushed: Pushed, report: dict) -> str:
    """Say what is submitted: recipe and out-of-fold score of each run, blend and commit."""
    runs = [
        f"{run['recipe']} ({run['models']} models, out of fold {run['kl_all']:.4f} on all votes"
        + (f", {run['kl_reliable']:.4f} on 10 or more)" if run["kl_reliable"] is not None else ")")
        for run in report.get("runs", [])
    ]
    said = " + ".join(runs) or "unknown run"
    if report.get("blend"):
        said += f", blended ({report['blend']})"
    return f"{said}, commit {pushed.commit}, version {pushed.version}"


def _score(kaggle: Kaggle, pushed: Pushed, minutes: float, every: float) -> str:
    answers = []

    def ask() -> str:
        answers.append(kaggle.submission(pushed.submission))
        return answers[-1].status.name

    what = f"submission {pushed.submission}"
    if wait(what, ask, ("COMPLETE", "ERROR"), minutes, every) == "ERROR":
        reason = answers[-1].error_description or "no reason given"
        raise KaggleError(
            f"{what} could not be scored ({reason}): the hidden re-run failed, see {PAGE}"
        )
    return answers[-1].public_score
