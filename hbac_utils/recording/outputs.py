"""Read files and write everything about them: page, events, probabilities, annotated EDF+."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from hbac_utils.data.layout import KAGGLE_INPUT
from hbac_utils.environment import walk_attached
from hbac_utils.inference.predict import Blend, Run
from hbac_utils.recording.events import find_events, summarize, szcore_table
from hbac_utils.recording.export import write_annotated
from hbac_utils.recording.page import write_page
from hbac_utils.recording.quality import UNREADABLE
from hbac_utils.recording.reader import FORMATS
from hbac_utils.recording.sliding import STEP, Reading, read_recording
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing, writing


def find_recordings(files: str | Path | Sequence[str] = "", folder: Path = KAGGLE_INPUT) -> list:
    """List recordings: those that are named, otherwise all in a Kaggle notebook's inputs.

    Parquet files count only if they are named. Raises InputError if there is none.
    """
    named = [files] if isinstance(files, str | Path) else list(files)
    if named := [path for path in named if str(path)]:
        return named
    endings = set(FORMATS) - {".parquet"}
    found = [
        path / name
        for path, names in walk_attached(folder)
        for name in sorted(names)
        if Path(name).suffix.lower() in endings
    ]
    if not found:
        raise InputError(f"no recording under {folder}: attach one (.edf, .bdf, …), or name it")
    return found


def read_files(
    paths: Sequence[str | Path], runs: Sequence[Run | str | Path], out: str | Path, *,
    step: int = STEP, blend: Blend | None = None, anonymize: bool = False,
    keep_identity: bool = False,
) -> list[Reading]:  # fmt: skip
    """Read recordings one after the other; write a folder for each: ``out/<name of the file>``.

    Nothing of the patient's identity is written, unless ``keep_identity`` copies it into the EDF+;
    ``anonymize`` leaves out date and time and the file's own annotations as well. Raises InputError
    as `sliding.read_recording` does, if two files have the same name, and for both options.
    """
    if anonymize and keep_identity:
        raise InputError("--anonymize, --keep-identity: choose one of the two")
    names = [Path(path).stem for path in paths]
    if doubled := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{doubled[0]}: two files have this name; read each into its own folder")
    readings = []
    for path, name in zip(paths, names, strict=True):
        reading = read_recording(path, runs, Path(out) / name, step=step, blend=blend)
        if anonymize:
            recording = reading.recording
            none = recording.annotations.head(0)
            recording = replace(recording, start=None, annotations=none)
            reading = replace(reading, recording=recording)
        write_outputs(reading, anonymize=anonymize, keep_identity=keep_identity)
        readings.append(reading)
        runs = reading.runs  # opened
    return readings


def write_outputs(
    reading: Reading, *, anonymize: bool = False, keep_identity: bool = False
) -> None:
    """Write what was read into the folder of the reading.

    ``events.tsv`` (SzCORE), ``probabilities.parquet`` (the reading's table), ``annotated.edf`` or
    ``.bdf`` with the events as annotations (see `export`), and ``report.html`` (see `page`).
    """
    out, recording = reading.out, reading.recording
    events = find_events(reading.table)
    with writing(out):
        rows = szcore_table(events, recording.seconds, recording.start)
        with replacing(out / "events.tsv") as file:
            rows.to_csv(file, sep="\t", index=False, na_rep="n/a")
        with replacing(out / "probabilities.parquet") as file:
            reading.table.to_parquet(file, index=False)
        write_annotated(
            recording.path, events, out / "annotated.edf", anonymize=anonymize,
            keep_identity=keep_identity,
        )  # fmt: skip
        write_page(reading, out)


def describe(reading: Reading) -> str:
    """Summarise a reading in a few lines: length, what could not be read, and the patterns."""
    facts = recording_facts(reading)
    lines = [f"{reading.recording.path.name}: " + ", ".join(facts.iloc[:2])]
    lines += [f"{name}: {text}" for name, text in facts.iloc[2:].items() if text]
    summary = summarize(reading.table)
    shown = pd.DataFrame({
        "share": summary["share"].map("{:.1%}".format), "": summary["term"],
        "events": summary["events"], "longest, s": summary["longest"],
        "at, h": (summary["onset"] / 3600).round(2),
    })  # fmt: skip
    return "\n".join([*lines, shown.to_string(na_rep="")])


def recording_facts(reading: Reading) -> pd.Series:
    """Length, what could not be read, and what was repaired, as texts."""
    recording, table = reading.recording, reading.table
    unread = table.loc[table["quality"].isin(UNREADABLE), "duration"].sum()
    return pd.Series({
        "length": f"{recording.seconds / 3600:.2f} hours at {recording.rate:g} Hz",
        "not read": f"{unread / recording.seconds:.1%} could not be read",
        "interpolated": ", ".join(recording.interpolated),
        "note": "; ".join(recording.notes),
    })  # fmt: skip
