"""Long recordings: spectra, probabilities, events and quality over hours.

Each figure exists in two widths: for a desk, and ``narrow`` for a phone, with fewer hours in a row.
"""

import textwrap
from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from hbac_utils.data.layout import SEGMENT_SECONDS
from hbac_utils.labels import CLASSES, PATTERNS
from hbac_utils.plots import style

HOUR = 3600
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, HOUR, 2 * HOUR, 3 * HOUR)
CHARACTER = 0.066  # inches, of the text on the notes' lane

POWER = colormaps["viridis"].with_extremes(bad=style.MISSING)


def clock(
    seconds: float, start: datetime | None, *, date: bool = False, short: bool = False
) -> str:
    """Format a time of a recording: of the clock, or from its start as ``h:mm:ss``.

    ``date`` puts the day before the time of the clock, ``short`` leaves out the seconds.
    """
    seconds = round(seconds)
    if start is None:
        minutes, second = divmod(seconds, 60)
        text = f"{minutes // 60}:{minutes % 60:02d}"
        return text if short else f"{text}:{second:02d}"
    time = start + timedelta(seconds=seconds)
    day = f"{time.day} {time:%b} " if date else ""
    return day + time.strftime("%H:%M" if short else "%H:%M:%S")


def row_seconds(seconds: float, longest: float) -> float:
    """Length of the equal rows into which a recording is divided, whole hours if there are several.

    Examples
    --------
    >>> [row_seconds(hours * 3600, 6 * 3600) / 3600 for hours in (0.5, 6, 7, 24)]
    [0.5, 6.0, 4.0, 6.0]
    """
    rows = int(np.ceil(seconds / longest))
    return seconds if rows <= 1 else float(np.ceil(seconds / rows / HOUR) * HOUR)


def power_limits(spectra: np.ndarray) -> tuple[float, float]:
    """Range of the colours of power, dB, whole numbers."""
    low, high = style.color_range(spectra)
    return float(np.floor(low)), float(np.ceil(max(high, low + 1)))


def power_colors() -> list[str]:
    """Colours from the lowest to the highest power, for a legend."""
    return [to_hex(POWER(level)) for level in np.linspace(0, 1, 9)]


@style.styled
def overview(
    table: pd.DataFrame, spectra: np.ndarray, frequencies: np.ndarray, events: pd.DataFrame,
    annotations: pd.DataFrame, start: datetime | None, windows: Sequence[float] = (), *,
    narrow: bool = False,
) -> list[Figure]:  # fmt: skip
    """Draw a recording over time, a figure for each row of at most six hours (narrow: three).

    Each has the spectra of both hemispheres, the probabilities stacked from Seizure up to Other,
    and a lane for each pattern's events, each defect of the signal, annotations and windows.

    Parameters
    ----------
    table : DataFrame
        A row per segment: ``onset``, ``duration`` (s), a probability per class (NaN: blank), and
        ``quality`` (what is wrong, or empty).
    spectra : array, shape (n_segments, 2, n_frequencies)
        Left and right hemisphere, dB re 1 µV²/Hz; NaN is grey.
    frequencies : array, shape (n_frequencies,), Hz, equally spaced
    events : DataFrame
        ``onset``, ``duration`` (s), ``pattern``.
    annotations : DataFrame
        ``onset``, ``duration`` (s), ``text``; numbered from 1 in this order.
    start : datetime, optional
        Wall clock of the first sample.
    windows : sequence of float
        Onsets (s) of the windows that are numbered on a lane.
    """
    total = float((table["onset"] + table["duration"]).iloc[-1])
    length = row_seconds(total, (3 if narrow else 6) * HOUR)
    lanes = [*PATTERNS, *filter(None, table["quality"].unique())]
    limits = power_limits(spectra)
    figures = []
    for begin in np.arange(0, total - 1e-6, length):
        figure, panels = _row_of_panels(len(lanes), narrow)
        rows = ((table["onset"] >= begin) & (table["onset"] < begin + length)).to_numpy()
        part = table[rows]
        edges = np.append(part["onset"], part["onset"].iloc[-1] + part["duration"].iloc[-1])
        for side, (axes, name) in enumerate(zip(panels, ("Left", "Right"), strict=False)):
            _draw_power(axes, edges, spectra[rows, side], frequencies, limits)
            axes.set_ylabel(f"{name}\nHz")
        _draw_probabilities(panels[2], edges, part)
        _draw_lanes(panels[3], lanes, events, part)
        _draw_notes(panels[4], annotations, windows, (begin, begin + length))
        for axes in panels:
            axes.set_xlim(begin, begin + length)
            axes.tick_params(labelbottom=False, labelsize=7 if narrow else 8.5, length=2)
            axes.yaxis.label.set_fontsize(7.5 if narrow else 9)
        _draw_clock(panels[-1], begin, begin + length, start, 5 if narrow else 12)
        figures.append(figure)
    return figures


def _row_of_panels(lanes: int, narrow: bool) -> tuple[Figure, list[Axes]]:
    """Make a figure with five panels: two spectra, probabilities, lanes, notes."""
    heights = np.array([0.62, 0.62, 0.85, 0.14 * lanes, 0.46] if narrow else
                       [0.75, 0.75, 1.0, 0.155 * lanes, 0.5])  # fmt: skip
    width, left, right, top, bottom, gap = (
        (3.6, 0.78, 0.22, 0.06, 0.4, 0.06) if narrow else (10, 0.98, 0.32, 0.06, 0.46, 0.07)
    )
    height = heights.sum() + top + bottom + gap * (len(heights) - 1)
    figure = style.StyledFigure(figsize=(width, height))
    ends = height - top - np.cumsum(heights + gap) + gap
    panels = [
        figure.add_axes((left / width, end / height, (width - left - right) / width, h / height))
        for end, h in zip(ends, heights, strict=True)
    ]
    for axes in panels:
        axes.spines[:].set_visible(True)
        axes.spines[:].set_linewidth(0.6)
        axes.spines[:].set_color("#B9BEC5")
    return figure, panels


def _draw_power(
    axes: Axes, edges: np.ndarray, power: np.ndarray, frequencies: np.ndarray, limits: tuple
) -> None:
    half = (frequencies[1] - frequencies[0]) / 2
    shown = (frequencies >= 0.4) & (frequencies <= 20)
    first, last = frequencies[shown][[0, -1]]
    axes.imshow(
        np.ma.masked_invalid(power[:, shown].T), origin="lower", aspect="auto", cmap=POWER,
        vmin=limits[0], vmax=limits[1], extent=(edges[0], edges[-1], first - half, last + half),
    )  # fmt: skip
    axes.set_ylim(first - half, last + half)
    axes.set_yticks([5, 10, 15])
    axes.grid(visible=False)


def _draw_probabilities(axes: Axes, edges: np.ndarray, table: pd.DataFrame) -> None:
    tops = table[list(CLASSES)].to_numpy().cumsum(axis=1)
    bottom = np.zeros(len(tops))
    for k, name in enumerate(CLASSES):
        # a step patch leaves out NaN, and fills every segment over its whole length; added as an
        # artist, because the search for the axes' limits would take seconds
        axes.add_artist(
            StepPatch(
                tops[:, k], edges, baseline=bottom, fill=True, lw=0, gid=name,
                color=style.CLASS_COLORS[name],
            )
        )  # fmt: skip
        bottom = tops[:, k]
    axes.set(ylim=(0, 1), ylabel="Probability")
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.grid(visible=False)


def _draw_lanes(axes: Axes, lanes: list[str], events: pd.DataFrame, table: pd.DataFrame) -> None:
    """Draw events as bars of their class's colour, and segments with a defect as grey bars."""
    for place, lane in enumerate(lanes):
        is_pattern = lane in PATTERNS
        rows = events[events["pattern"] == lane] if is_pattern else table[table["quality"] == lane]
        color = style.CLASS_COLORS[lane] if is_pattern else style.MUTED
        # the edge keeps a bar visible that is shorter than a pixel
        axes.broken_barh(
            rows[["onset", "duration"]].to_numpy(), (place - 0.4, 0.8), facecolor=color,
            edgecolor=color, lw=0.8, gid=lane,
        )  # fmt: skip
    axes.set_yticks(range(len(lanes)), lanes)
    axes.set_ylim(len(lanes) - 0.45, -0.55)
    for place in range(1, len(lanes)):
        between = place == len(PATTERNS)  # patterns and defects
        axes.axhline(place - 0.5, color=style.MISSING if between else "#E3E6EA", lw=0.6)
    axes.grid(visible=False, axis="y")


def _draw_notes(
    axes: Axes, annotations: pd.DataFrame, windows: Sequence[float], span: tuple[float, float]
) -> None:
    """Mark and number annotations, with their text where there is room, and windows."""
    inches = axes.get_position().width * axes.figure.get_size_inches()[0]
    second = inches / (span[1] - span[0])
    size = 7 if inches < 5 else 8
    shown = annotations[(annotations["onset"] >= span[0]) & (annotations["onset"] < span[1])]
    places = (shown["onset"].to_numpy() - span[0]) * second  # inches
    rooms = np.diff(places, append=inches) / CHARACTER - 1  # characters up to the next one
    for number, onset, room, text in zip(
        shown.index + 1, shown["onset"], rooms, shown["text"], strict=True
    ):
        axes.plot([onset, onset], [-0.4, 0.4], color=style.INK, lw=0.6, gid="annotation")
        label = str(number)
        words = textwrap.shorten(f"{label} {text}", int(max(room, 1)), placeholder="…")
        if room >= len(label):
            axes.text(
                onset + 0.03 / second, 0, words if len(words) > len(label) + 2 else label,
                size=size, va="center_baseline", parse_math=False, gid="note",
            )  # fmt: skip
    free = -np.inf  # inches, end of the last number
    for number, onset in sorted(enumerate(windows, start=1), key=lambda pair: pair[1]):
        if span[0] <= onset < span[1]:
            middle = onset + SEGMENT_SECONDS / 2
            axes.plot(
                middle, 0.75, "^", color=style.ACCENT, ms=4, clip_on=False, zorder=3, gid="window"
            )
            place, half = (middle - span[0]) * second, CHARACTER * (len(str(number)) + 0.5) / 2
            if place - half >= free:
                axes.text(
                    middle, 1.35, str(number), size=size, ha="center", va="center_baseline",
                    color=style.ACCENT,
                )  # fmt: skip
                free = place + half
    axes.set_yticks([0, 1.1], ["notes", "windows"])
    axes.set_ylim(1.75, -0.6)
    axes.grid(visible=False, axis="y")


def _draw_clock(axes: Axes, begin: float, end: float, start: datetime | None, count: int) -> None:
    """Put ticks at round times on the axis, at most about ``count``."""
    step = next((s for s in TICKS if (end - begin) / s <= count), TICKS[-1])
    shift = 0.0
    if start is not None:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        shift = (start - midnight).total_seconds()
    ticks = np.arange(np.ceil((begin + shift) / step) * step, end + shift + 1e-6, step) - shift
    short = step >= 60
    axes.set_xticks(ticks, [clock(tick, start, short=short) for tick in ticks])
    for other in axes.figure.axes:
        other.set_xticks(ticks)
    axes.tick_params(labelbottom=True)
    unit = "h:min" if short else "h:min:s"
    text = f"Time from the start ({unit})"
    if start is not None:
        day = start + timedelta(seconds=begin)
        text = f"Clock time ({unit}) from {day.day} {day:%B %Y}"
    axes.set_xlabel(text, fontsize=7.5 if count < 10 else 9, labelpad=2)


@style.styled
def overview_legend(spectra: np.ndarray) -> Figure:
    """Draw the legend of `overview`: the colours of power and of the classes."""
    figure = style.StyledFigure(figsize=(10, 0.85))
    style.class_legend(figure)
    low, high = power_limits(spectra)
    axes = figure.add_axes((0.38, 0.52, 0.24, 0.14))
    figure.colorbar(ScalarMappable(Normalize(low, high), POWER), axes, orientation="horizontal")
    axes.set_xlabel("Power (dB re 1 µV²/Hz), grey: no data", fontsize=9, labelpad=1)
    return figure
