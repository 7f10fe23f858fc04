"""The report of a long recording: one page that works offline, on a phone and on paper."""

import base64
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jinja2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from hbac_utils.data.layout import SEGMENT_SECONDS, WINDOW_SECONDS
from hbac_utils.labels import CLASSES, RELIABLE_VOTES
from hbac_utils.notebooks import TEMPLATE
from hbac_utils.plots import eeg_pages
from hbac_utils.plots import recordings as figures
from hbac_utils.plots.style import CLASS_COLORS
from hbac_utils.recipe import SHIPPED, SHIPPED_RUNS
from hbac_utils.recording import events as summary
from hbac_utils.recording.occlusion import PARTS
from hbac_utils.training.runs import read_metrics, run_worth
from hbac_utils.utils.files import replacing, writing

if TYPE_CHECKING:
    from hbac_utils.inference.predict import Run
    from hbac_utils.recording.sliding import Reading

HOUR = 3600
NO_BREAK = "\xa0"  # space between a number and its unit
PART_NAMES = dict(
    zip(
        PARTS,
        ("left temporal", "right temporal", "left parasagittal", "right parasagittal", "midline"),
        strict=True,
    )
)
DOTS = {False: 120, True: 175}  # per inch of a figure, by narrow: a phone's screen is finer
NO_DITHER = Image.Dither.NONE
COLORS = 128  # of a picture: half the bytes of full colour
CONFIDENCE = (0.8, 0.5)  # limits of the groups of segments by their highest probability


class Picture(NamedTuple):
    """An embedded figure: data URI, size in CSS pixels."""

    uri: str
    width: int
    height: int


def write_page(reading: "Reading", out: str | Path) -> Path:
    """Write ``report.html`` into the folder ``out``; return its path.

    The page loads nothing and has no scripts. Texts of the file are escaped; of its path only the
    file's own name is shown.
    """
    recording, table = reading.recording, reading.table
    start = recording.start
    found = summary.find_events(table)
    burden = summary.hourly_burden(table)
    annotations = recording.annotations.sort_values("onset", kind="stable", ignore_index=True)
    chosen = summary.choose_segments(table)
    onsets = table["onset"].to_numpy()[chosen]
    drawn = (table, reading.spectra, reading.frequencies, found, annotations, start, onsets)
    pages = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE), autoescape=True,
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    end = None if start is None else start + timedelta(seconds=recording.seconds)
    several_days = start is not None and end is not None and start.date() != end.date()
    pages.filters["clock"] = lambda time: figures.clock(time, start, date=several_days)
    pages.filters["elapsed"] = lambda time: figures.clock(time, None)
    pages.filters |= {"length": len, "span": format_span, "percent": format_percent}
    html = pages.get_template("recording.html.j2").render(
        recording=recording,
        start=start and f"{start.day} {start:%B %Y, %H:%M:%S}",
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        models=[_describe_model(run) for run in reading.runs],
        blend="" if reading.blend is None else str(reading.blend),
        reliable=RELIABLE_VOTES,
        step=reading.step,
        classes=CLASSES,
        colors=CLASS_COLORS,
        power_limits=figures.power_limits(reading.spectra),
        power_colors=figures.power_colors(),
        rows=[embed(figure) for figure in figures.overview(*drawn)],
        narrow_rows=[embed(f, narrow=True) for f in figures.overview(*drawn, narrow=True)],
        annotations=annotations,
        patterns=summary.summarize(table),
        peak=summary.peak_seizure_burden(table),
        peak_minutes=summary.SEIZURE_MINUTES,
        name_share=summary.name_share,
        hours=_by_hour(burden, recording.seconds, start),
        total=burden.loc["all"],
        defects=_by_defect(table),
        events=found,
        windows=[_show_window(reading, segment) for segment in chosen],
        shades=eeg_pages.SHADES,
        spread=_spread(table),
        confidence=_by_confidence(table),
    )
    path = Path(out) / "report.html"
    with writing(out):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(html.encode())
    return path


def format_span(seconds: float) -> str:
    r"""Format a duration.

    Examples
    --------
    >>> [format_span(seconds) for seconds in (9.5, 50, 320, 7500)]
    ['9.5\xa0s', '50\xa0s', '5\xa0min\xa020\xa0s', '2\xa0h\xa05\xa0min']
    """
    if seconds < 60:
        text = f"{seconds:.3g} s"
    elif seconds < HOUR - 0.5:
        minutes, rest = divmod(round(seconds), 60)
        text = f"{minutes} min {rest} s" if rest else f"{minutes} min"
    else:
        hours, minutes = divmod(round(seconds / 60), 60)
        text = f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return text.replace(" ", NO_BREAK)


def format_percent(share: float) -> str:
    r"""Format a share; "–" for NaN, and neither 0 nor 100 % unless it is exactly that.

    Examples
    --------
    >>> [format_percent(share) for share in (0, 0.001, 0.456, 0.999, 1, float("nan"))]
    ['0\xa0%', '<1\xa0%', '46\xa0%', '>99\xa0%', '100\xa0%', '–']
    """
    if np.isnan(share):
        return "–"
    if 0 < share < 0.01:
        return f"<1{NO_BREAK}%"
    if 0.99 < share < 1:
        return f">99{NO_BREAK}%"
    return f"{100 * share:.0f}{NO_BREAK}%"


def embed(
    figure: Figure, palette: Sequence[tuple[int, int, int]] = (), *, narrow: bool = False
) -> Picture:
    """Encode a figure as a PNG with the colours of a palette, or the best `COLORS`."""
    full, small = BytesIO(), BytesIO()
    figure.savefig(full, format="png", dpi=DOTS[narrow], pil_kwargs={"compress_level": 1})
    colors = None
    if palette:
        colors = Image.new("P", (1, 1))
        colors.putpalette([level for color in palette for level in color])
    picture = Image.open(full).convert("RGB").quantize(COLORS, palette=colors, dither=NO_DITHER)
    picture.save(small, "png", optimize=True)
    width, height = (round(float(side) * 100) for side in figure.get_size_inches())
    text = base64.b64encode(small.getvalue()).decode()
    return Picture(f"data:image/png;base64,{text}", width, height)


def _describe_model(run: "Run") -> dict:
    """Collect what a run was trained on and how it scored."""
    metrics = read_metrics(run.path)
    shipped = run.path.resolve() == (SHIPPED_RUNS / SHIPPED).resolve()
    return {
        "name": run.path.name,
        "shipped": shipped,
        "simulated": shipped or run.recipe.data.simulated is not None,
        "recipe": run.recipe.name,
        "models": len(run.models),
        "windows": metrics["windows"],
        "reliable_windows": metrics.get("reliable_windows"),
        "score": metrics["scores"]["model"],
        "prior": metrics["scores"]["prior"],
        "experts": metrics.get("experts", {}),
        "calibration": metrics.get("calibration"),
        "worth": run_worth(run.path),
    }


def _by_hour(burden: pd.DataFrame, seconds: float, start: datetime | None) -> list[tuple]:
    """List the hours: their times and their row of `events.hourly_burden`."""
    hours = burden.drop(index="all")
    rows = []
    for hour, shares in hours.iterrows():
        times = HOUR * hour, min(HOUR * (hour + 1), seconds)
        short = seconds >= HOUR  # a recording of a minute needs the seconds
        rows.append(([figures.clock(t, start, short=short) for t in times], shares))
    return rows


def _by_defect(table: pd.DataFrame) -> list[tuple[str, float, bool]]:
    """List the defects: name, share of the segments, whether such segments could be predicted."""
    readable = table[CLASSES[0]].notna()
    defects = table["quality"].where(table["quality"] != "", np.where(readable, "", "unknown"))
    shares = defects[defects != ""].value_counts() / len(table)
    return [(name, share, bool(readable[defects == name].any())) for name, share in shares.items()]


def _by_confidence(table: pd.DataFrame) -> list[float]:
    """Shares of the readable segments whose highest probability is high, medium and low."""
    highest = table[list(CLASSES)].max(axis=1).dropna()
    if highest.empty:
        return []
    high, low = CONFIDENCE
    return [(highest >= high).mean(), highest.between(low, high, inclusive="left").mean(),
            (highest < low).mean()]  # fmt: skip


def _spread(table: pd.DataFrame) -> tuple[float, float] | None:
    """Median and 90th percentile of the spread between models; None for one model."""
    spread = table["spread"].dropna()
    return None if spread.empty else tuple(spread.quantile([0.5, 0.9]))


def _show_window(reading: "Reading", segment: int) -> dict:
    """Collect a window's facts and draw it in both widths."""
    row = reading.table.iloc[segment]
    begin = reading.window_begin(segment)
    eeg = np.asarray(reading.window(segment), np.float32)
    raw = reading.recording.read(begin, begin + WINDOW_SECONDS)
    eeg[np.isnan(raw)] = np.nan  # what was filled in is not shown
    importance = reading.importance(segment)
    shares = row[list(CLASSES)].astype(float)
    start = reading.recording.start
    return {
        "onset": row["onset"],
        "leading": shares.idxmax(),
        "shares": shares,
        "spread": row["spread"],
        "quality": row["quality"],
        "pictures": {
            narrow: embed(
                eeg_pages.explained_page(eeg, importance, begin, start, narrow=narrow),
                eeg_pages.eeg_palette(),
                narrow=narrow,
            )
            for narrow in (False, True)
        },
        "reason": _reason(importance, shares.idxmax(), shares.max()),
    }


def _reason(importance: np.ndarray, leading: str, probability: float) -> str:
    """Say in a sentence what the prediction depends on; see `occlusion.importance`."""
    part, second = np.unravel_index(importance.argmax(), importance.shape)
    largest = importance[part, second]
    if largest <= 0:
        return f"Nothing is shaded: {leading} does not lose probability without any part."
    before, without = (format_percent(probability * np.exp(-x)) for x in (0, largest))
    change = f"has {without} instead of {before}" if without != before else f"keeps its {before}"
    by_part = np.maximum(importance, 0).sum(axis=1)
    main = int(by_part.argmax())
    share = format_percent(by_part[main] / by_part.sum())
    return (
        f"Darkest: {PART_NAMES[PARTS[part]]}, second {second + 1} of {SEGMENT_SECONDS}; without it "
        f"{leading} {change}. The largest share of the importance, {share}, is "
        f"{PART_NAMES[PARTS[main]]}."
    )
