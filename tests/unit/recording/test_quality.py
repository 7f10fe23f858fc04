"""Signal quality and spectra of segments, on signals whose properties are known."""

import numpy as np
import pytest

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import ELECTRODES
from hbac_utils.recording.quality import FREQUENCIES, find_defects, hemisphere_spectra

TIMES = np.arange(10 * SAMPLING_RATE) / SAMPLING_RATE


def brain(rng) -> np.ndarray:
    """Ten seconds of independent 3-Hz waves of random phase, 30 µV, and a little noise."""
    phases = rng.uniform(0, 2 * np.pi, len(ELECTRODES))
    waves = 30 * np.sin(2 * np.pi * 3 * TIMES[:, None] + phases)
    return (waves + rng.normal(0, 1, waves.shape)).astype(np.float32)


def gap(eeg, rng):
    eeg[:1100] = np.nan


def short_gap(eeg, rng):
    eeg[:900] = np.nan


def flat(eeg, rng):
    eeg[:] = 100 + rng.normal(0, 0.1, eeg.shape)


def only_the_reference(eeg, rng):
    eeg[:] = 80 * rng.normal(0, 1, (len(eeg), 1)).cumsum(axis=0)


def some_flat_electrodes(eeg, rng):
    eeg[:, :4] = 0


def clipped(eeg, rng):
    eeg[:] = np.clip(60 * eeg, -1000, 1000)


def open_inputs(eeg, rng):
    sizes = rng.uniform(300, 1500, eeg.shape[1])
    eeg[:] = 0.02 * eeg + (sizes * np.sin(2 * np.pi * 50.1 * TIMES[:, None])).astype(np.float32)


def much_mains(eeg, rng):
    sizes = rng.uniform(100, 500, eeg.shape[1])
    eeg += (sizes * np.sin(2 * np.pi * 60 * TIMES[:, None])).astype(np.float32)


def mains_of_the_reference(eeg, rng):
    eeg += (2000 * np.sin(2 * np.pi * 60 * TIMES[:, None])).astype(np.float32)


def muscle(eeg, rng):
    eeg += rng.normal(0, 40, eeg.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda eeg, rng: None, ""), (gap, "gap"), (short_gap, ""), (flat, "flat"),
        (only_the_reference, "flat"), (some_flat_electrodes, ""), (clipped, "clipped"),
        (open_inputs, "disconnected"), (much_mains, ""),
        (mains_of_the_reference, ""), (muscle, "muscle"),
    ],
)  # fmt: skip
def test_defects_of_an_segment(change, expected):
    rng = np.random.default_rng(1)
    good, changed = brain(rng), brain(rng)
    change(changed, rng)
    assert find_defects(np.stack([good, changed, good])).tolist() == ["", expected, ""]


def test_a_wave_has_its_power_in_its_hemisphere():
    eeg = np.zeros((1, len(TIMES), len(ELECTRODES)), np.float32)
    # F7, T5 and the others of the left chains alternate: each left derivation is 2 · 10 µV
    for name, sign in {"Fp1": 1, "F7": -1, "T3": 1, "T5": -1, "O1": 1, "F3": -1, "C3": 1,
                       "P3": -1}.items():  # fmt: skip
        eeg[0, :, ELECTRODES.index(name)] = sign * 10 * np.sin(2 * np.pi * 6 * TIMES)
    ((left, right),) = hemisphere_spectra(eeg)
    assert FREQUENCIES[left.argmax()] == 6
    # a Hann window spreads the power of 20² / 2 µV² over 1.5 bins of 0.5 Hz
    assert left.max() == pytest.approx(10 * np.log10(200 / 0.75), abs=0.05)
    assert right.max() == -30


def test_a_gap_has_no_spectrum():
    eeg = np.random.default_rng(0).normal(size=(2, 2000, 19)).astype(np.float32)
    eeg[1, 500:600] = np.nan
    spectra = hemisphere_spectra(eeg)
    assert np.isfinite(spectra[0]).all()
    assert np.isnan(spectra[1]).all()
