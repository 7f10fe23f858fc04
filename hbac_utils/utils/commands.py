"""Typer commands that end with one line and an exit code instead of a traceback; signals."""

import glob
import math
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from typer.core import TyperCommand

from hbac_utils.utils.errors import InputError, Terminated
from hbac_utils.utils.files import check_writable, writing

LARGEST = 2**32 - 1  # number on the command line; seeds of numpy and pandas end there


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` once, so that open files and locks are cleaned up."""
    if threading.current_thread() is not threading.main_thread():  # receives no signals
        yield
        return

    def interrupt(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def ignore_signals() -> None:
    """Ignore Ctrl-C and SIGTERM during interpreter shutdown, which keeps the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def print_any_text() -> None:
    """Escape what a terminal cannot show, and slow down bars in files, in children as well."""
    os.environ.setdefault("PYTHONIOENCODING", ":backslashreplace")
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_MININTERVAL", "60")  # seconds; the Kaggle client's
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


class Verb(TyperCommand):
    """A command that turns errors and signals into one line and an exit code.

    Exit codes: 2 for wrong input and disk errors, 1 for Kaggle errors, 130 for Ctrl-C, 143 for
    SIGTERM. The application's option ``--debug`` shows the traceback.
    """

    def invoke(self, ctx):
        """Run the verb."""
        place = ctx.params.get("out") or ctx.params.get("run") or Path.cwd()
        try:
            with terminable(), writing(place):
                _check_text(ctx.params.values())
                if out := ctx.params.get("out"):
                    check_writable(out)
                return super().invoke(ctx)
        except InputError as error:
            if ctx.find_root().params.get("debug"):
                raise
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as error:
            print("stopped", file=sys.stderr)
            raise typer.Exit(143 if isinstance(error, Terminated) else 130) from None


def _check_text(values: Iterable[object]) -> None:
    """Refuse names that no notebook, JSON or YAML file can hold."""
    for value in [Path.cwd(), *values]:
        for text in map(str, value if isinstance(value, list | tuple) else [value]):
            if not text.isascii() and text != text.encode(errors="replace").decode():
                encoding = sys.getfilesystemencoding()
                raise InputError(f"{text!a}: not {encoding}; rename it, or make a link to it")


def verbs(**settings) -> typer.Typer:
    """Make an application, or a group of verbs for one, with plain help and plain errors."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
        no_args_is_help=True, **settings,
    )  # fmt: skip


def option(text: str, *names: str, **settings):
    """Describe an option; ``names`` replace the one that follows from the parameter."""
    return typer.Option(*names, help=text, **settings)


def number(text: str, low: float = 0, above: bool = False, also: float | None = None):
    """Describe an option with a finite number of at least, or above, ``low``, or ``also``."""
    wanted = f"{'above' if above else 'at least'} {low:g}" + (f", or {also}" if also else "")

    def check(value: float | None) -> float | None:
        valid = value is None or (math.isfinite(value) and low <= value <= LARGEST)
        if value != also and (not valid or (above and value == low)):
            raise typer.BadParameter(f"{value} is not a number {wanted}")
        return value

    return typer.Option(help=text, callback=check)


def flag(text: str, name: str):
    """Describe an option without a value."""
    return typer.Option(name, help=text)


def argument(text: str):
    """Describe a positional argument."""
    return typer.Argument(help=text)


def parse_pairs(texts: Iterable[str] | None, name: str) -> dict[str, str]:
    """Parse ``key=value``, or several with blanks between; ``name`` is the option in errors."""
    pairs = {}
    for text in texts or ():
        for pair in re.split(r"\s+(?=\w+=)", text.strip()):
            key, equals, value = pair.partition("=")
            if not equals:
                raise InputError(f"--{name} {text!r}: write key=value")
            pairs[key] = value
    return pairs


def parse_paths(texts: Iterable[str]) -> list[str]:
    """Parse paths, each a name as it is, or several with blanks between and wildcards in them."""
    paths = []
    for text in texts:
        try:
            parts = [text] if Path(text).exists() else shlex.split(text)
        except ValueError:  # a quotation mark that belongs to the name
            parts = [text]
        for part in parts:
            paths += sorted(glob.glob(part)) or [part]  # noqa: PTH207  also absolute ones
    return paths
