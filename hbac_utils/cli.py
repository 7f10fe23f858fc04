"""The ``hbac`` command: one function per verb.

Libraries are imported inside the verbs, because TensorFlow takes seconds to load.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hbac_utils import __version__
from hbac_utils.kernels import cli as kaggle
from hbac_utils.utils.commands import Verb, argument, flag, option, parse_pair, verbs
from hbac_utils.utils.errors import InputError

app = verbs(help="Classify harmful brain activity from EEG: simulate, train, predict, submit.")

Data = Annotated[str, option("competition folder (default: search /kaggle/input)")]
Jobs = Annotated[int, option("worker processes; -1: one per core")]
RecipeName = Annotated[str, option("recipe file, or a name in recipes/")]
StorePath = Annotated[Path, option("folder of the store; packed first if it does not exist")]
SweepFile = Annotated[str, argument("sweep file, or a name in sweeps/")]
SweepFolder = Annotated[Path, option("folder of all sweeps")]
Reduced = Annotated[bool, flag("use the reduced size that the file gives", "--reduced")]
Storage = Annotated[
    str,
    option(
        "database shared by several machines: postgresql+psycopg://user@host/name "
        "(default: a file in the sweep's folder)",
        envvar="HBAC_STORAGE",
    ),
]


def main(arguments: list[str] | None = None) -> int:
    """Run one verb, by default that of ``sys.argv``, and return its exit code."""
    try:
        typer.main.get_command(app).main(arguments, prog_name="hbac")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hbac {__version__}")
        raise typer.Exit


@app.callback()
def _application(
    debug: Annotated[bool, flag("show the traceback of an error", "--debug")] = False,
    version: Annotated[
        bool, option("show the version", "--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(cls=Verb)
def synth(
    out: Annotated[Path, option("folder to write")],
    eegs: Annotated[int, option("number of training EEGs")] = 300,
    patients: Annotated[int | None, option("number of training patients")] = None,
    seed: Annotated[int, option("random seed")] = 0,
    evidence: Annotated[float, option("evidence for the classes; 1: realistic, 5: easy")] = 1.0,
    balanced: Annotated[bool, flag("make classes equally frequent", "--balanced")] = False,
    jobs: Jobs = -1,
) -> None:
    """Simulate a competition with known truth."""
    from hbac_utils.synthetic.render import synthesize

    competition = synthesize(
        out, eegs=eegs, patients=patients, seed=seed, evidence=evidence, balanced=balanced,
        jobs=jobs,
    )  # fmt: skip
    print(f"competition  {competition.path}\ntruth        {competition.path}_truth")


@app.command(cls=Verb)
def pack(
    out: Annotated[Path, option("folder of the store")],
    data: Data = "",
    recipe: RecipeName = "compact",
    limit: Annotated[int | None, option("about N EEGs, in whole patients (default: all)")] = None,
    min_votes: Annotated[int, option("leave out windows with fewer votes")] = 0,
    jobs: Jobs = -1,
    dask: Annotated[str, option("Dask scheduler tcp://HOST:PORT that reads recordings")] = "",
) -> None:
    """Pack a competition folder into a store."""
    from hbac_utils.data.competition import open_competition
    from hbac_utils.data.packing import pack
    from hbac_utils.recipe import load_recipe

    settings = load_recipe(recipe).data
    competition = open_competition(data)
    store = pack(competition, out, settings, limit=limit, min_votes=min_votes, jobs=jobs, dask=dask)
    print(f"store  {store.path}")


@app.command(cls=Verb)
def eda(out: Annotated[Path, option("folder for the page")], data: Data = "") -> None:
    """Explore a competition: run the EDA notebook."""
    from hbac_utils.notebooks import run_notebook

    print(f"page  {run_notebook('eda', {'data': _competition_path(data)}, out)}")


def _competition_path(data: str) -> str:  # checked before a notebook is started
    from hbac_utils.data.competition import open_competition

    return str(open_competition(data).path)


@app.command(cls=Verb)
def train(
    store: StorePath,
    run: Annotated[Path, option("folder for the run")],
    data: Data = "",
    recipe: RecipeName = "compact",
    folds: Annotated[str, option('such as "0,2" (default: all)')] = "",
    max_hours: Annotated[float, option("stop in time, to be continued; 0: no limit")] = 0,
) -> None:
    """Train a recipe, or continue: run the training notebook."""
    from hbac_utils.notebooks import run_notebook

    parameters = {
        "data": _competition_path(data), "store": str(store), "recipe": recipe, "run": str(run),
        "folds": folds, "max_hours": max_hours,
    }  # fmt: skip
    page = run_notebook("training", parameters, run)
    scores(run)
    print(f"run     {run}\nscores  {run / 'metrics.json'}\npage    {page}")


@app.command(cls=Verb)
def infer(
    run: Annotated[list[Path], option("trained run; may be repeated")],
    out: Annotated[Path, option("folder for the submission")],
    data: Data = "",
    blend: Annotated[str, option("blend.json of these runs (default: equal weights)")] = "",
) -> None:
    """Predict a test folder: run the inference notebook."""
    from hbac_utils.notebooks import run_notebook

    parameters = {
        "data": _competition_path(data), "run": [str(path) for path in run], "blend": blend,
        "out": str(out),
    }  # fmt: skip
    page = run_notebook("inference", parameters, out)
    print(f"submission  {out / 'submission.csv'}\npage        {page}")


@app.command(cls=Verb)
def scores(run: Annotated[Path, argument("trained run")]) -> None:
    """Show a run's out-of-fold scores beside the constant prior."""
    from hbac_utils.training.runs import run_scores

    print(run_scores(run).to_string())


@app.command(cls=Verb)
def score(
    submission: Annotated[Path, argument("submission.csv")],
    solution: Annotated[Path, argument("csv with eeg_id and six columns of votes")],
    run: Annotated[Path | None, option("run whose training prior is scored as well")] = None,
    truth: Annotated[Path | None, option("truth.parquet of a simulated competition")] = None,
) -> None:
    """Score a submission with the competition's metric."""
    from hbac_utils.training.evaluation import score

    print(score(submission, solution, run, truth).to_string())


@app.command(cls=Verb)
def blend(
    members: Annotated[list[str], argument("runs, or files of out-of-fold predictions")],
    out: Annotated[Path, option("folder for blend.json")],
    data: Data = "",
    method: Annotated[str, option("method to save (default: the simplest sufficient one)")] = "",
    common: Annotated[bool, flag("use only windows that all members have", "--common")] = False,
    mapping: Annotated[
        list[str] | None,
        option(
            "column name in other models' files: eeg_id=id; may be repeated", metavar="OURS=THEIRS"
        ),
    ] = None,
) -> None:
    """Blend runs and other models' out-of-fold predictions."""
    from hbac_utils import plots
    from hbac_utils.data.competition import open_competition
    from hbac_utils.ensembling.blend import blend
    from hbac_utils.ensembling.members import collect, read_member

    columns = dict(parse_pair(text, "mapping") for text in mapping or ())
    found = collect(
        [read_member(path, columns) for path in members], open_competition(data), common
    )
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    made = blend(found)
    print(made.report)
    path = made.save(out, method)
    figures = {
        "errors.png": plots.error_correlation(found.names, made.correlation),
        "shares.png": plots.member_weights(made.shares()),
    }
    for name, figure in figures.items():
        figure.savefig(out / name)
    print(f"blend    {path}\ntable    {out / 'table.csv'}")
    print(f"figures  {', '.join(str(out / name) for name in figures)}")


@app.command(cls=Verb)
def tta(
    run: Annotated[Path, argument("trained run")],
    store: Annotated[Path, option("store that it was trained on")],
) -> None:
    """Measure the gain from test-time augmentation, out of fold."""
    from hbac_utils.data.store import open_store
    from hbac_utils.inference.tta import describe_gains, measure

    print(describe_gains(measure(run, open_store(store))))


@app.command(cls=Verb)
def html(path: Annotated[Path, argument("a notebook, or a folder with all below it")]) -> None:
    """Export executed notebooks as self-contained HTML pages."""
    from hbac_utils.notebooks import export_executed

    for page in export_executed(path):
        print(f"page  {page}")


@app.command(cls=Verb)
def sweep(
    file: SweepFile,
    data: Data = "",
    store: StorePath = Path("outputs/stores/competition"),
    out: SweepFolder = Path("outputs/sweeps"),
    storage: Storage = "",
    reduced: Reduced = False,
    workers: Annotated[int | None, option("trials at once (default: as the file says)")] = None,
    dask: Annotated[str, option("Dask scheduler tcp://HOST:PORT that runs the trials")] = "",
    kaggle: Annotated[bool, flag("run each trial as a kernel on Kaggle", "--kaggle")] = False,
    poll_interval: Annotated[float, option("seconds between two requests to Kaggle")] = 60,
    retry_failed: Annotated[bool, flag("run failed trials again", "--retry-failed")] = False,
) -> None:
    """Run a parameter sweep, or continue."""
    from hbac_utils.sweeps import worker
    from hbac_utils.sweeps.config import SweepPlan, load_sweep

    plan = SweepPlan(load_sweep(file, reduced))
    if kaggle:
        from hbac_utils.kernels.api import Kaggle
        from hbac_utils.sweeps import kaggle as kernels

        if dask:
            raise InputError("--dask, --kaggle: choose one of the two")
        job = kernels.prepare(plan, out, storage, poll_interval)
        Kaggle()  # refuses wrong credentials before any trial
        if plan.sweep.pruning:
            print("no trial is pruned: the epochs of a kernel cannot be seen while it runs")
        workers = workers or kernels.MAX_SESSIONS
    else:
        from hbac_utils.data.competition import open_competition

        job = worker.prepare(plan, open_competition(data), store, out, storage)
    if not worker.run_sweep(job, workers, dask, retry_failed):
        print("complete already")
    sweep_report(file, out, storage, reduced)


@app.command(cls=Verb)
def sweep_report(
    file: SweepFile,
    out: SweepFolder = Path("outputs/sweeps"),
    storage: Storage = "",
    reduced: Reduced = False,
) -> None:
    """Write a sweep's page and table from its trials."""
    from hbac_utils.sweeps.config import SweepPlan, load_sweep
    from hbac_utils.sweeps.report import read_results, write_report

    plan = SweepPlan(load_sweep(file, reduced))
    folder = out / plan.sweep.name
    results = read_results(plan, folder, storage)
    print(results.summary)
    page = write_report(results)
    print(f"table  {folder / 'results.csv'}\npage   {page}")


app.add_typer(kaggle.app)
