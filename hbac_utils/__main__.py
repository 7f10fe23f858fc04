"""The verbs that the Makefile calls: ``python -m hbac_utils VERB --help`` explains each.

Wrong input ends a verb with one line on standard error and exit code 2; ``--debug`` shows
the traceback. Each verb says at its end where its results lie.
"""

import argparse
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
        return 2
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
        verb = verbs.add_parser(function.__name__, help=text, description=text)
        verb.set_defaults(verb=function, **defaults)
        return verb

    data = {"default": "", "help": "competition folder; empty: look under /kaggle/input"}
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
    verb.add_argument("--data", **data)
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
    verb.add_argument("--data", **data)
    verb.add_argument("--out", type=Path, required=True, help="folder for the page")

    verb = add(train)
    verb.add_argument("--data", **data)
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
    verb.add_argument("--data", **data)
    verb.add_argument("--run", type=Path, required=True, help="a trained run")
    verb.add_argument("--out", type=Path, required=True, help="folder for the submission")

    verb = add(scores)
    verb.add_argument("run", type=Path, help="a trained run")

    verb = add(score)
    verb.add_argument("submission", type=Path)
    verb.add_argument("solution", type=Path, help="eeg_id and six columns of votes")
    verb.add_argument("--run", type=Path, help="whose training prior to score beside it")
    verb.add_argument("--truth", type=Path, help="a synthetic competition's truth.parquet")
    return parser


if __name__ == "__main__":
    sys.exit(main())
