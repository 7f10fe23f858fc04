"""EEG pages of a recording, shaded where the prediction depends on the EEG.

Each page exists in two widths: for a desk, and ``narrow`` for a phone, with fewer seconds.
"""

from datetime import datetime

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, MIDLINE
from hbac_utils.plots import style
from hbac_utils.plots.recordings import clock
from hbac_utils.plots.windows import (
    LEFT_COLOR,
    RIGHT_COLOR,
    ROWS,
    bipolar_traces,
    draw_traces,
    row_height,
)

SHADES = ("#FFFFFF", "#FDF1D6", "#FADFA6", "#F5C26B", "#EFA02F")  # from no to the most importance
LINES = (LEFT_COLOR, RIGHT_COLOR, style.INK, "#E3E6EA")
LEAST = 0.01  # nats that the darkest shade stands for at least: smaller changes are noise
CUT = 2.5  # rows, height at which a trace is cut off
SEGMENT_BEGIN = (WINDOW_SECONDS - SEGMENT_SECONDS) / 2  # s in the window


def eeg_palette() -> list[tuple[int, int, int]]:
    """Colours of `explained_page`: shades, traces, and their mixtures at the traces' edges."""
    shades, lines = np.array([*map(to_rgb, SHADES)]), np.array([*map(to_rgb, LINES)])
    mixed = [(1 - w) * shades[:, None] + w * lines for w in (0, 1 / 3, 2 / 3, 1)]
    colors = np.unique(np.round(255 * np.concatenate(mixed).reshape(-1, 3)).astype(int), axis=0)
    return [tuple(color) for color in colors.tolist()]


@style.styled
def explained_page(
    eeg: np.ndarray, importance: np.ndarray | None, begin: float, start: datetime | None, *,
    narrow: bool = False,
) -> Figure:  # fmt: skip
    """Draw a window as a clinical page, shaded where the prediction depends on the EEG.

    Parameters
    ----------
    eeg : array, shape (10000, 19), microvolts, 200 Hz, referential; NaN leaves a gap
    importance : array, shape (5, 10), nats, optional
        Decrease of the leading class's log probability without a part: chains LL, RL, LP, RP and
        the midline × seconds of the labelled ten. Negative values are white.
    begin : float
        Second of the recording at which the window begins.
    start : datetime, optional
        Wall clock of the recording's first sample.

    It shows 20 s, ``narrow`` the labelled 10 s only; vertical lines enclose these.
    """
    margin = 0.0 if narrow else 5.0
    first, last = SEGMENT_BEGIN - margin, SEGMENT_BEGIN + SEGMENT_SECONDS + margin
    figure = style.StyledFigure(figsize=(3.6, 4.9) if narrow else (10, 5.3), layout="constrained")
    axes = figure.subplots()
    samples = slice(round(first * SAMPLING_RATE), round(last * SAMPLING_RATE))
    traces = bipolar_traces(np.asarray(eeg[samples], np.float32))
    if importance is None:
        axes.axvspan(SEGMENT_BEGIN, SEGMENT_BEGIN + SEGMENT_SECONDS, facecolor=style.HIGHLIGHT)
    else:
        _shade(axes, importance)
    times = np.arange(samples.start, samples.stop) / SAMPLING_RATE
    sensitivity = float(f"{row_height(traces):.0e}")  # one significant digit
    # a loose electrode would cover the page
    traces[np.abs(traces) > CUT * sensitivity] = np.nan
    draw_traces(axes, times, traces, sensitivity, f" {sensitivity:g}\n µV")
    if not narrow:
        for edge in (SEGMENT_BEGIN, SEGMENT_BEGIN + SEGMENT_SECONDS):
            axes.axvline(edge, color=style.INK, lw=1.1, gid="segment")
    ticks = np.arange(np.ceil(first), last + 0.5)
    step = 5 if narrow else 2
    labels = [clock(begin + t, start) if i % step == 0 else "" for i, t in enumerate(ticks)]
    axes.set_xlim(first, last)
    axes.set_xticks(ticks, labels)
    axes.tick_params(labelsize=7 if narrow else 8.5)
    time = "Time from the start (h:min:s)" if start is None else "Clock time (h:min:s)"
    note = "" if narrow else "; the predicted 10 s lie between the lines"
    axes.set_xlabel(f"{time}{note}; negative is up", fontsize=7.5 if narrow else 9)
    return figure


def _shade(axes: Axes, importance: np.ndarray) -> None:
    """Shade each chain and second by its importance."""
    levels = np.clip(importance / max(LEAST, np.max(importance)), 0, 1)
    for (part, second), level in np.ndenumerate(levels):
        chain = (*CHAINS.values(), MIDLINE)[part]
        top = ROWS[DOUBLE_BANANA.index(chain[0])] - 0.8
        axes.add_patch(
            Rectangle(
                (SEGMENT_BEGIN + second, top), 1, len(chain) + 0.6, edgecolor="none",
                facecolor=SHADES[round(level * (len(SHADES) - 1))], gid="importance", zorder=0,
            )
        )  # fmt: skip
