"""Hours of simulated EEG: files, truth, and the borders of blocks."""

import numpy as np
import pandas as pd
import pytest
from edfio import read_edf

from hbac_utils.cli import main
from hbac_utils.labels import CLASSES
from hbac_utils.montage import CHANNELS, DOUBLE_BANANA, derivation_matrix
from hbac_utils.synthetic import hours as module
from hbac_utils.synthetic.hours import plan_recording, render_block, synthesize_hours
from hbac_utils.synthetic.timeline import draw_timeline
from hbac_utils.utils.errors import InputError

SECONDS, SEED = 1440, 6
NAMES = {"sz" if name == "Seizure" else name.lower(): name for name in CLASSES[:-1]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("hours") / "patient"
    return synthesize_hours(out, hours=SECONDS / 3600, seed=SEED, evidence=3, progress=False)


@pytest.fixture(scope="module")
def rendered():
    plan = plan_recording(SECONDS, SEED, 3)
    return plan, [render_block(plan, i) for i in range(len(plan.starts))]


@pytest.fixture(scope="module")
def signals(rendered):
    plan, blocks = rendered
    joined = np.concatenate([block.signals for block in blocks], axis=1)
    for start, block in zip(plan.starts[1:], blocks, strict=False):
        joined[:, start * 200 :][:, : block.tail.shape[1]] += block.tail
    return joined


def read_signals(folder) -> np.ndarray:
    return np.stack([signal.data for signal in read_edf(folder / "recording.edf").signals])


def test_the_file_is_edf_plus_without_identity(folder):
    edf = read_edf(folder / "recording.edf")
    assert edf.reserved == "EDF+C"
    assert edf.is_continuous
    assert edf.labels == CHANNELS
    assert edf.duration == SECONDS
    assert {signal.sampling_frequency for signal in edf.signals} == {200}
    assert edf.local_patient_identification == "X X X X"
    assert edf.local_recording_identification == "Startdate 01-JAN-2000 X X X"
    assert edf.annotations == ()  # the truth is not in it


def test_another_reader_reads_the_same(folder):
    mne = pytest.importorskip("mne")
    raw = mne.io.read_raw_edf(folder / "recording.edf", verbose="error")
    assert raw.n_times == SECONDS * 200
    part = raw.get_data(start=123_000, stop=125_000) * 1e6
    np.testing.assert_allclose(part, read_signals(folder)[:, 123_000:125_000], atol=1e-3)


def test_the_file_holds_the_signals_within_its_resolution(folder, signals):
    error = read_signals(folder) - np.clip(signals, -3276.7, 3276.7)
    assert np.abs(error[:19]).max() <= 0.0501  # half of 0.1 µV
    ekg = read_signals(folder)[19] - signals[19]
    assert np.abs(ekg).max() <= 0.501


def test_the_same_seed_gives_the_same_files_with_any_number_of_jobs(folder, tmp_path):
    settings = {"hours": SECONDS / 3600, "evidence": 3, "progress": False}
    again = synthesize_hours(tmp_path / "again", seed=SEED, jobs=1, **settings)
    other = synthesize_hours(tmp_path / "other", seed=8, **settings)
    for name in ("recording.edf", "truth.tsv", "truth.parquet"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
        assert (other / name).read_bytes() != (folder / name).read_bytes()


def test_segments_and_events_agree(folder):
    table = pd.read_parquet(folder / "truth.parquet")
    events = pd.read_csv(folder / "truth.tsv", sep="\t")
    assert list(table) == ["onset", *CLASSES]
    np.testing.assert_array_equal(table["onset"], np.arange(0, SECONDS, 10))
    np.testing.assert_allclose(table[list(CLASSES)].sum(axis=1), 1)
    assert len(events) >= 3
    assert "sz" in set(events["eventType"])
    leading = table[list(CLASSES)].idxmax(axis=1)
    covered = np.zeros(len(table))  # seconds of each segment in any event
    alike = []
    for event in events.itertuples():
        overlap = np.minimum(event.onset + event.duration, table["onset"] + 10)
        overlap = (overlap - np.maximum(event.onset, table["onset"])).clip(lower=0)
        covered += overlap
        inside = leading[overlap >= 10 - 1e-6]
        alike += (inside == NAMES[event.eventType]).tolist()
    assert np.mean(alike) > 0.9  # short gaps are parts of events
    assert (leading[covered == 0] == "Other").mean() > 0.97
    assert covered.max() <= 10 + 1e-6


def test_blocks_join_without_a_step(rendered, signals):
    plan, _ = rendered
    assert len(plan.starts) > 2
    steps = np.abs(np.diff(signals[:19], axis=1))
    for start in plan.starts[1:]:
        for border in (start, start + module.FADE):
            near = steps[:, border * 200 - 600 : border * 200 + 600]
            at_border = steps[:, border * 200 - 1]
            assert (at_border <= near.max(axis=1)).all()
            # a step would be the largest of the 1,200 at most electrodes
            assert (at_border > np.percentile(near, 99, axis=1)).mean() < 0.3


def test_power_is_constant_where_blocks_are_cross_faded(monkeypatch):
    """White noise of 10 µV in all blocks: 10 µV everywhere."""

    def render_noise(plan, number, seconds):
        rng = np.random.default_rng(number)
        noise = 10 * rng.standard_normal((20, seconds * 200)).astype(np.float32)
        return noise, np.full((seconds // 10, 18), 200.0)

    def render_nothing(plan, start, seconds):
        return np.zeros((20, seconds * 200), np.float32), []

    monkeypatch.setattr(module, "_render_noise", render_noise)
    monkeypatch.setattr(module, "_render_fixed", render_nothing)
    monkeypatch.setattr(module.artifacts, "BAD_CHANNEL", 0)
    plan = plan_recording(SECONDS, SEED)
    first, second = (render_block(plan, i) for i in (0, 1))
    second.signals[:, : first.tail.shape[1]] += first.tail
    second.variances[:3] += first.tail_variances
    levels = second.signals[:, :8000].reshape(20, -1, 1000).std(axis=(0, 2))
    np.testing.assert_allclose(levels, 10, rtol=0.03)
    np.testing.assert_allclose(second.variances, 200)


def test_amplitudes_and_spectrum_are_plausible(signals):
    bipolar = signals[:19].T @ derivation_matrix(DOUBLE_BANANA)
    spread = np.median(bipolar.reshape(-1, 2000, 18).std(axis=1))
    assert 3 < spread < 100  # µV
    pieces = bipolar[: len(bipolar) // 800 * 800].reshape(-1, 800, 18)
    power = np.median(np.abs(np.fft.rfft(pieces * np.hanning(800)[:, None], axis=1)) ** 2, axis=0)
    low, high = power[4:16].mean(), power[60:160].mean()  # 1 to 4 Hz, 15 to 40 Hz
    assert low > 5 * high


@pytest.mark.parametrize(("name", "value"), [("hours", 0.001), ("hours", 200), ("evidence", 0)])
def test_numbers_out_of_range_are_refused(tmp_path, name, value):
    with pytest.raises(InputError, match=f"{name} is {value}"):
        synthesize_hours(tmp_path / "new", progress=False, **{"hours": 1, name: value})
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_recording(tmp_path, capsys):
    out = tmp_path / "one"
    assert main(["synth", "--hours", "0.05", "--edf", "--out", str(out), "--jobs", "1"]) == 0
    assert str(out / "recording.edf") in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "recording.edf", "truth.parquet", "truth.tsv"
    ]  # fmt: skip
    assert main(["synth", "--edf", "--balanced", "--out", str(tmp_path / "two")]) == 2


def test_a_short_recording_may_have_no_episode():
    drawn = [draw_timeline(np.random.default_rng(seed), 120) for seed in range(40)]
    assert {len(episodes) for episodes in drawn} >= {0, 1}
