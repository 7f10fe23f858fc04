"""The ``hbac`` command: one function per verb.

Libraries are imported inside the verbs, because TensorFlow takes seconds to load.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hbac_utils import __version__
from hbac_utils.kernels import cli as kaggle
from hbac_utils.utils.commands import (
    Verb,
    argument,
    flag,
    number,
    option,
    parse_pairs,
    parse_paths,
    verbs,
)
from hbac_utils.utils.errors import InputError

app = verbs(help="Classify harmful brain activity from EEG: simulate, train, predict, submit.")

Data = Annotated[str, option("competition folder (default: search /kaggle/input)")]
Jobs = Annotated[int, number("worker processes; -1: one per core", 1, also=-1)]
RecipeName = Annotated[str, option("recipe file, or a name in recipes/")]
StorePath = Annotated[
    Path | None,
    option("store, packed first if it does not exist (default: outputs/stores/, the data's name)"),
]
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


def _default_store(data: str) -> Path:
    return Path("outputs/stores") / (Path(data).absolute().name if data else "competition")


def _default_run(recipe: str) -> Path:
    return Path("outputs/runs") / Path(recipe).stem


def _run_or_shipped(recipe: str) -> str:
    from hbac_utils.recipe import SHIPPED

    own = _default_run(recipe)
    if own.exists():
        return str(own)
    print(f"{own} does not exist: the model in the package predicts (run {SHIPPED})")
    return SHIPPED


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
    out: Annotated[Path, option("folder to write")] = Path("outputs/synthetic"),
    eegs: Annotated[int, number("number of training EEGs", 1)] = 300,
    patients: Annotated[int | None, number("number of training patients", 1)] = None,
    test_eegs: Annotated[
        int | None, number("number of test EEGs (default: a tenth of --eegs)", 1)
    ] = None,
    seed: Annotated[int, number("random seed")] = 0,
    evidence: Annotated[
        float, number("evidence for the classes; 1: realistic, 5: easy", above=True)
    ] = 1.0,
    balanced: Annotated[bool, flag("make classes equally frequent", "--balanced")] = False,
    eeg_only: Annotated[
        bool, flag("write no spectrograms: several times as fast", "--eeg-only")
    ] = False,
    uncut: Annotated[
        bool, flag("longest recordings of hours, as the real ones", "--uncut")
    ] = False,
    edf: Annotated[
        bool, flag("one long recording (EDF+) of one patient, not a competition", "--edf")
    ] = False,
    hours: Annotated[
        float | None, number("length of this recording (default: 6)", above=True)
    ] = None,
    jobs: Jobs = -1,
) -> None:
    """Simulate a competition with known truth, or with --edf one recording of hours."""
    if edf or hours is not None:
        from hbac_utils.synthetic.hours import synthesize_hours

        if patients is not None or test_eegs is not None or balanced or eeg_only or uncut:
            raise InputError(
                "--edf and --hours write a recording: leave out --patients, --test-eegs, "
                "--balanced, --eeg-only, --uncut"
            )
        folder = synthesize_hours(
            out, hours=6 if hours is None else hours, seed=seed, evidence=evidence, jobs=jobs
        )
        print(f"recording  {folder / 'recording.edf'}\ntruth      {folder / 'truth.tsv'}")
        return
    from hbac_utils.synthetic.render import synthesize

    competition = synthesize(
        out, eegs=eegs, patients=patients, test_eegs=test_eegs, seed=seed, evidence=evidence,
        balanced=balanced, eeg_only=eeg_only, uncut=uncut, jobs=jobs,
    )  # fmt: skip
    print(f"competition  {competition.path}\ntruth        {competition.path}_truth")


@app.command(cls=Verb)
def pack(
    out: StorePath = None,
    data: Data = "",
    recipe: RecipeName = "compact",
    limit: Annotated[
        int | None, number("about N EEGs, in whole patients (default: all)", 1)
    ] = None,
    min_votes: Annotated[int, number("leave out windows with fewer votes")] = 0,
    available: Annotated[
        bool, flag("only the windows whose recordings are there", "--available")
    ] = False,
    jobs: Jobs = -1,
    dask: Annotated[str, option("Dask scheduler tcp://HOST:PORT that reads recordings")] = "",
) -> None:
    """Pack a competition folder into a store."""
    from hbac_utils.data.competition import open_competition
    from hbac_utils.data.packing import pack
    from hbac_utils.recipe import load_recipe

    wanted = load_recipe(recipe)
    store = pack(
        open_competition(data), out or _default_store(data), wanted.data, wanted.inputs,
        limit=limit, min_votes=min_votes, available=available, jobs=jobs, dask=dask,
    )  # fmt: skip
    print(f"store  {store.path}")


@app.command(cls=Verb)
def eda(
    out: Annotated[Path, option("folder for the page")] = Path("outputs/eda"), data: Data = ""
) -> None:
    """Explore a competition: run the EDA notebook."""
    from hbac_utils.notebooks import run_notebook

    print(f"page  {run_notebook('eda', {'data': _competition_path(data)}, out)}")


def _competition_path(data: str) -> str:  # checked before a notebook is started
    from hbac_utils.data.competition import open_competition

    return str(open_competition(data).path)


@app.command(cls=Verb)
def train(
    store: StorePath = None,
    run: Annotated[
        Path | None, option("folder for the run (default: outputs/runs/, the recipe's name)")
    ] = None,
    data: Data = "",
    recipe: RecipeName = "compact",
    folds: Annotated[str, option('such as "0,2" (default: all)')] = "",
    max_hours: Annotated[float, number("stop in time, to be continued; 0: no limit")] = 0,
) -> None:
    """Train a recipe, or continue: run the training notebook."""
    from hbac_utils.notebooks import run_notebook
    from hbac_utils.recipe import load_recipe
    from hbac_utils.training.runs import check_training

    run = run or _default_run(recipe)
    check_training(load_recipe(recipe), run, folds, max_hours)
    parameters = {
        "data": _competition_path(data), "store": str(store or _default_store(data)),
        "recipe": recipe, "run": str(run), "folds": folds, "max_hours": max_hours,
    }  # fmt: skip
    page = run_notebook("training", parameters, run)
    scores(run)
    print(f"run     {run}\nscores  {run / 'metrics.json'}\npage    {page}")


@app.command(cls=Verb)
def infer(
    run: Annotated[
        list[str] | None,
        option("trained run; may be repeated (default: the recipe's, else the package's)"),
    ] = None,
    out: Annotated[Path, option("folder for the submission")] = Path("outputs/inference"),
    data: Data = "",
    recipe: RecipeName = "compact",
    blend: Annotated[str, option("blend.json of these runs (default: equal weights)")] = "",
) -> None:
    """Predict a test folder: run the inference notebook."""
    from hbac_utils.notebooks import run_notebook

    parameters = {
        "data": _competition_path(data), "blend": blend, "out": str(out),
        "run": parse_paths(run or [_run_or_shipped(recipe)]),
    }  # fmt: skip
    page = run_notebook("inference", parameters, out)
    print(f"submission  {out / 'submission.csv'}\npage        {page}")


@app.command(cls=Verb)
def read(
    files: Annotated[
        list[str],
        argument("EEG of any length: .edf .bdf .vhdr .set .lay, or a competition .parquet"),
    ],
    run: Annotated[
        list[str] | None,
        option("trained run; may be repeated (default: that of compact, else the package's)"),
    ] = None,
    out: Annotated[Path, option("folder of all recordings")] = Path("outputs/recordings"),
    blend: Annotated[str, option("blend.json of these runs (default: equal weights)")] = "",
    step: Annotated[int, number("seconds from one window to the next", 2)] = 10,
    anonymize: Annotated[
        bool, flag("write no date and no annotations of the file", "--anonymize")
    ] = False,
    keep_identity: Annotated[
        bool, flag("copy the patient's name and id into annotated.edf", "--keep-identity")
    ] = False,
) -> None:
    """Read recordings of hours: a page, events, probabilities and an annotated EDF+ of each."""
    from hbac_utils.ensembling.pooling import open_blend
    from hbac_utils.recording.outputs import describe, read_files

    runs = parse_paths(run or [_run_or_shipped("compact")])
    for reading in read_files(
        parse_paths(files), runs, out, step=step, blend=open_blend(blend), anonymize=anonymize,
        keep_identity=keep_identity,
    ):  # fmt: skip
        print(describe(reading))
        print(f"page  {reading.out / 'report.html'}")


@app.command(cls=Verb)
def scores(run: Annotated[Path, argument("trained run")]) -> None:
    """Show a run's out-of-fold scores beside the constant prior and a few experts."""
    from hbac_utils.training.runs import run_scores, run_worth

    print(run_scores(run).to_string(na_rep=""))
    if worth := run_worth(run):
        print(f"The model is {worth}.")


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
    out: Annotated[Path, option("folder for blend.json")] = Path("outputs/blend"),
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

    columns = parse_pairs(mapping, "mapping")
    found = collect(
        [read_member(path, columns) for path in parse_paths(members)],
        open_competition(data),
        common,
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
    run: Annotated[Path, argument("trained run")] = Path("outputs/runs/compact"),
    store: Annotated[Path, option("store that it was trained on")] = Path(
        "outputs/stores/competition"
    ),
) -> None:
    """Measure the gain from test-time augmentation, out of fold."""
    from hbac_utils.data.store import open_store
    from hbac_utils.training.test_time import describe_gains, measure

    print(describe_gains(measure(run, open_store(store))))


@app.command(cls=Verb)
def html(
    path: Annotated[Path, argument("a notebook, or a folder with all below it")] = Path("outputs"),
) -> None:
    """Export executed notebooks as self-contained HTML pages."""
    from hbac_utils.notebooks import export_executed

    for page in export_executed(path):
        print(f"page  {page}")


@app.command(cls=Verb)
def sweep(
    file: SweepFile,
    data: Data = "",
    store: StorePath = None,
    out: SweepFolder = Path("outputs/sweeps"),
    storage: Storage = "",
    reduced: Reduced = False,
    workers: Annotated[int | None, number("trials at once (default: as the file says)", 1)] = None,
    dask: Annotated[str, option("Dask scheduler tcp://HOST:PORT that runs the trials")] = "",
    kaggle: Annotated[bool, flag("run each trial as a kernel on Kaggle", "--kaggle")] = False,
    poll_interval: Annotated[
        float, number("seconds between two requests to Kaggle", above=True)
    ] = 60,
    retry_failed: Annotated[bool, flag("run failed trials again", "--retry-failed")] = False,
) -> None:
    """Run a parameter sweep, or continue."""
    from hbac_utils.sweeps import launcher, worker
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

        packed = store or _default_store(data)
        job = worker.prepare(plan, open_competition(data), packed, out, storage)
    if not launcher.run_sweep(job, workers, dask, retry_failed):
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
