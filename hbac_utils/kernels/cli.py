"""The verbs of the ``hbac`` command that talk to Kaggle."""

import sys
from pathlib import Path
from typing import Annotated

from hbac_utils.utils.commands import Verb, argument, option, verbs

app = verbs()

Name = Annotated[str, argument("kernel: inference, training, eda, or a copy of one")]
Build = Annotated[Path, option("folder of built kernels")]
Timeout = Annotated[float, option("seconds to wait for one answer from Kaggle")]
Minutes = Annotated[float, option("minutes to wait at most")]
PollInterval = Annotated[float, option("seconds between two requests for the status")]
Blend = Annotated[str, option("blend.json to send with the inference kernel")]
Settings = Annotated[
    list[str] | None,
    option("notebook parameter such as folds=0,1; may be repeated", "--set", metavar="NAME=VALUE"),
]

BUILD = Path("build")


@app.command(cls=Verb)
def stage(
    name: Name = "inference",
    settings: Settings = None,
    blend: Blend = "",
    build: Build = BUILD,
    timeout: Timeout = 60,
) -> None:
    """Write a kernel's folder as it would be pushed."""
    kernel, folder, _ = _build(name, settings, blend, build, timeout)
    print(f"staged  {folder} ({kernel.size / 1000:.0f} kB, library {kernel.bundle.label})")


@app.command(cls=Verb)
def push(
    name: Name = "inference",
    settings: Settings = None,
    blend: Blend = "",
    build: Build = BUILD,
    timeout: Timeout = 60,
) -> None:
    """Push a notebook to Kaggle, where it runs."""
    from hbac_utils.kernels.push import RECORD_FILE, push

    kernel, folder, kaggle = _build(name, settings, blend, build, timeout)
    pushed = push(kaggle, kernel, folder)
    print(f"pushed  {pushed.kernel} version {pushed.version}\npage    {pushed.url}")
    print(f"record  {folder / RECORD_FILE}")


@app.command(cls=Verb)
def status(
    name: Name = "inference",
    minutes: Minutes = 780,
    poll_interval: PollInterval = 30,
    build: Build = BUILD,
    timeout: Timeout = 60,
) -> None:
    """Wait for the pushed version to complete."""
    from hbac_utils.kernels.push import wait_until_complete

    kaggle, pushed = _pushed(name, build, timeout)
    wait_until_complete(kaggle, pushed, minutes, poll_interval)
    print(f"complete  {pushed.kernel} version {pushed.version}\npage      {pushed.url}")


@app.command(cls=Verb)
def logs(
    name: Name = "inference",
    minutes: Minutes = 780,
    poll_interval: PollInterval = 30,
    build: Build = BUILD,
    timeout: Timeout = 60,
) -> None:
    """Wait for the pushed version and show its log."""
    from hbac_utils.kernels.api import KaggleError
    from hbac_utils.kernels.push import read_log, wait_until_complete

    kaggle, pushed = _pushed(name, build, timeout)
    try:
        wait_until_complete(kaggle, pushed, minutes, poll_interval)
    except KaggleError:
        print(read_log(kaggle, pushed))  # says why it failed
        raise
    print(read_log(kaggle, pushed))


@app.command(cls=Verb)
def output(
    name: Name = "inference",
    out: Annotated[Path | None, option("folder for the files (default: BUILD/NAME/vN)")] = None,
    minutes: Minutes = 780,
    poll_interval: PollInterval = 30,
    build: Build = BUILD,
    timeout: Timeout = 60,
) -> None:
    """Wait for the pushed version and download its output."""
    from hbac_utils.kernels.push import wait_until_complete

    kaggle, pushed = _pushed(name, build, timeout)
    wait_until_complete(kaggle, pushed, minutes, poll_interval)
    folder = out or build / name / f"v{pushed.version}"
    for path in kaggle.download_output(pushed.kernel, pushed.version, folder):
        print(f"fetched  {path}")


@app.command(cls=Verb)
def submit(
    name: Name = "inference",
    minutes: Minutes = 780,
    poll_interval: PollInterval = 30,
    build: Build = BUILD,
    timeout: Timeout = 60,
) -> None:
    """Submit the pushed version and wait for its score."""
    from hbac_utils.kernels.submit import submit

    kaggle, pushed = _pushed(name, build, timeout)
    print(f"score  {submit(kaggle, pushed, build / name, minutes, poll_interval)}")


@app.command(cls=Verb)
def data(out: Annotated[Path, option("folder for the files")], timeout: Timeout = 60) -> None:
    """Download the competition, 26 GB."""
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.download import download

    print(f"competition  {download(Kaggle(timeout), out)}")


def _build(name: str, settings: list[str] | None, blend: str, build: Path, timeout: float):
    """Write a kernel's folder; all checks that need no network come first."""
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.build import build_kernel, load_source, parse_settings

    _, notebook = load_source(name)
    parameters = parse_settings(notebook, settings or [])
    if blend:
        from hbac_utils.ensembling.blend_file import load_blend

        parameters["blend"] = load_blend(blend).model_dump_json()
    kernel = build_kernel(name, parameters)
    if changed := kernel.bundle.changed:
        listed = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
        print(f"warning: sent, but not committed: {listed}", file=sys.stderr)
    kaggle = Kaggle(timeout)
    return kernel, kernel.write(kaggle.username, kaggle.secrets, build), kaggle


def _pushed(name: str, build: Path, timeout: float):
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.push import read_record

    pushed = read_record(name, build)
    return Kaggle(timeout), pushed
