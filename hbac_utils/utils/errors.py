"""The errors that the kit raises for what a user, or the disk, or the operating system, does."""


class InputError(ValueError):
    """Something the user gave is wrong: a file, a column, a value, a parameter.

    The message is one line and says what is wrong, where, and what to do about it.
    The verbs print it without a traceback and end with exit code 2; a notebook shows just the
    line, too.
    """

    exit_code = 2

    def __init__(self, message: str = ""):
        # what is quoted in it, another library's words or a name, may have line ends of its own
        super().__init__(" ".join(part.strip() for part in str(message).splitlines()))

    def _render_traceback_(self) -> list[str]:
        # IPython asks an exception for this, and shows it in place of the traceback
        return [f"{type(self).__name__}: {self}"]


class DiskError(InputError):
    """A disk is full, read-only or broken; what is on it already is still good."""


class KernelDied(InputError):
    """The process that ran a notebook is gone: killed by hand, or for want of memory."""

    exit_code = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM has come: what Ctrl-C does, but for the exit code."""


def one_line(error: BaseException) -> str:
    """Put an error's text on one line of bounded length, for the message of an `InputError`."""
    return " ".join(str(error).split())[:300] or type(error).__name__
