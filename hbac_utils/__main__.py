"""The verbs that the Makefile calls: ``python -m hbac_utils VERB --help`` explains each.

Wrong input ends a verb with one line on standard error and exit code 2, a failure of Kaggle's
with exit code 1; ``--debug`` shows the traceback. Each verb says at its end where its results lie.
"""

import argparse
import os
import sys
from pathlib import Path

from hbac_utils.errors import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.verb(options)
    except InputError as error:
        if options.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def synth(options) -> None:
    """Write a synthetic competition with known truth."""
    from hbac_utils.synthetic.folder import synthesize

    competition = synthesize(
        options.out, eegs=options.eegs, patients=options.patients, seed=options.seed,
        clarity=options.clarity, even=options.even, jobs=options.jobs,
    )  # fmt: skip
    print(f"competition  {competition.path}\ntruth        {competition.path}_truth")


def pack(options) -> None:
    """Pack a competition folder into a store."""
    from hbac_utils.data.competition import open_competition
    from hbac_utils.data.packing import pack
    from hbac_utils.recipe import load_recipe

    recipe = load_recipe(options.recipe)
    competition = open_competition(options.data)
    store = pack(
        competition, options.out, recipe.data, limit=options.limit, min_votes=options.min_votes,
        jobs=options.jobs, dask=options.dask,
    )  # fmt: skip
    print(f"store  {store.path}")


def eda(options) -> None:
    """Look at a competition: run the EDA notebook."""
    from hbac_utils.notebooks import run_notebook

    print(f"page  {run_notebook('eda', {'competition': _folder(options.data)}, options.out)}")


def train(options) -> None:
    """Train a recipe: run the training notebook."""
    from hbac_utils.notebooks import run_notebook

    parameters = {
        "competition": _folder(options.data),
        "store": str(options.store),
        "recipe": options.recipe,
        "run": str(options.run),
        "folds": options.folds,
        "max_hours": options.max_hours,
    }
    page = run_notebook("training", parameters, options.run)
    scores(options)
    print(f"run     {options.run}\nscores  {options.run / 'metrics.json'}\npage    {page}")


def infer(options) -> None:
    """Predict a test folder: run the inference notebook."""
    from hbac_utils.notebooks import run_notebook

    parameters = {
        "competition": _folder(options.data),
        "run": str(options.run),
        "out": str(options.out),
    }
    page = run_notebook("inference", parameters, options.out)
    print(f"submission  {options.out / 'submission.csv'}\npage        {page}")


def score(options) -> None:
    """Score a submission as the competition does, beside constant predictions."""
    from hbac_utils.scoring import score_files

    result = score_files(options.submission, options.solution, options.run, options.truth)
    print(result.to_string())


def scores(options) -> None:
    """Show a run's out-of-fold scores beside the constant prior's and uniform's."""
    from hbac_utils.runs import run_scores

    print(run_scores(options.run).to_string())


def stage(options) -> None:
    """Write a kernel's folder as it would be pushed."""
    draft, folder, _ = _staged(options)
    print(f"staged  {folder} ({draft.size / 1000:.0f} kB, library {draft.bundle.label})")


def push(options) -> None:
    """Push a notebook to Kaggle, where it runs."""
    from hbac_utils.kernels.pushes import RECORD, push

    draft, folder, kaggle = _staged(options)
    pushed = push(kaggle, draft, folder)
    print(f"pushed  {pushed.kernel} version {pushed.version}\npage    {pushed.url}")
    print(f"record  {folder / RECORD}")


def status(options) -> None:
    """Wait until the pushed version has run."""
    from hbac_utils.kernels.pushes import wait_until_complete

    kaggle, pushed = _pushed(options)
    wait_until_complete(kaggle, pushed, options.minutes, options.every)
    print(f"complete  {pushed.kernel} version {pushed.version}\npage      {pushed.url}")


def logs(options) -> None:
    """Wait until the pushed version has run, and show what it printed."""
    from hbac_utils.kernels.connection import KaggleError
    from hbac_utils.kernels.pushes import read_log, wait_until_complete

    kaggle, pushed = _pushed(options)
    try:
        wait_until_complete(kaggle, pushed, options.minutes, options.every)
    except KaggleError:
        print(read_log(kaggle, pushed))  # says why
        raise
    print(read_log(kaggle, pushed))


def output(options) -> None:
    """Wait until the pushed version has run, and fetch what it wrote."""
    from hbac_utils.kernels.pushes import fetch_output, wait_until_complete

    kaggle, pushed = _pushed(options)
    wait_until_complete(kaggle, pushed, options.minutes, options.every)
    folder = options.out or options.build / options.name / f"v{pushed.version}"
    for path in fetch_output(kaggle, pushed, folder):
        print(f"fetched  {path}")


def submit(options) -> None:
    """Submit the pushed version's submission.csv and wait for its score."""
    from hbac_utils.kernels.submissions import submit

    kaggle, pushed = _pushed(options)
    folder = options.build / options.name
    print(f"score  {submit(kaggle, pushed, folder, options.minutes, options.every)}")


def data(options) -> None:
    """Download the competition, 26 GB."""
    from hbac_utils.kernels.client import Kaggle
    from hbac_utils.kernels.download import download

    print(f"competition  {download(Kaggle(options.patience), options.out)}")


def _staged(options):
    """All checks that need no network first, then the user's name."""
    from hbac_utils.kernels.client import Kaggle
    from hbac_utils.kernels.staging import draft, write_draft

    made = draft(options.name, options.set)
    if made.bundle.changed:
        listed = ", ".join(made.bundle.changed[:5]) + (" …" if len(made.bundle.changed) > 5 else "")
        print(f"warning: not committed, and goes along: {listed}", file=sys.stderr)
    kaggle = Kaggle(options.patience)
    return made, write_draft(made, kaggle.username, kaggle.secrets, options.build), kaggle


def _pushed(options):
    from hbac_utils.kernels.client import Kaggle
    from hbac_utils.kernels.pushes import read_record

    pushed = read_record(options.name, options.build)
    return Kaggle(options.patience), pushed


def html(options) -> None:
    """Export executed notebooks as pages that need nothing but a browser."""
    from hbac_utils.notebooks import export_executed

    for page in export_executed(options.path):
        print(f"page  {page}")


def sweep(options) -> None:
    """Run a parameter sweep, or go on with it."""
    from hbac_utils.data.competition import open_competition
    from hbac_utils.sweeps.plan import Plan, load_sweep
    from hbac_utils.sweeps.workers import prepare, run

    plan = Plan(load_sweep(options.file, options.reduced))
    competition = open_competition(options.data)
    job = prepare(plan, competition, options.store, options.out, options.storage)
    if not run(job, options.workers, options.dask, options.retry_failed):
        print("complete already")
    sweep_report(options)


def sweep_report(options) -> None:
    """Write a sweep's page and table from its trials."""
    from hbac_utils.sweeps.plan import Plan, load_sweep
    from hbac_utils.sweeps.report import write_report
    from hbac_utils.sweeps.results import read_results

    plan = Plan(load_sweep(options.file, options.reduced))
    folder = options.out / plan.sweep.name
    results = read_results(plan, folder, options.storage)
    print(results.summary)
    page = write_report(results, folder)
    print(f"table  {folder / 'results.csv'}\npage   {page}")


def _folder(path: str) -> str:
    # refused here, before a kernel is started
    from hbac_utils.data.competition import open_competition

    return str(open_competition(path).path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hbac", description=__doc__.splitlines()[0])
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def add(function, **defaults) -> argparse.ArgumentParser:
        text = function.__doc__.splitlines()[0]
        name = function.__name__.replace("_", "-")
        verb = verbs.add_parser(name, help=text, description=text)
        verb.set_defaults(verb=function, **defaults)
        return verb

    folder = {"default": "", "help": "competition folder; empty: look under /kaggle/input"}
    jobs = {"type": int, "default": -1, "help": "worker processes; -1: one a core"}

    verb = add(synth)
    verb.add_argument("--out", type=Path, required=True, help="folder to write")
    verb.add_argument("--eegs", type=int, default=300, help="training EEGs")
    verb.add_argument("--patients", type=int, help="training patients; as many as is usual")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--clarity", type=float, default=1.0, help="1: as in reality; 5: plain")
    verb.add_argument("--even", action="store_true", help="classes equally frequent")
    verb.add_argument("--jobs", **jobs)

    verb = add(pack)
    verb.add_argument("--data", **folder)
    verb.add_argument("--recipe", default="compact", help="whose band and clip to use")
    verb.add_argument("--out", type=Path, required=True, help="the store's folder")
    verb.add_argument("--limit", type=int, help="about so many EEGs, of whole patients; all")
    verb.add_argument("--min-votes", type=int, default=0, help="leave out windows with fewer")
    verb.add_argument("--jobs", **jobs)
    verb.add_argument(
        "--dask", default="", metavar="ADDRESS",
        help="a Dask scheduler, tcp://HOST:PORT, whose workers read the recordings instead; "
        "they must see competition and store under the same paths as this machine",
    )  # fmt: skip

    verb = add(eda)
    verb.add_argument("--data", **folder)
    verb.add_argument("--out", type=Path, required=True, help="folder for the page")

    verb = add(train)
    verb.add_argument("--data", **folder)
    verb.add_argument("--store", type=Path, required=True, help="packed first if it is not there")
    verb.add_argument("--recipe", default="compact", help="a file, or a name in recipes/")
    verb.add_argument("--run", type=Path, required=True, help="folder for the run")
    verb.add_argument("--folds", default="", help='such as "0,2"; empty: all')
    verb.add_argument(
        "--max-hours",
        type=float,
        default=0,
        help="stop in time; the same call goes on; 0: no limit",
    )

    verb = add(infer)
    verb.add_argument("--data", **folder)
    verb.add_argument("--run", type=Path, required=True, help="a trained run")
    verb.add_argument("--out", type=Path, required=True, help="folder for the submission")

    verb = add(html)
    verb.add_argument("path", type=Path, help="a folder, with all below it, or one notebook")

    for function in (sweep, sweep_report):
        verb = add(function)
        verb.add_argument("file", help="a sweep file, or a name in sweeps/")
        verb.add_argument("--reduced", action="store_true", help="at the file's reduced size")
        verb.add_argument("--out", type=Path, default=Path("outputs/sweeps"), help="of all sweeps")
        verb.add_argument(
            "--storage", default=os.environ.get("HBAC_STORAGE", ""), metavar="URL",
            help="a database shared by several machines, postgresql+psycopg://user@host/name; "
            "better in the variable HBAC_STORAGE; a file in the sweep's folder",
        )  # fmt: skip
        if function is sweep:
            verb.add_argument("--data", **folder)
            verb.add_argument("--store", type=Path, required=True, help="packed if it is not there")
            verb.add_argument("--workers", type=int, help="trials at once; as the file says")
            verb.add_argument(
                "--dask", default="", metavar="ADDRESS",
                help="a Dask scheduler, tcp://HOST:PORT, whose workers do the trials",
            )  # fmt: skip
            verb.add_argument("--retry-failed", action="store_true", help="also what has failed")

    verb = add(scores)
    verb.add_argument("run", type=Path, help="a trained run")

    verb = add(score)
    verb.add_argument("submission", type=Path)
    verb.add_argument("solution", type=Path, help="eeg_id and six columns of votes")
    verb.add_argument("--run", type=Path, help="whose training prior to score beside it")
    verb.add_argument("--truth", type=Path, help="a synthetic competition's truth.parquet")

    for function in (stage, push, status, logs, output, submit):
        verb = add(function)
        verb.add_argument("name", nargs="?", default="inference", help="inference, training, eda")
        verb.add_argument("--build", type=Path, default=Path("build"), help="folder of kernels")
        _add_patience(verb)
        if function in (stage, push):
            verb.add_argument(
                "--set", action="append", default=[], metavar="NAME=VALUE",
                help="a parameter of the notebook, such as folds=0,1; may be repeated",
            )  # fmt: skip
        else:
            verb.add_argument("--minutes", type=float, default=780, help="wait so long at most")
            verb.add_argument("--every", type=float, default=30, help="seconds between questions")
        if function is output:
            verb.add_argument("--out", type=Path, help="folder for the files; build/NAME/vVERSION")

    verb = add(data)
    verb.add_argument("--out", type=Path, required=True, help="folder for the files")
    _add_patience(verb)
    return parser


def _add_patience(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--patience", type=float, default=60, help="seconds to wait for an answer of Kaggle's"
    )


if __name__ == "__main__":
    sys.exit(main())
