"""Who sits in front of a notebook: somebody who can click and watch, or nobody."""

import time
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

DRAWING_SHARE = 0.05  # of the time that may go into drawing what is watched


def is_live() -> bool:
    """Find out whether the cell that runs now was started by somebody in a front end.

    A front end with a person before it offers to ask them something (``allow_stdin`` of the
    request); papermill and nbconvert, which run a notebook through, do not.
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    kernel = getattr(get_ipython(), "kernel", None)
    request = kernel.get_parent("shell") if kernel else {}
    return bool(request.get("content", {}).get("allow_stdin", False))


def shown(draw: Callable[[], Any]) -> Any:
    """Draw what is there to be looked at only: if that fails, it is said and nothing more.

    In a notebook whose results are written already, no figure is worth its failure.
    """
    try:
        return draw()
    except Exception as error:
        print(f"not drawn: {type(error).__name__}: {error}")
        return None


class LiveFigure:
    """A figure that is drawn anew as its data grow, as long as somebody watches.

    Drawing takes at most a twentieth of the time; where nobody watches nothing is drawn.

    Parameters
    ----------
    draw : callable
        From the data to a figure, such as `plots.training_curves`.
    """

    def __init__(self, draw: Callable[[Any], Figure]):
        self._draw, self._display, self._next = draw, None, 0.0

    def __call__(self, data: Any) -> None:
        """Show the data as they are now."""
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
