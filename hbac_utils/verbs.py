"""What each verb of ``python -m hbac_utils`` does with its options.

A verb imports what it needs when it is called, as TensorFlow takes seconds. Each says at its end
where its results lie.
"""

import sys

from hbac_utils.utils.errors import InputError


def synth(options) -> None:
    """Write a synthetic competition with known truth."""
    from hbac_utils.synthetic.render import synthesize

    competition = synthesize(
        options.out, eegs=options.eegs, patients=options.patients, seed=options.seed,
        evidence=options.clarity, balanced=options.even, jobs=options.jobs,
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
        "run": [str(run) for run in options.run],
        "blend": options.blend,
        "out": str(options.out),
    }
    page = run_notebook("inference", parameters, options.out)
    print(f"submission  {options.out / 'submission.csv'}\npage        {page}")


def score(options) -> None:
    """Score a submission as the competition does, beside constant predictions."""
    from hbac_utils.training.evaluation import score_files

    result = score_files(options.submission, options.solution, options.run, options.truth)
    print(result.to_string())


def scores(options) -> None:
    """Show a run's out-of-fold scores beside the constant prior's and uniform's."""
    from hbac_utils.training.runs import run_scores

    print(run_scores(options.run).to_string())


def blend(options) -> None:
    """Blend runs and other models' out-of-fold predictions: compare the ways, save one."""
    from hbac_utils import plots
    from hbac_utils.data.competition import open_competition
    from hbac_utils.ensembling.blend import blend
    from hbac_utils.ensembling.members import collect, read_member

    columns = dict(_pair(text, "columns") for text in options.columns)
    members = collect(
        [read_member(path, columns) for path in options.members],
        open_competition(options.data),
        options.common,
    )
    for note in members.notes:
        print(f"note: {note}", file=sys.stderr)
    made = blend(members)
    print(made.report)
    path = made.save(options.out, options.method)
    shares = made.shares()
    figures = {
        "errors.png": plots.member_map(members.names, made.correlation),
        "shares.png": plots.member_shares(list(shares.index), *shares.to_numpy().T),
    }
    for name, figure in figures.items():
        figure.savefig(options.out / name)
    print(f"blend    {path}\ntable    {options.out / 'table.csv'}")
    print(f"figures  {', '.join(str(options.out / name) for name in figures)}")


def _pair(text: str, option: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--{option} {text!r}: write name=value")
    return key, value


def tta(options) -> None:
    """Measure out of fold what test-time changes of the recordings would gain."""
    from hbac_utils.data.store import open_store
    from hbac_utils.inference.tta import describe_gains, measure

    print(describe_gains(measure(options.run, open_store(options.store))))


def stage(options) -> None:
    """Write a kernel's folder as it would be pushed."""
    draft, folder, _ = _staged(options)
    print(f"staged  {folder} ({draft.size / 1000:.0f} kB, library {draft.bundle.label})")


def push(options) -> None:
    """Push a notebook to Kaggle, where it runs."""
    from hbac_utils.kernels.push import RECORD, push

    draft, folder, kaggle = _staged(options)
    pushed = push(kaggle, draft, folder)
    print(f"pushed  {pushed.kernel} version {pushed.version}\npage    {pushed.url}")
    print(f"record  {folder / RECORD}")


def status(options) -> None:
    """Wait until the pushed version has run."""
    from hbac_utils.kernels.push import wait_until_complete

    kaggle, pushed = _pushed(options)
    wait_until_complete(kaggle, pushed, options.minutes, options.every)
    print(f"complete  {pushed.kernel} version {pushed.version}\npage      {pushed.url}")


def logs(options) -> None:
    """Wait until the pushed version has run, and show what it printed."""
    from hbac_utils.kernels.api import KaggleError
    from hbac_utils.kernels.push import read_log, wait_until_complete

    kaggle, pushed = _pushed(options)
    try:
        wait_until_complete(kaggle, pushed, options.minutes, options.every)
    except KaggleError:
        print(read_log(kaggle, pushed))  # says why
        raise
    print(read_log(kaggle, pushed))


def output(options) -> None:
    """Wait until the pushed version has run, and fetch what it wrote."""
    from hbac_utils.kernels.push import fetch_output, wait_until_complete

    kaggle, pushed = _pushed(options)
    wait_until_complete(kaggle, pushed, options.minutes, options.every)
    folder = options.out or options.build / options.name / f"v{pushed.version}"
    for path in fetch_output(kaggle, pushed, folder):
        print(f"fetched  {path}")


def submit(options) -> None:
    """Submit the pushed version's submission.csv and wait for its score."""
    from hbac_utils.kernels.submit import submit

    kaggle, pushed = _pushed(options)
    folder = options.build / options.name
    print(f"score  {submit(kaggle, pushed, folder, options.minutes, options.every)}")


def data(options) -> None:
    """Download the competition, 26 GB."""
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.download import download

    print(f"competition  {download(Kaggle(options.patience), options.out)}")


def _staged(options):
    """All checks that need no network first, then the user's name."""
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.push import described, draft, parse_settings, write_draft

    _, notebook = described(options.name)
    parameters = parse_settings(notebook, options.set)
    if options.blend:
        from hbac_utils.ensembling.blend import load_blend

        parameters["blend"] = load_blend(options.blend).model_dump_json()
    made = draft(options.name, parameters)
    if made.bundle.changed:
        listed = ", ".join(made.bundle.changed[:5]) + (" …" if len(made.bundle.changed) > 5 else "")
        print(f"warning: not committed, and goes along: {listed}", file=sys.stderr)
    kaggle = Kaggle(options.patience)
    return made, write_draft(made, kaggle.username, kaggle.secrets, options.build), kaggle


def _pushed(options):
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.push import read_record

    pushed = read_record(options.name, options.build)
    return Kaggle(options.patience), pushed


def html(options) -> None:
    """Export executed notebooks as pages that need nothing but a browser."""
    from hbac_utils.notebooks import export_executed

    for page in export_executed(options.path):
        print(f"page  {page}")


def sweep(options) -> None:
    """Run a parameter sweep, or go on with it."""
    from hbac_utils.sweeps.config import load_sweep
    from hbac_utils.sweeps.plan import Plan
    from hbac_utils.sweeps.worker import run

    plan = Plan(load_sweep(options.file, options.reduced))
    job, workers = (_sweep_on_kaggle if options.kaggle else _sweep_here)(plan, options)
    if not run(job, workers, options.dask, options.retry_failed):
        print("complete already")
    sweep_report(options)


def _sweep_here(plan, options):
    from hbac_utils.data.competition import open_competition
    from hbac_utils.sweeps.jobs import prepare

    competition = open_competition(options.data)
    return prepare(plan, competition, options.store, options.out, options.storage), options.workers


def _sweep_on_kaggle(plan, options):
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.sweeps.kaggle import AT_ONCE, prepare

    if options.dask:
        raise InputError("--dask, --kaggle: choose one of the two")
    job = prepare(plan, options.out, options.storage, options.every)
    Kaggle()  # refuses wrong credentials before any trial
    if plan.sweep.pruning:
        print("no trial is pruned: the epochs of a kernel cannot be seen while it runs")
    return job, options.workers or AT_ONCE


def sweep_report(options) -> None:
    """Write a sweep's page and table from its trials."""
    from hbac_utils.sweeps.config import load_sweep
    from hbac_utils.sweeps.plan import Plan
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
