"""Events, burden and windows worth looking at, from the probabilities of a recording's segments.

The tables of segments are those of `sliding.Reading`. A segment counts as its `leading_class`; a
segment that could not be read counts as none.
"""

import numpy as np
import pandas as pd

from hbac_utils.labels import CLASSES, PATTERNS
from hbac_utils.metric import floored_log

UNREAD = ""  # the class of a segment that could not be read

# names of the shares of time in the ACNS terminology (Hirsch et al. 2021)
STEPS = {0.9: "continuous", 0.5: "abundant", 0.1: "frequent", 0.01: "occasional", 0.0: "rare"}
SEIZURE_MINUTES = 5  # length of the windows in which the highest seizure burden is looked for
APART = 60  # seconds between two windows to look at


def leading_class(table: pd.DataFrame) -> np.ndarray:
    """Class of each segment, `UNREAD` where there is none.

    The class with the highest mean log probability over the segment and its neighbours, which count
    half of it: a pattern rarely lasts for ten seconds only, and most single segments are errors.
    """
    logs = floored_log(table[list(CLASSES)].to_numpy())
    known = ~np.isnan(logs).any(axis=1)
    logs[~known] = 0
    padded = np.pad(logs, ((1, 1), (0, 0)))
    sums = padded[:-2] / 2 + padded[1:-1] + padded[2:] / 2
    leading = np.array(CLASSES, dtype=object)[sums.argmax(axis=1)]
    leading[~known] = UNREAD
    return leading


def find_events(table: pd.DataFrame) -> pd.DataFrame:
    """Join neighbouring segments of the same pattern.

    Returns ``onset`` and ``duration`` (s), ``pattern`` (a class other than Other), and
    ``confidence``, the mean probability of the pattern over its segments.
    """
    leading = leading_class(table)
    runs = pd.Series(leading).ne(pd.Series(leading).shift()).cumsum()
    events = []
    for _, rows in table.assign(pattern=leading).groupby(runs.to_numpy()):
        pattern = rows["pattern"].iloc[0]
        if pattern in PATTERNS:
            onset, last = rows["onset"].iloc[0], rows.iloc[-1]
            end = last["onset"] + last["duration"]
            events.append((onset, end - onset, pattern, rows[pattern].mean()))
    return pd.DataFrame(events, columns=["onset", "duration", "pattern", "confidence"])


def hourly_burden(table: pd.DataFrame) -> pd.DataFrame:
    """Share of the readable time of each hour in each class.

    Returns a row per hour (index ``hour``, from 0) and one for the whole recording (index
    ``all``): a column per class, and ``unread``, the share of the time that could not be read.
    A row without readable segments is NaN.
    """
    shares = pd.get_dummies(pd.Series(leading_class(table), index=table.index), dtype=float)
    shares = shares.reindex(columns=[*CLASSES, UNREAD], fill_value=0.0)
    seconds = shares.mul(table["duration"], axis=0)
    hours = seconds.groupby((table["onset"] // 3600).astype(int)).sum()
    hours.loc["all"] = seconds.sum()
    hours.index.name = "hour"
    read = hours[list(CLASSES)].sum(axis=1)
    burden = hours[list(CLASSES)].div(read.where(read > 0), axis=0)
    return burden.assign(unread=hours[UNREAD] / (read + hours[UNREAD]))


def peak_seizure_burden(table: pd.DataFrame) -> tuple[float, float]:
    """Largest share of seizure within any five minutes, and the onset (s) of these minutes.

    The share is of the whole five minutes, or of the recording where it is shorter; segments that
    could not be read count as free of seizures.
    """
    seizure = (leading_class(table) == "Seizure") * table["duration"].to_numpy()
    onsets = table["onset"].to_numpy()
    length = min(60 * SEIZURE_MINUTES, table["duration"].sum())
    sums = np.concatenate([[0], seizure.cumsum()])
    ends = np.searchsorted(onsets, onsets + length - 1e-6)
    shares = (sums[ends] - sums[:-1]) / length
    best = int(shares.argmax())
    return float(min(1, shares[best])), float(onsets[best])


def name_share(share: float) -> str:
    """Name a share of time as the ACNS terminology does; "none" for 0.

    Examples
    --------
    >>> [name_share(share) for share in (0, 0.005, 0.1, 0.95)]
    ['none', 'rare', 'frequent', 'continuous']
    """
    return next(name for step, name in STEPS.items() if share >= step) if share > 0 else "none"


def summarize(table: pd.DataFrame) -> pd.DataFrame:
    """Summarise a recording by pattern, in the order of the classes without Other.

    Columns: ``share`` of the readable time, its ``term`` in the ACNS terminology, the number of
    ``events``, and duration and onset (s) of the longest one (NaN without events).
    """
    events, burden = find_events(table), hourly_burden(table).loc["all"]
    longest = events.sort_values("duration", ascending=False).drop_duplicates("pattern")
    longest = longest.set_index("pattern").reindex(PATTERNS)
    counts = events["pattern"].value_counts().reindex(PATTERNS, fill_value=0)
    share = burden[list(PATTERNS)].astype(float)
    return pd.DataFrame(
        {
            "share": share, "term": share.fillna(0).map(name_share), "events": counts,
            "longest": longest["duration"], "onset": longest["onset"],
        }
    )  # fmt: skip


def choose_segments(table: pd.DataFrame, count: int = 10) -> list[int]:
    """Select segments worth looking at: of each pattern in turn the most probable one.

    A round takes one segment of each pattern that leads somewhere, seizures first; then follow the
    segments in which a pattern is most probable without leading. No two are within a minute.
    Returns positions in the table.
    """
    leading = leading_class(table)
    values, onsets = table[list(PATTERNS)].to_numpy(), table["onset"].to_numpy()
    chosen: list[int] = []

    def take(candidates: np.ndarray) -> bool:
        for row in candidates:
            if all(abs(onsets[row] - onsets[other]) >= APART for other in chosen):
                chosen.append(int(row))
                return True
        return False

    queues = [
        rows[np.argsort(-values[rows, k], kind="stable")]
        for k, name in enumerate(PATTERNS)
        if len(rows := np.flatnonzero(leading == name))
    ]
    while queues and len(chosen) < count:
        queues = [queue for queue in queues if len(chosen) < count and take(queue)]
    rest = np.flatnonzero(leading == CLASSES[-1])
    rest = rest[np.argsort(-values[rest].max(axis=1), kind="stable")]
    while len(chosen) < count and take(rest):
        pass
    return chosen


def szcore_table(events: pd.DataFrame, seconds: float, start) -> pd.DataFrame:
    """Write events as rows of a SzCORE/HED-SCORE ``events.tsv``.

    ``eventType`` is ``sz`` for seizures and ``lpd``, ``gpd``, ``lrda``, ``grda`` for the other
    patterns; without events there is one row ``bckg`` for the whole recording. ``start`` is the
    recording's first moment (datetime) or None. Format: Dan et al. 2024, arXiv:2402.13005.
    """
    names = {name: "sz" if name == "Seizure" else name.lower() for name in PATTERNS}
    rows = events.assign(eventType=events["pattern"].map(names))
    if rows.empty:
        rows = pd.DataFrame({"onset": [0.0], "duration": [seconds], "eventType": ["bckg"]})
        rows["confidence"] = np.nan
    rows = rows[["onset", "duration", "eventType", "confidence"]].reset_index(drop=True)
    return rows.assign(
        confidence=rows["confidence"].round(3),
        channels="n/a",
        dateTime=start.strftime("%Y-%m-%d %H:%M:%S") if start else "n/a",
        recordingDuration=seconds,
    )
