"""Detect interactive execution; update figures live."""

import time
from collections.abc import Callable
from typing import Any

from matplotlib.figure import Figure

DRAWING_SHARE = 0.05  # of the run time, which live figures may take at most


def is_live() -> bool:
    """Return whether a user runs the current cell in a front end, not papermill or nbconvert."""
    from IPython import get_ipython

    kernel = getattr(get_ipython(), "kernel", None)
    request = kernel.get_parent("shell") if kernel else {}
    # only front ends with a user allow code to ask for input
    return bool(request.get("content", {}).get("allow_stdin", False))


def draw_safely(draw: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a drawing function; print an exception instead of raising it."""
    try:
        return draw(*args, **kwargs)
    except Exception as error:
        print(f"not drawn: {type(error).__name__}: {error}")
        return None


class LiveFigure:
    """Redraw the figure ``draw(data)`` in place when new data arrive, in live notebooks only."""

    def __init__(self, draw: Callable[[Any], Figure]):
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
