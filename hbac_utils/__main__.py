"""The verbs that the Makefile calls: ``python -m hbac_utils VERB --help`` explains each.

Wrong input ends a verb with one line on standard error and exit code 2, and so does a disk that
is full or read-only; a failure of Kaggle's with exit code 1; Ctrl-C with 130 and SIGTERM with 143.
``--debug`` shows the traceback.
"""

import argparse
import os
import sys
from pathlib import Path

from hbac_utils import verbs
from hbac_utils.utils.errors import InputError, Terminated
from hbac_utils.utils.process import terminable, unheard


def main(arguments: list[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with terminable():
            options.verb(options)
    except (InputError, OSError) as error:
        said = _said(error, options)
        if options.debug or said is None:
            raise
        print(f"error: {said}", file=sys.stderr)
        return getattr(error, "exit_code", InputError.exit_code)
    except KeyboardInterrupt as told:
        print("stopped", file=sys.stderr)
        return 143 if isinstance(told, Terminated) else 130
    return 0


def _said(error: InputError | OSError, options: argparse.Namespace) -> str | None:
    if isinstance(error, InputError):
        return str(error)
    from hbac_utils.utils.files import described

    given = vars(options)
    return described(error, given.get("out") or given.get("run") or Path.cwd())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hbac", description=__doc__.splitlines()[0])
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    subparsers = parser.add_subparsers(required=True, metavar="VERB")

    def add(function, **defaults) -> argparse.ArgumentParser:
        text = function.__doc__.splitlines()[0]
        name = function.__name__.replace("_", "-")
        verb = subparsers.add_parser(name, help=text, description=text)
        verb.set_defaults(verb=function, **defaults)
        return verb

    folder = {"default": "", "help": "competition folder; empty: look under /kaggle/input"}
    jobs = {"type": int, "default": -1, "help": "worker processes; -1: one a core"}

    verb = add(verbs.synth)
    verb.add_argument("--out", type=Path, required=True, help="folder to write")
    verb.add_argument("--eegs", type=int, default=300, help="training EEGs")
    verb.add_argument("--patients", type=int, help="training patients; as many as is usual")
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--clarity", type=float, default=1.0, help="1: as in reality; 5: plain")
    verb.add_argument("--even", action="store_true", help="classes equally frequent")
    verb.add_argument("--jobs", **jobs)

    verb = add(verbs.pack)
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

    verb = add(verbs.eda)
    verb.add_argument("--data", **folder)
    verb.add_argument("--out", type=Path, required=True, help="folder for the page")

    verb = add(verbs.train)
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

    verb = add(verbs.infer)
    verb.add_argument("--data", **folder)
    verb.add_argument("--run", type=Path, nargs="+", required=True, help="trained runs")
    verb.add_argument("--blend", default="", help="a blend.json of these runs; all alike")
    verb.add_argument("--out", type=Path, required=True, help="folder for the submission")

    verb = add(verbs.blend)
    verb.add_argument("members", nargs="+", help="runs, or files of out-of-fold predictions")
    verb.add_argument("--data", **folder)
    verb.add_argument("--out", type=Path, required=True, help="folder for blend.json")
    verb.add_argument("--method", default="", help="which to save; the simplest that will do")
    verb.add_argument("--common", action="store_true", help="only windows that all members have")
    verb.add_argument(
        "--columns", nargs="*", default=[], metavar="OURS=THEIRS",
        help="what files of other models call eeg_id, label_id, fold, seizure_vote and so on",
    )  # fmt: skip

    verb = add(verbs.tta)
    verb.add_argument("run", type=Path, help="a trained run")
    verb.add_argument("--store", type=Path, required=True, help="that it was trained on")

    verb = add(verbs.html)
    verb.add_argument("path", type=Path, help="a folder, with all below it, or one notebook")

    for function in (verbs.sweep, verbs.sweep_report):
        verb = add(function)
        verb.add_argument("file", help="a sweep file, or a name in sweeps/")
        verb.add_argument("--reduced", action="store_true", help="at the file's reduced size")
        verb.add_argument("--out", type=Path, default=Path("outputs/sweeps"), help="of all sweeps")
        verb.add_argument(
            "--storage", default=os.environ.get("HBAC_STORAGE", ""), metavar="URL",
            help="a database shared by several machines, postgresql+psycopg://user@host/name; "
            "better in the variable HBAC_STORAGE; a file in the sweep's folder",
        )  # fmt: skip
        if function is verbs.sweep:
            verb.add_argument("--data", **folder)
            verb.add_argument(
                "--store", type=Path, default=Path("outputs/stores/competition"),
                help="packed if it is not there",
            )  # fmt: skip
            verb.add_argument("--workers", type=int, help="trials at once; as the file says")
            verb.add_argument(
                "--dask", default="", metavar="ADDRESS",
                help="a Dask scheduler, tcp://HOST:PORT, whose workers do the trials",
            )  # fmt: skip
            verb.add_argument(
                "--kaggle", action="store_true",
                help="each trial as a kernel on Kaggle, which needs neither --data nor --store",
            )  # fmt: skip
            verb.add_argument(
                "--every", type=float, default=60, help="seconds between questions to Kaggle"
            )
            verb.add_argument("--retry-failed", action="store_true", help="also what has failed")

    verb = add(verbs.scores)
    verb.add_argument("run", type=Path, help="a trained run")

    verb = add(verbs.score)
    verb.add_argument("submission", type=Path)
    verb.add_argument("solution", type=Path, help="eeg_id and six columns of votes")
    verb.add_argument("--run", type=Path, help="whose training prior to score beside it")
    verb.add_argument("--truth", type=Path, help="a synthetic competition's truth.parquet")

    for function in (verbs.stage, verbs.push, verbs.status, verbs.logs, verbs.output, verbs.submit):
        verb = add(function)
        verb.add_argument("name", nargs="?", default="inference", help="inference, training, eda")
        verb.add_argument("--build", type=Path, default=Path("build"), help="folder of kernels")
        _add_patience(verb)
        if function in (verbs.stage, verbs.push):
            verb.add_argument(
                "--set", action="append", default=[], metavar="NAME=VALUE",
                help="a parameter of the notebook, such as folds=0,1; may be repeated",
            )  # fmt: skip
            verb.add_argument("--blend", default="", help="a blend.json to go along (inference)")
        else:
            verb.add_argument("--minutes", type=float, default=780, help="wait so long at most")
            verb.add_argument("--every", type=float, default=30, help="seconds between questions")
        if function is verbs.output:
            verb.add_argument("--out", type=Path, help="folder for the files; build/NAME/vVERSION")

    verb = add(verbs.data)
    verb.add_argument("--out", type=Path, required=True, help="folder for the files")
    _add_patience(verb)
    return parser


def _add_patience(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--patience", type=float, default=60, help="seconds to wait for an answer of Kaggle's"
    )


if __name__ == "__main__":
    code = main()
    unheard()
    sys.exit(code)
