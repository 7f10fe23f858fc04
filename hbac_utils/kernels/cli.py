"""The verbs of the ``hbac`` command that talk to Kaggle."""

import sys
from pathlib import Path
from typing import Annotated

from hbac_utils.utils.commands import Verb, argument, flag, number, option, parse_pairs, verbs
from hbac_utils.utils.errors import InputError

app = verbs()

Name = Annotated[str, argument("kernel: inference, training, eda, or a copy of one")]
Timeout = Annotated[float, number("seconds to wait for one answer from Kaggle", above=True)]
Wait = Annotated[float, number("minutes to wait at most")]
Poll = Annotated[float, number("seconds between two requests for the status", above=True)]
Blend = Annotated[str, option("blend.json to send with the inference kernel")]
Settings = Annotated[
    list[str] | None,
    option("notebook parameter such as folds=0,1; may be repeated", "--set", metavar="NAME=VALUE"),
]


@app.command(cls=Verb)
def stage(
    name: Name = "inference", settings: Settings = None, blend: Blend = "", timeout: Timeout = 60
) -> None:
    """Write a kernel's folder as it would be pushed."""
    kernel, folder, _ = _build(name, settings, blend, timeout)
    print(f"staged  {folder} ({kernel.size / 1000:.0f} kB, library {kernel.bundle.commit})")


@app.command(cls=Verb)
def push(
    name: Name = "inference",
    settings: Settings = None,
    blend: Blend = "",
    force: Annotated[bool, flag("push even if the GPU quota will not suffice", "--force")] = False,
    timeout: Timeout = 60,
) -> None:
    """Push a notebook to Kaggle, where it runs."""
    from hbac_utils.kernels.push import check_quota, push

    kernel, folder, kaggle = _build(name, settings, blend, timeout)
    check_quota(kaggle, kernel, force)
    pushed = push(kaggle, kernel, folder)
    print(f"pushed  {pushed.kernel} version {pushed.version}\npage    {pushed.url}")


@app.command(cls=Verb)
def status(
    name: Name = "inference", minutes: Wait = 780, poll_interval: Poll = 30, timeout: Timeout = 60
) -> None:
    """Wait for the pushed version to complete."""
    kaggle, pushed = _pushed(name, timeout)
    pushed.wait(kaggle, minutes, poll_interval)
    print(f"complete  {pushed.kernel} version {pushed.version}\npage      {pushed.url}")


@app.command(cls=Verb)
def logs(
    name: Name = "inference", minutes: Wait = 780, poll_interval: Poll = 30, timeout: Timeout = 60
) -> None:
    """Wait for the pushed version and show its log."""
    kaggle, pushed = _pushed(name, timeout)
    try:
        pushed.wait(kaggle, minutes, poll_interval)
    except InputError:
        print(kaggle.log(pushed.kernel, pushed.version))  # says why it failed
        raise
    print(kaggle.log(pushed.kernel, pushed.version))


@app.command(cls=Verb)
def output(
    name: Name = "inference",
    out: Annotated[Path | None, option("folder for the files (default: build/NAME/vN)")] = None,
    minutes: Wait = 780,
    poll_interval: Poll = 30,
    timeout: Timeout = 60,
) -> None:
    """Wait for the pushed version and download its output."""
    kaggle, pushed = _pushed(name, timeout)
    pushed.wait(kaggle, minutes, poll_interval)
    folder = out or Path("build", name, f"v{pushed.version}")
    for path in kaggle.download_output(pushed.kernel, pushed.version, folder):
        print(f"fetched  {path}")


@app.command(cls=Verb)
def submit(
    name: Name = "inference", minutes: Wait = 780, poll_interval: Poll = 30, timeout: Timeout = 60
) -> None:
    """Submit the pushed version and wait for its score."""
    from hbac_utils.kernels.push import submit

    kaggle, pushed = _pushed(name, timeout)
    print(f"score  {submit(kaggle, pushed, Path('build', name), minutes, poll_interval)}")


@app.command(cls=Verb)
def wheel_dataset(timeout: Timeout = 60) -> None:
    """Make or update the Kaggle data set with this library's wheel."""
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.datasets import save_wheel

    print(f"saved  {save_wheel(Kaggle(timeout))}\nattach it when the page shows it as complete")


@app.command(cls=Verb)
def data(out: Annotated[Path, option("folder for the files")], timeout: Timeout = 60) -> None:
    """Download the competition, 26 GB."""
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.datasets import download_competition

    download_competition(Kaggle(timeout), out)
    print(f"competition  {out}")


def _build(name: str, settings: list[str] | None, blend: str, timeout: float):
    """Write a kernel's folder; all checks that need no network come first."""
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.build import build_kernel

    parameters: dict[str, object] = {**parse_pairs(settings, "set")}
    if blend:
        from hbac_utils.ensembling.pooling import load_blend

        parameters["blend"] = load_blend(blend).model_dump_json()
    kernel = build_kernel(name, parameters)
    if changed := kernel.bundle.changed:
        listed = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
        print(f"warning: sent, but not committed: {listed}", file=sys.stderr)
    kaggle = Kaggle(timeout)
    return kernel, kernel.write(kaggle.username, kaggle.secrets), kaggle


def _pushed(name: str, timeout: float):
    from hbac_utils.kernels.api import Kaggle
    from hbac_utils.kernels.push import read_record

    pushed = read_record(name)
    return Kaggle(timeout), pushed
