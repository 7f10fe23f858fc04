"""Sliding prediction: the same numbers as `infer`, gaps, ends, and continuing after a kill."""

from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest

from hbac_utils.data.competition import open_competition
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.labels import CLASSES
from hbac_utils.montage import CHANNELS, ELECTRODES
from hbac_utils.recording import sliding
from hbac_utils.recording.sliding import read_recording
from hbac_utils.utils.errors import InputError

SECONDS = 245


@pytest.fixture(scope="module")
def simulated():
    return open_run("simulated")


@pytest.fixture(scope="module")
def eeg() -> np.ndarray:
    """Four minutes of slow noise with 2-Hz waves on the left in the second minute, microvolts."""
    rng = np.random.default_rng(5)
    noise = rng.normal(0, 1, (SECONDS * 200, len(CHANNELS))).cumsum(axis=0)
    noise -= noise.mean(axis=0)
    times = np.arange(len(noise)) / 200
    wave = 80 * np.sin(2 * np.pi * 2 * times) * ((times > 60) & (times < 120))
    noise[:, [4, 5]] += wave[:, None] * [1, -1]
    return noise.astype(np.float32)


def save(eeg: np.ndarray, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(eeg, columns=list(CHANNELS)).to_parquet(path, index=False)
    return path


@pytest.fixture(scope="module")
def reading(simulated, eeg, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recording")
    return read_recording(
        save(eeg, folder / "a.parquet"), [simulated], folder / "out", progress=False
    )


def test_probabilities_are_those_of_infer_for_the_same_windows(reading, simulated, eeg, tmp_path):
    """Windows of segments 3, 8 and 20, as the files of a test folder."""
    segments = [3, 8, 20]
    for segment in segments:
        begin = (10 * segment + 5 - 25) * 200
        save(eeg[begin : begin + 10_000], tmp_path / "test_eegs" / f"{segment}.parquet")
    test = pd.DataFrame({"eeg_id": segments, "spectrogram_id": 1, "patient_id": 1})
    test.to_csv(tmp_path / "test.csv", index=False)
    expected = predict([simulated], open_competition(tmp_path), progress=False).probabilities
    np.testing.assert_allclose(reading.probabilities[segments], expected, atol=1e-5)
    assert np.abs(expected - expected[0]).max() > 0.01, "the windows differ"


def test_a_row_for_every_segment(reading):
    table = reading.table
    assert len(table) == 25
    assert table["onset"].tolist() == [10 * i for i in range(25)]
    assert table["duration"].tolist() == [10] * 24 + [5]
    assert table[list(CLASSES)].sum(axis=1).tolist() == pytest.approx([1] * 25)
    assert table["spread"].isna().all(), "the run has one model"
    assert reading.spectra.shape == (25, 2, 40)


def test_gaps_are_marked_and_not_predicted(simulated, eeg, tmp_path):
    holes = eeg.copy()
    holes[100 * 200 : 128 * 200] = np.nan  # segments 10, 11 and most of 12
    table = read_recording(
        save(holes, tmp_path / "b.parquet"), [simulated], tmp_path / "out", progress=False
    ).table
    assert table.index[table["quality"] == "gap"].tolist() == [10, 11, 12]
    assert table.index[table["Other"].isna()].tolist() == [10, 11, 12]


def test_an_interrupted_reading_continues(simulated, eeg, tmp_path, monkeypatch, reading):
    """Blocks of eight segments; the process is interrupted while it predicts the third."""
    monkeypatch.setattr(sliding, "BLOCK_SEGMENTS", 8)
    path, blocks, original = save(eeg, tmp_path / "c.parquet"), [], sliding._predict

    def interrupted(runs, blend, windows):
        blocks.append(windows)
        if len(blocks) == 3:
            raise KeyboardInterrupt
        return original(runs, blend, windows)

    monkeypatch.setattr(sliding, "_predict", interrupted)
    with pytest.raises(KeyboardInterrupt):
        read_recording(path, [simulated], tmp_path / "out", progress=False)
    again = read_recording(path, [simulated], tmp_path / "out", progress=False)
    assert len(blocks) == 5, "two blocks of four were finished"
    np.testing.assert_allclose(again.probabilities, reading.probabilities, atol=1e-5)
    np.testing.assert_allclose(again.spectra, reading.spectra, atol=1e-4)
    read_recording(path, [simulated], tmp_path / "out", progress=False)
    assert len(blocks) == 5, "a finished recording is not predicted again"
    save(eeg[::-1], path)
    read_recording(path, [simulated], tmp_path / "out", progress=False)
    assert len(blocks) == 9, "another file is"


def test_several_runs_and_their_spread(simulated, run, eeg, tmp_path):
    path, runs = save(eeg[: 60 * 200], tmp_path / "d.parquet"), [simulated, open_run(run)]

    def read(name, runs):
        return read_recording(path, runs, tmp_path / name, progress=False)

    both = read("both", runs)
    single = [replace(r, models={name: model}) for r in runs for name, model in r.models.items()]
    alone = np.array([read(f"{i}", [r]).probabilities for i, r in enumerate(single)])
    assert len(alone) == 3, "the trained run has two folds"
    np.testing.assert_allclose(both.probabilities, alone.mean(axis=0), atol=1e-5)
    leading = both.probabilities.argmax(axis=1)
    expected = [alone[:, i, k].std() for i, k in enumerate(leading)]
    np.testing.assert_allclose(both.table["spread"], expected, atol=1e-5)
    assert max(expected) > 0.01


def test_occlusion_finds_the_chain_and_the_second_that_a_model_reads(simulated, eeg, tmp_path):
    """A model whose seizure probability is the power of F7-T3 in the fourth second."""
    montage = np.zeros((len(ELECTRODES), 1), np.float32)
    montage[[ELECTRODES.index("F7"), ELECTRODES.index("T3")], 0] = 1, -1
    window = keras.Input((10_000, len(ELECTRODES)), dtype="float16", name="eeg")
    second = keras.ops.cast(window, "float32")[:, 4600:4800] @ montage
    power = keras.ops.mean(keras.ops.square(second), axis=1)
    probability = 0.2 + 0.7 * power / (power + 1000)
    others = keras.ops.repeat((1 - probability) / 5, 5, axis=1)
    rule = keras.Model({"eeg": window}, keras.ops.concatenate([probability, others], axis=1))
    path = save(eeg, tmp_path / "o.parquet")
    run = replace(simulated, models={"rule": rule})
    found = read_recording(path, [run], tmp_path / "out", progress=False).importance(9)
    assert found.shape == (5, 10)
    assert found[0, 3] > 0.5, "left temporal, fourth second"
    around = found[0, [2, 4]]
    assert (around > 0).all(), "what is hidden fades over a tenth of a second"
    assert (around < 0.2 * found[0, 3]).all()
    found[0, 2:5] = 0
    np.testing.assert_allclose(found, 0, atol=1e-4)


def test_wrong_step_is_refused(simulated, eeg, tmp_path):
    with pytest.raises(InputError, match="step is 1; it must be 2 to 50"):
        read_recording(save(eeg, tmp_path / "e.parquet"), [simulated], tmp_path / "out", step=1)
