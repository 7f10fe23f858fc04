"""Everything that is written about a recording, and what must not be in it."""

from datetime import date, datetime

import edfio
import numpy as np
import pandas as pd
import pytest

from hbac_utils.cli import main
from hbac_utils.labels import CLASSES
from hbac_utils.montage import ELECTRODES
from hbac_utils.recording.events import find_events
from hbac_utils.recording.outputs import find_recordings
from hbac_utils.utils.errors import InputError

IDENTITY = ("Haagse_Harry", "MCH-0234567", "1951", "Dr_Jansen")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Fifty seconds of EEG of a patient with a name, with an annotation, from 23:59 on."""
    rng = np.random.default_rng(2)
    signals = [
        edfio.EdfSignal(
            40 * np.sin(np.arange(50 * 200) / 20 + i) + rng.normal(0, 3, 50 * 200), 200,
            label=f"EEG {name}-Ref", physical_dimension="uV",
        )
        for i, name in enumerate(ELECTRODES)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("night") / "night.edf"
    edfio.Edf(
        signals,
        patient=edfio.Patient(code="MCH-0234567", birthdate=date(1951, 5, 2), name="Haagse_Harry"),
        recording=edfio.Recording(
            startdate=date(2031, 3, 2), investigator_technician_code="Dr_Jansen"
        ),
        starttime=datetime(2031, 3, 2, 23, 59).time(),
        annotations=[edfio.EdfAnnotation(30, None, "Harry turns")],
    ).write(path)
    return path


def read(night, run, out, *options) -> None:
    assert main(["read", str(night), "--run", str(run), "--out", str(out), *options]) == 0


def texts(folder) -> str:
    files = ("report.html", "events.tsv", "annotated.edf", "probabilities.parquet")
    return " ".join((folder / "night" / name).read_bytes().decode("latin-1") for name in files)


def test_the_command_writes_page_table_events_and_edf_without_identity(
    night, run, tmp_path, capsys
):
    read(night, run, tmp_path)
    table = pd.read_parquet(tmp_path / "night" / "probabilities.parquet")
    assert len(table) == 5
    assert table[list(CLASSES)].sum(axis=1).tolist() == pytest.approx([1] * 5)
    events = find_events(table)
    annotated = edfio.read_edf(tmp_path / "night" / "annotated.edf")
    found = [note.text for note in annotated.annotations]
    assert len(found) == 1 + len(events)
    assert "Harry turns" in found
    rows = pd.read_csv(tmp_path / "night" / "events.tsv", sep="\t")
    assert len(rows) == max(1, len(events))
    assert set(rows["dateTime"]) == {"2031-03-02 23:59:00"}
    written = texts(tmp_path)
    assert [word for word in IDENTITY if word in written] == []
    assert "2 March 2031" in written
    printed = capsys.readouterr().out
    assert "night.edf: 0.01 hours at 200 Hz, 0.0% could not be read" in printed
    assert str(tmp_path / "night" / "report.html") in printed


def test_anonymized_outputs_have_neither_date_nor_annotations(night, run, tmp_path):
    read(night, run, tmp_path, "--anonymize")
    written = texts(tmp_path)
    unwanted = (*IDENTITY, "2031", "02.03.31", "23.59", "23:59", "Harry")
    assert [word for word in unwanted if word in written] == []


def test_the_identity_is_kept_on_demand(night, run, tmp_path):
    read(night, run, tmp_path, "--keep-identity")
    patient = edfio.read_edf(tmp_path / "night" / "annotated.edf").patient
    assert (patient.name, patient.code) == ("Haagse_Harry", "MCH-0234567")
    page = (tmp_path / "night" / "report.html").read_text()
    assert [word for word in IDENTITY if word in page] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--anonymize", "--keep-identity"], "--anonymize, --keep-identity: choose one"),
        (["--step", "51"], "step is 51; it must be 2 to 50 seconds"),
        (["{copy}"], "night: two files have this name"),
        (["missing.edf"], "missing.edf: no such"),
    ],
)
def test_mistakes_are_one_line(night, run, tmp_path, capsys, options, message):
    copy = tmp_path / "night.edf"
    copy.write_bytes(night.read_bytes())
    options = [option.format(copy=copy) for option in options]
    call = ["read", str(night), *options, "--run", str(run), "--out", str(tmp_path / "out")]
    if options == ["missing.edf"]:
        call.remove(str(night))
    assert main(call) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_recordings_are_found_in_attached_data_sets(tmp_path):
    names = ("clinic/b.edf", "clinic/a.BDF", "datasets/me/eeg/c.vhdr", "clinic/notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_recordings("", tmp_path)]
    assert sorted(found) == ["clinic/a.BDF", "clinic/b.edf", "datasets/me/eeg/c.vhdr"]
    assert find_recordings(["x.parquet"], tmp_path) == ["x.parquet"]
    with pytest.raises(InputError, match="no recording under"):
        find_recordings("", tmp_path / "nothing")
