"""Detect interactive execution; update figures live; show progress."""

import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from tqdm import tqdm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWING_SHARE = 0.05  # of the run time, which live figures may take at most
Item = TypeVar("Item")


def is_live() -> bool:
    """Return whether a user runs the current cell in a front end, not papermill or nbconvert."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    request = kernel.get_parent("shell") if kernel else {}
    # only front ends with a user allow code to ask for input
    return bool(request.get("content", {}).get("allow_stdin", False))


def progress(
    iterable: Iterable[Item],
    total: int,
    what: str,
    done: int = 0,
    size: Callable[[Item], int] = lambda item: 1,
    show: bool = True,
) -> Iterator[Item]:
    """Iterate, and show on standard error how much is done.

    On a terminal and in a live notebook this is a bar; in a file or a log, one line every 10 %.

    Parameters
    ----------
    iterable : iterable
        Items, each counted after its use.
    total : int
        Sum of the items' sizes, and of what was done before.
    what : str
        Name of the work.
    done : int
        What was done before.
    size : callable
        Size of an item; by default each counts 1.
    show : bool
        Nothing is shown if false.
    """
    total = max(total, 1)
    bar_shown = show and (sys.stderr.isatty() or is_live())
    with tqdm(total=total, desc=what, initial=done, disable=not bar_shown) as bar:
        for item in iterable:
            yield item
            before, done = done, done + size(item)
            bar.update(done - before)
            if show and not bar_shown and 10 * done // total > 10 * before // total:
                percent = 100 * done // total
                print(f"{what}: {percent} % ({done:,} of {total:,})", file=sys.stderr, flush=True)


def prints_errors(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a drawing function, so that it prints an exception instead of raising it.

    For the figures of the inference notebook, none of which may fail a submission.
    """

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Any:
        try:
            return draw(*args, **kwargs)
        except Exception as error:
            print(f"{draw.__name__}: not drawn: {type(error).__name__}: {error}")
            return None

    return drawn


class LiveFigure:
    """Redraw the figure ``draw(data)`` in place when new data arrive, in live notebooks only."""

    def __init__(self, draw: Callable[[Any], "Figure"]):
        self._draw, self._display, self._next = draw, None, 0.0

    def __call__(self, data: Any) -> None:
        """Redraw the figure with new data, if it is time."""
        begun = time.monotonic()
        if begun < self._next or not is_live():
            return
        figure = self._draw(data)
        if self._display is None:
            from IPython.display import display

            self._display = display(figure, display_id=True)
        else:
            self._display.update(figure)
        ended = time.monotonic()
        self._next = ended + (ended - begun) / DRAWING_SHARE
