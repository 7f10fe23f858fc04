"""Recordings written with events: read back by edfio and MNE."""

from datetime import date, datetime, time
from decimal import Decimal

import edfio
import mne
import numpy as np
import pandas as pd
import pytest
from edf_files import cut_records, set_field, set_unit, times, truth, write_edf

from hbac_utils.montage import ELECTRODES
from hbac_utils.recording.edf import parse_annotations
from hbac_utils.recording.export import pack_annotations, write_annotated
from hbac_utils.recording.reader import open_recording
from hbac_utils.utils.errors import InputError

EVENTS = pd.DataFrame(
    {
        "onset": [10.0, 20.0],
        "duration": [10.0, 5.5],
        "pattern": ["Seizure", "LPD"],
        "confidence": [0.876, 0.5],
    }
)
TEXTS = [(10, 10, "hbac: Seizure 0.88"), (20, 5.5, "hbac: LPD 0.50")]
OWN = [(3.25, None, "Größe"), (12.5, 2, "Eyes closed")]
SECRETS = (b"Harry", b"0234567", b"1951", b"Dr_House")
IDENTITY = {
    "patient": edfio.Patient(code="0234567", birthdate=date(1951, 5, 2), name="Haagse_Harry"),
    "recording": edfio.Recording(
        startdate=date(2031, 3, 2), investigator_technician_code="Dr_House"
    ),
    "starttime": time(22, 15, 7),
}
KINDS = {".edf": edfio.read_edf, ".bdf": edfio.read_bdf}


@pytest.fixture(params=KINDS)
def path(request, tmp_path):
    """A recording with a patient, two annotations and signals of two rates."""
    path = tmp_path / f"a{request.param}"
    write_edf(path, 30, 256, record=1, annotations=map(edfio.EdfAnnotation._make, OWN), **IDENTITY)
    file = KINDS[request.param](path)
    pulse = np.arange(120.0)
    signal = edfio.BdfSignal if path.suffix == ".bdf" else edfio.EdfSignal
    file.append_signals(signal(pulse, 4, label="Pulse", physical_range=(0, 200)))
    file.write(path)
    return path


def annotations(file):
    return [tuple(entry) for entry in file.annotations]


def test_signals_and_annotations_are_kept_and_events_added(path):
    out = write_annotated(path, EVENTS, path.with_name("out.edf"))
    assert out.suffix == path.suffix  # BDF stays BDF
    before, after = KINDS[path.suffix](path), KINDS[path.suffix](out)
    assert after.reserved == f"{path.suffix[1:].upper()}+C"
    assert after.labels == (*ELECTRODES, "Pulse")
    for old, new in zip(before.signals, after.signals, strict=True):
        np.testing.assert_array_equal(new.digital, old.digital)
        assert new.physical_range == old.physical_range
        assert new.sampling_frequency == old.sampling_frequency
    assert annotations(after) == sorted(OWN + TEXTS, key=lambda entry: entry[0])
    assert after.startdatetime == datetime(2031, 3, 2, 22, 15, 7)
    assert after.is_continuous
    np.testing.assert_array_equal(open_recording(out).read(0, 30), open_recording(path).read(0, 30))


def test_mne_reads_what_is_written(path):
    out = write_annotated(path, EVENTS, path.with_name("out.edf"))
    old, new = (mne.io.read_raw(file, verbose="error") for file in (path, out))
    np.testing.assert_allclose(new.get_data(), old.get_data(), atol=1e-12)
    assert new.ch_names == old.ch_names
    assert new.info["meas_date"] == old.info["meas_date"]
    found = list(zip(new.annotations.onset, new.annotations.description, strict=True))
    own = [(onset, text) for onset, _, text in OWN + TEXTS]
    assert found == sorted(own)


def test_nothing_of_the_patient_is_written_unless_it_is_asked_for(path):
    raw = path.read_bytes()
    assert all(secret in raw for secret in SECRETS)
    plain = write_annotated(path, EVENTS, path.with_name("plain.edf"))
    assert not any(secret in plain.read_bytes() for secret in SECRETS)
    kept = write_annotated(path, EVENTS, path.with_name("kept.edf"), keep_identity=True)
    assert kept.read_bytes()[8:168] == raw[8:168]
    assert KINDS[path.suffix](kept).patient.name == "Haagse_Harry"


def test_an_anonymised_file_has_no_date_and_no_foreign_text(path):
    out = write_annotated(path, EVENTS, path.with_name("out.edf"), anonymize=True)
    raw = out.read_bytes()
    assert raw[8:88].rstrip() == b"X X X X"
    assert raw[88:168].rstrip() == b"Startdate X X X X"
    assert raw[168:184] == b"01.01.8500.00.00"
    assert b"Eyes closed" not in raw
    assert annotations(KINDS[path.suffix](out)) == TEXTS
    assert open_recording(out).start is None
    with pytest.raises(ValueError, match="not both"):
        write_annotated(path, EVENTS, out, anonymize=True, keep_identity=True)


def test_a_plain_edf_becomes_edf_plus_with_its_fraction_of_a_second(tmp_path):
    """Records of 1/64 s: onsets that a decimal number of few digits cannot write."""
    path = write_edf(tmp_path / "a.edf", 20, 256, record=1 / 64)
    set_unit(path, b"\xb5V")
    out = write_annotated(path, EVENTS[:1], tmp_path / "out.edf")
    after = edfio.read_edf(out)
    assert annotations(after) == TEXTS[:1]
    assert after.is_continuous
    assert {signal.physical_dimension for signal in after.signals} == {"uV"}
    np.testing.assert_array_equal(open_recording(out).read(0, 20), open_recording(path).read(0, 20))


def test_gaps_stay_gaps(tmp_path):
    own = [edfio.EdfAnnotation(25.5, None, "late")]
    path = write_edf(tmp_path / "a.edf", 30, record=1, annotations=own)
    cut_records(path, 12, 17)
    out = write_annotated(path, EVENTS, tmp_path / "out.edf")
    before, after = open_recording(path), open_recording(out)
    assert after.notes == before.notes == ("1 gaps, 5.0 s in all",)
    np.testing.assert_array_equal(after.read(0, 30), before.read(0, 30))
    assert list(after.annotations.onset) == [10, 20, 25.5]


def test_a_truncated_file_is_written_with_what_is_there(tmp_path):
    path = write_edf(tmp_path / "a.edf", 60, record=1)
    path.write_bytes(path.read_bytes()[:-5000])
    set_field(path, 236, b"-1", 8)
    out = write_annotated(path, EVENTS, tmp_path / "out.edf")
    assert open_recording(out).notes == ()
    assert edfio.read_edf(out).duration == open_recording(path).seconds == 59


def test_another_format_is_written_as_it_was_read(tmp_path):
    eeg = truth(times(30.5, 200)).astype(np.float32)
    eeg[:, 3] += 5000
    eeg[1000:1100, 5] = np.nan
    pd.DataFrame(eeg, columns=list(ELECTRODES)).to_parquet(tmp_path / "a.parquet")
    out = write_annotated(tmp_path / "a.parquet", EVENTS, tmp_path / "out.edf")
    after = edfio.read_edf(out)
    assert annotations(after) == TEXTS
    np.testing.assert_allclose(open_recording(out).read(0, 30.5), np.nan_to_num(eeg), atol=0.05)


def test_the_recording_itself_is_not_overwritten(tmp_path):
    path = write_edf(tmp_path / "a.edf")
    with pytest.raises(InputError, match="is the recording itself"):
        write_annotated(path, EVENTS, path)


@pytest.mark.parametrize("width", [2, 3])
def test_many_annotations_at_one_time_find_room(width):
    """A recorder may write all of its annotations into one record."""
    onsets = [Decimal(i) for i in range(100)]
    entries = [(50.0, 0.0, f"note {i} \x14\x00 of the same second") for i in range(300)]
    entries += [(200.0, 0.0, "after the end"), (201.0, 1.0, "ü" * 500)]
    packed = pack_annotations(entries, onsets, 1.0, width)
    assert packed.shape[1] % width == 0
    assert packed.size < 40 * sum(len(text) for *_, text in entries)
    records = [list(parse_annotations(row.tobytes())) for row in packed]
    assert [record[0] for record in records] == [(onset, 0, "") for onset in onsets]
    found = sorted(row for record in records for row in record[1:])
    assert len(found) == len(entries)
    assert found[-1] == (201, 1, "ü" * 100)
    assert {text for *_, text in found[:300]} == {
        f"note {i}    of the same second" for i in range(300)
    }
