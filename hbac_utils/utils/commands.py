"""Typer commands that end with one line and an exit code instead of a traceback; signals."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from typer.core import TyperCommand

from hbac_utils.utils.errors import InputError, Terminated
from hbac_utils.utils.files import writing


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
                return super().invoke(ctx)
        except InputError as error:
            if ctx.find_root().params.get("debug"):
                raise
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as error:
            print("stopped", file=sys.stderr)
            raise typer.Exit(143 if isinstance(error, Terminated) else 130) from None


def verbs(**settings) -> typer.Typer:
    """Make an application, or a group of verbs for one, with plain help and plain errors."""
    return typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
        no_args_is_help=True, **settings,
    )  # fmt: skip


def option(text: str, *names: str, **settings):
    """Describe an option; ``names`` replace the one that follows from the parameter."""
    return typer.Option(*names, help=text, **settings)


def flag(text: str, name: str):
    """Describe an option without a value."""
    return typer.Option(name, help=text)


def argument(text: str):
    """Describe a positional argument."""
    return typer.Argument(help=text)


def parse_pair(text: str, name: str) -> tuple[str, str]:
    """Split ``key=value``; ``name`` is the option in the message if there is no ``=``."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--{name} {text!r}: write key=value")
    return key, value
