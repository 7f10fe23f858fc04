"""Exceptions for wrong input, full disks and interruption, each with a one-line message."""

from numbers import Integral


class InputError(ValueError):
    """Invalid input, in one line, which is all that is shown: what is wrong, where, a remedy."""

    exit_code = 2

    def __init__(self, message: str = ""):
        # a quoted name or message of another library may contain line ends
        super().__init__(" ".join(part.strip() for part in str(message).splitlines()))

    def _render_traceback_(self) -> list[str]:
        # IPython shows this in place of the traceback
        return [f"{type(self).__name__}: {self}"]


class DiskError(InputError):
    """The disk is full, read-only or failing; the files already written are intact."""


class KernelDied(InputError):
    """The process that executed a notebook was killed, by hand or for lack of memory."""

    exit_code = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived; handled as Ctrl-C with another exit code."""


def check_counts(**counts: int) -> None:
    """Refuse numbers that are not whole, negative, or larger than a seed may be."""
    for name, value in counts.items():
        if not isinstance(value, Integral) or not 0 <= value < 2**32:
            raise InputError(f"{name} is {value!r}; give a whole number from 0 up")


def one_line(error: BaseException) -> str:
    """Shorten an error's text to one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
