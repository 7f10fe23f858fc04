"""Reading recordings: names, rates, units, gaps, missing electrodes, formats, bad files."""

import pickle
import re
from datetime import date, datetime, time
from fractions import Fraction
from itertools import pairwise

import edfio
import numpy as np
import pandas as pd
import pytest
from edf_files import cut_records, set_field, set_unit, times, truth, write_edf
from scipy.io import savemat

from hbac_utils.montage import ELECTRODES
from hbac_utils.recording.reader import interpolation_weights, open_recording
from hbac_utils.recording.resampling import find_ratio
from hbac_utils.synthetic.forward_model import sensor_positions
from hbac_utils.utils.errors import InputError

NEWER = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
STYLES = {
    "plain": str,
    "reference": "EEG {}-Ref".format,
    "linked ears": lambda name: f"{name.upper()}-LE",
    "newer names": lambda name: NEWER.get(name, name),
    "dots": "{}.".format,
    "mastoid": lambda name: f"EEG {name.upper()}-A1",
    "average": "{}-Ave".format,
    "one electrode": lambda name: f"EEG {name}-Cz" if name != "Cz" else "Status",
}
EDGE = 100  # samples, half a second, in which the signal's extension matters


def compare(recording, seconds=30, tolerance=0.02, columns=slice(None)):
    """Compare a recording with the true signal, edges apart."""
    eeg = recording.read(0, seconds)
    assert eeg.shape == (seconds * 200, 19)
    assert eeg.dtype == np.float32
    error = (eeg - truth(times(seconds, 200)))[EDGE:-EDGE, columns]
    assert np.abs(error).max() < tolerance


# -- names, rates, units ---------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_electrodes_are_found_by_their_names_in_any_order(style, tmp_path):
    labels = [STYLES[style](name) for name in ELECTRODES]
    order = np.random.default_rng(1).permutation(19)
    recording = open_recording(write_edf(tmp_path / "a.edf", labels=labels, order=order))
    reference = ELECTRODES.index("Cz")
    if style == "one electrode":
        assert recording.interpolated == ("Cz",)
        compare(recording, columns=[i for i in range(19) if i != reference])
    else:
        assert recording.interpolated == ()
        assert recording.notes == ()
        compare(recording)


# seconds of a data record, which make the number of samples whole
RATES = {
    100: 1, 128: 1, 199.9: 10, 199.99: 100, 200: 1, 250: 1, 256: 1, 499.9: 10, 500.5: 2,
    512: 0.25, 2048: 1,
}  # fmt: skip


@pytest.mark.parametrize("rate", RATES)
def test_any_rate_is_resampled_without_a_shift(rate, tmp_path):
    seconds = max(30, RATES[rate])
    path = write_edf(tmp_path / "a.edf", seconds, rate, record=RATES[rate])
    recording = open_recording(path)
    assert recording.rate == pytest.approx(rate)
    assert recording.seconds == pytest.approx(seconds)
    last = seconds - 30
    error = recording.read(last, seconds) - truth(last + times(30, 200))
    assert np.abs(error[EDGE:-EDGE]).max() < 0.05
    # the reflection leaves the first sample what it is
    np.testing.assert_allclose(recording.read(0, 0.005)[0], truth(np.zeros(1))[0], atol=0.02)


@pytest.mark.parametrize("rate", ["499.907", "255.9991", "199.97", "200.01", "256", "500.5"])
def test_the_ratio_of_rates_keeps_time_for_a_day(rate):
    exact = 200 / Fraction(rate)
    assert abs(find_ratio(Fraction(rate), 86_400) / exact - 1) * 86_400 < 0.001


@pytest.mark.parametrize(
    ("unit", "factor"),
    [(b"uV", 1), ("µV".encode(), 1), (b"\xb5V", 1), (b"mV", 1e-3), (b"V", 1e-6), (b"nV", 1e3)],
)
def test_units_are_converted(unit, factor, tmp_path):
    path = write_edf(tmp_path / "a.edf", factor=factor)
    set_unit(path, unit)
    recording = open_recording(path)
    assert recording.notes == ()
    compare(recording)


@pytest.mark.parametrize(
    ("unit", "factor", "note"),
    [
        (b"", 1, "no unit in the file, taken for microvolts"),
        (b"", 1e-3, "no unit in the file, taken for millivolts"),
        (b"Bit", 1e-6, "unit 'Bit' unknown, taken for volts"),
        (b"uV", 1e-3, "amplitudes unlikely for the unit in the file"),
    ],
)
def test_an_unknown_unit_is_found_by_the_amplitude_and_a_known_one_is_believed(
    unit, factor, note, tmp_path
):
    path = write_edf(tmp_path / "a.edf", factor=factor)
    set_unit(path, unit)
    recording = open_recording(path)
    assert recording.notes == (note,)
    if unit == b"uV":
        assert np.nanmax(recording.read(0, 30)) < 1
    else:
        compare(recording)


def test_an_offset_of_the_electrodes_leaves_no_ripple(tmp_path):
    """BDF recorders are coupled to direct current: 100 mV on top of the EEG are usual."""
    path = write_edf(tmp_path / "a.bdf", rate=512, offset=100_000)
    eeg = open_recording(path).read(0, 30) - truth(times(30, 200))
    assert np.abs(eeg - 100_000)[EDGE:-EDGE].max() < 0.05


def test_channels_may_have_rates_of_their_own(tmp_path):
    path, values = tmp_path / "a.edf", {rate: truth(times(30, rate)) for rate in (128, 256, 200)}
    signals = [
        edfio.EdfSignal(
            values[rate][:, i],
            rate,
            label=name,
            physical_dimension="uV",
            physical_range=(-200, 200),
        )
        for i, name in enumerate(ELECTRODES)
        for rate in [(128, 256, 256, 200)[i % 4]]
    ]
    edfio.Edf([edfio.EdfSignal(np.arange(30.0), 1, label="SpO2"), *signals]).write(path)
    recording = open_recording(path)
    assert recording.rate == 256
    assert recording.notes == ("electrodes at 128 and 200 and 256 Hz",)
    compare(recording)


def test_of_equal_labels_the_first_is_read_and_unclear_ones_are_estimated(tmp_path):
    labels = [*ELECTRODES[:-1], "EEG O1-Ref"]  # without O2, with a second O1
    path = write_edf(tmp_path / "a.edf", labels=labels, order=[*range(19), 3, 3])
    recording = open_recording(path)
    assert recording.interpolated == ("O1", "O2")
    assert recording.notes == (
        "the first of 3 channels P3",
        "without O1 and EEG O1-Ref, which mean the same",
    )


# -- time ------------------------------------------------------------------------------


def test_date_and_annotations_are_kept_and_the_patient_is_not(tmp_path):
    notes = [edfio.EdfAnnotation(12.5, 2, "Eyes closed"), edfio.EdfAnnotation(3.25, None, "Größe")]
    path = write_edf(
        tmp_path / "a.edf",
        annotations=notes,
        patient=edfio.Patient(code="MCH-0234567", birthdate=date(1951, 5, 2), name="Haagse_Harry"),
        recording=edfio.Recording(startdate=date(2031, 3, 2)),
        starttime=time(22, 15, 7, 250_000),
    )
    recording = open_recording(path)
    assert recording.start == datetime(2031, 3, 2, 22, 15, 7, 250_000)
    expected = [(3.25, 0, "Größe"), (12.5, 2, "Eyes closed")]
    assert list(recording.annotations.itertuples(index=False, name=None)) == expected
    for secret in (b"Harry", b"0234567", b"1951"):
        assert secret in path.read_bytes()
        assert secret not in pickle.dumps(recording)
        assert secret.decode() not in repr(recording)


def test_annotations_of_an_old_recorder_are_decoded(tmp_path):
    path = write_edf(tmp_path / "a.edf", annotations=[edfio.EdfAnnotation(1, None, "ae Auge")])
    path.write_bytes(path.read_bytes().replace(b"ae Auge", "ä Augen".encode("latin-1")))
    assert list(open_recording(path).annotations.text) == ["ä Augen"]


@pytest.mark.parametrize("rate", [200, 256])
def test_a_gap_stays_a_gap(rate, tmp_path):
    path = write_edf(
        tmp_path / "a.edf",
        40,
        rate,
        record=1,
        annotations=[edfio.EdfAnnotation(35.5, None, "late")],
    )
    cut_records(path, 15, 22)
    recording = open_recording(path)
    assert recording.seconds == 40
    assert recording.notes == ("1 gaps, 7.0 s in all",)
    assert list(recording.annotations.onset) == [35.5]
    eeg = recording.read(0, 40)
    is_gap = np.zeros(8000, bool)
    is_gap[15 * 200 : 22 * 200] = True
    np.testing.assert_array_equal(np.isnan(eeg), np.repeat(is_gap[:, None], 19, axis=1))
    error = np.abs(eeg - truth(times(40, 200)))
    for begin, end in ((0, 15), (22, 40)):
        assert error[begin * 200 + EDGE : end * 200 - EDGE].max() < 0.02
        # nothing of the other side of the gap reaches the edge
        assert error[begin * 200 : end * 200].max() < 40


@pytest.mark.parametrize("name", ["a.edf", "a.bdf", "gap.edf"])
def test_reading_in_blocks_gives_the_same_samples(name, tmp_path):
    path = write_edf(tmp_path / name, 300, 256, record=1, annotations=[], labels=ELECTRODES[:17])
    if name == "gap.edf":
        cut_records(path, 100, 131)
    recording = open_recording(path)
    whole = recording.read(-3, 303)
    edges = [-3, -1.5, 0, 0.005, 7.3, 99.995, 100.005, 130.2, 131, 250, 303]
    blocks = np.concatenate([recording.read(*pair) for pair in pairwise(edges)])
    np.testing.assert_allclose(blocks, whole, atol=1e-4)
    outside = (times(306, 200) < 3) | (times(306, 200) >= 303)
    assert np.isnan(whole[outside]).all()


# -- missing electrodes ----------------------------------------------------------------


def test_missing_electrodes_of_a_smooth_field_are_estimated(tmp_path):
    positions = sensor_positions()
    directions = np.array([positions[name] for name in ELECTRODES])
    # a field without detail: three gradients of different time courses
    sources = truth(times(20, 200))[:, :3]
    field = sources @ directions.T
    missing = ("Pz", "F8")
    signals = [
        edfio.EdfSignal(field[:, i], 200, label=name, physical_dimension="uV")
        for i, name in enumerate(ELECTRODES)
        if name not in missing
    ]
    edfio.Edf(signals).write(tmp_path / "a.edf")
    recording = open_recording(tmp_path / "a.edf")
    assert recording.interpolated == missing
    columns = [ELECTRODES.index(name) for name in missing]
    error = (recording.read(0, 20) - field)[:, columns]
    assert error.std() < 0.15 * field[:, columns].std()
    # whatever the reference is, the estimate has the same
    np.testing.assert_allclose(interpolation_weights(missing).sum(axis=0), 1, atol=1e-5)


# -- other formats ---------------------------------------------------------------------


def write_brainvision(path, eeg):
    eeg.astype("<f4").tofile(path.with_suffix(".eeg"))
    channels = "".join(f"Ch{i + 1}={name},,1,µV\n" for i, name in enumerate(ELECTRODES))
    path.write_text(
        "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\nMarkerFile={path.stem}.vmrk\nDataFormat=BINARY\n"
        "DataOrientation=MULTIPLEXED\nNumberOfChannels=19\nSamplingInterval=4000\n"
        f"[Binary Infos]\nBinaryFormat=IEEE_FLOAT_32\n[Channel Infos]\n{channels}",
        encoding="utf-8",
    )
    path.with_suffix(".vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Common Infos]\nCodepage=UTF-8\n"
        f"DataFile={path.stem}.eeg\n[Marker Infos]\n"
        "Mk1=New Segment,,1,1,0,20210304220000000000\nMk2=Comment,spikes,2501,250,0\n",
        encoding="utf-8",
    )


def write_eeglab(path, eeg):
    locations = np.array([(name,) for name in ELECTRODES], dtype=[("labels", object)])
    event = {"type": "spikes", "latency": 2501.0, "duration": 250.0}
    content = {
        "setname": "a", "nbchan": 19, "trials": 1, "pnts": len(eeg), "srate": 250.0, "xmin": 0.0,
        "xmax": (len(eeg) - 1) / 250, "data": eeg.T, "chanlocs": locations, "event": event,
        "icawinv": [], "icasphere": [], "icaweights": [], "ref": "common", "segment": [],
    }  # fmt: skip
    savemat(path, {"EEG": content}, appendmat=False)


def write_persyst(path, eeg):
    np.round(eeg.T * 10).astype("<i2").T.tofile(path.with_suffix(".dat"))
    channels = "".join(f"{name}-Ref={i + 1}\n" for i, name in enumerate(ELECTRODES))
    path.write_text(
        f"[FileInfo]\nFile={path.stem}.dat\nFileType=Interleaved\nSamplingRate=250\n"
        "HeaderLength=0\nCalibration=0.1\nWaveformCount=19\nDataType=0\n"
        f"[ChannelMap]\n{channels}[SampleTimes]\n0=79200.0\n"
        "[Patient]\nFirst=Harry\nLast=Haagse\nSex=\nHand=\nBirthDate=1951/5/2\n"
        "TestDate=03/04/2021\nTestTime=22:00:00\n"
        "[Comments]\n10.0,1.0,0,100,spikes\n"
    )


@pytest.mark.parametrize(
    ("suffix", "write"),
    [(".vhdr", write_brainvision), (".set", write_eeglab), (".lay", write_persyst)],
)
def test_other_formats_are_read(suffix, write, tmp_path):
    path = tmp_path / f"a{suffix}"
    write(path, truth(times(30, 250)))
    recording = open_recording(path)
    assert recording.rate == 250
    assert recording.interpolated == recording.notes == ()
    compare(recording, tolerance=0.2)
    spikes = recording.annotations[recording.annotations.text.str.endswith("spikes")]
    assert spikes[["onset", "duration"]].to_numpy().tolist() == [[10, 1]]
    if suffix != ".set":
        assert recording.start == datetime(2021, 3, 4, 22)
    assert b"Harry" not in pickle.dumps(recording)


def test_a_gap_of_a_persyst_recording_stays_a_gap(tmp_path, capfd):
    write_persyst(tmp_path / "a.lay", truth(np.r_[times(20, 250), 30 + times(20, 250)]))
    text = (tmp_path / "a.lay").read_text()
    # before and after midnight
    text = text.replace("0=79200.0\n", "0=86390\n2500=0.01\n5000=20.0\n7500=30\n")
    (tmp_path / "a.lay").write_text(text)
    recording = open_recording(tmp_path / "a.lay")
    assert recording.seconds == pytest.approx(50, abs=0.02)
    assert recording.notes == ("1 gaps, 10.0 s in all",)
    eeg = recording.read(0, 50)
    assert np.isnan(eeg[4010:5990]).all()
    expected = truth(times(50, 200))
    assert np.abs(eeg - expected)[EDGE : 4000 - EDGE].max() < 0.2
    assert "1951" not in "".join(capfd.readouterr())


def test_the_competitions_files_are_read_by_row_groups(tmp_path):
    eeg = truth(times(30, 200)).astype(np.float32)
    eeg[1000:1100, 3] = np.nan
    table = pd.DataFrame(eeg, columns=list(ELECTRODES)).assign(EKG=0.0)
    table.to_parquet(tmp_path / "1.parquet", row_group_size=1234)
    recording = open_recording(tmp_path / "1.parquet")
    np.testing.assert_array_equal(recording.read(0, 30), eeg)
    np.testing.assert_array_equal(recording.read(4.5, 7), eeg[900:1400])
    assert recording.notes == ()


# -- damaged files ---------------------------------------------------------------------


def test_a_truncated_file_is_read_as_far_as_it_goes(tmp_path):
    path = write_edf(tmp_path / "a.edf", 60, record=1)
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) // 2])
    recording = open_recording(path)
    assert recording.notes == ("truncated: 29 s of 60 s are there",)
    assert recording.seconds == 29
    compare(recording, 29)


def test_a_file_that_its_recorder_did_not_close_is_read(tmp_path):
    path = write_edf(tmp_path / "a.edf", record=1)
    set_field(path, 236, b"-1", 8)
    recording = open_recording(path)
    assert recording.notes == ("not closed by the recorder: 30 s are there",)
    compare(recording)


BANANA = ["Fp1-F7", "F7-T3", "T3-T5", "T5-O1", "Fp2-F8", "F8-T4", "T4-T6", "T6-O2", "Fp1-F3",
          "F3-C3", "C3-P3", "P3-O1", "Fp2-F4", "F4-C4", "C4-P4", "P4-O2"]  # fmt: skip


def damage_overlap(path):
    write_edf(path, record=1, annotations=[])
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"+12\x14\x14", b"+11\x14\x14"))
    set_field(path, 192, b"EDF+D", 44)


def damage_onsets(path):
    write_edf(path, record=1, annotations=[])
    path.write_bytes(path.read_bytes().replace(b"+12\x14\x14", b"\0\0\0\0\0"))
    set_field(path, 192, b"EDF+D", 44)


def damage_clock(path):
    write_edf(path, record=1, annotations=[edfio.EdfAnnotation(1, None, "makes room")])
    path.write_bytes(path.read_bytes().replace(b"+29\x14\x14\0\0\0\0\0", b"+9999999\x14\x14"))
    set_field(path, 192, b"EDF+D", 44)


def discontinuous_without_onsets(path):
    set_field(write_edf(path, record=1), 192, b"EDF+D", 44)


def cut(path, length):
    write_edf(path)
    path.write_bytes(path.read_bytes()[:length])


def overwrite(path, begin, value):
    write_edf(path)
    set_field(path, begin, value, 8)


def constant(path):
    zeros = np.zeros(6000)
    edfio.Edf([edfio.EdfSignal(zeros, 200, label=name) for name in ELECTRODES]).write(path)


BAD = {
    "empty": (lambda path: path.touch(), "the file is empty"),
    "text": (lambda path: path.write_text("hello " * 100), "not an EDF or BDF file, it begins"),
    "cut in the header": (lambda path: cut(path, 200), "cut off within the header"),
    "cut in a signal's header": (lambda path: cut(path, 900), "cut off within the header"),
    "header only": (lambda path: cut(path, 256 * 20), "only the header, no data"),
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "a folder"),
    "no number of signals": (
        lambda path: set_field(write_edf(path), 252, b"abc", 4),
        "header field 'number of signals' is 'abc', not a number",
    ),
    "no length of records": (
        lambda path: overwrite(path, 244, b"one"),
        "header field 'duration of a data record' is 'one', not a number",
    ),
    "records without a length": (lambda path: overwrite(path, 244, b"0"), "data records of 0 s"),
    "no digital range": (
        lambda path: overwrite(path, 256 + 19 * (16 + 80 + 8 + 8 + 8), b"ten"),
        "header field 'digital minimum' of signal 1 is 'ten', not a number",
    ),
    "empty range": (
        lambda path: overwrite(path, 256 + 19 * (16 + 80 + 8 + 8 + 8), b"32767"),
        "signal Fp1 has no range in the header",
    ),
    "no samples": (
        lambda path: overwrite(path, 256 + 19 * (256 - 32 - 8), b"0"),
        "'samples per record' of signal 1 is 0",
    ),
    "other channels": (
        lambda path: write_edf(path, labels=["SpO2", "Resp", "Pulse"]),
        "no EEG channel named as in the 10–20 system; it has SpO2, Resp, Pulse",
    ),
    "nine electrodes": (
        lambda path: write_edf(path, labels=ELECTRODES[:9]),
        "9 of the 19 electrodes (Fp1, F3, C3, P3, F7, T3, T5, O1, Fz), at least 10 are needed",
    ),
    "bipolar": (lambda path: write_edf(path, labels=BANANA), "a bipolar montage (it has Fp1-F7"),
    "all zero": (constant, "no signal, all electrodes are constant"),
    "short": (lambda path: write_edf(path, 9), "9 s long, at least 10 s are needed"),
    "slow": (lambda path: write_edf(path, rate=32), "32 samples a second, at least 40 are needed"),
    "overlap": (
        damage_overlap,
        "data record 13 begins at 11 s, before the record before it ends (12 s)",
    ),
    "onsets": (damage_onsets, "EDF+D, but 1 of 30 data records have no onset"),
    "no onsets": (discontinuous_without_onsets, "EDF+D, but 30 of 30 data records have no onset"),
    "clock": (damage_clock, "116 days long, so its times are damaged"),
    "many signals": (
        lambda path: set_field(write_edf(path), 252, b"9e9", 4),
        "cut off within the header",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_one_line(kind, tmp_path):
    damage, message = BAD[kind]
    path = tmp_path / "a.edf"
    damage(path)
    with pytest.raises(InputError, match=re.escape(message)) as refused:
        open_recording(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.doc", b"x", "unknown extension '.doc'; use one of .edf, .bdf"),
        ("a.vhdr", b"x", "MNE cannot read it"),
        ("a.set", b"x", "MNE cannot read it"),
        ("a.lay", b"x", "MNE cannot read it"),
        ("a.parquet", b"x", "not a readable parquet file"),
    ],
)
def test_bad_files_of_other_formats_are_refused_in_one_line(name, content, message, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(f"{path}: {message}")):
        open_recording(path)
