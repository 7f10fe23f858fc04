"""Gaps, band-pass, clipping and log power, against scipy and hand-computed values."""

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from hbac_utils.data.preprocessing import bandpass, clean_eeg, fill_gaps, log_power


def sine(frequency, seconds=20, amplitude=100.0):
    times = np.arange(seconds * 200) / 200
    return (amplitude * np.sin(2 * np.pi * frequency * times))[:, None].astype(np.float32)


def noise(n_times):
    rng = np.random.default_rng(n_times)
    eeg = rng.normal(0, 60, (n_times, 3)) + rng.normal(0, 40, (n_times, 3)).cumsum(axis=0)
    return eeg - eeg.mean(axis=0)


def scipys(eeg, band, **options):
    sections = butter(4, band, btype="bandpass", fs=200, output="sos")
    return sosfiltfilt(sections, eeg, axis=0, **options)


@pytest.mark.parametrize("band", [(0.5, 40), (0.1, 70), (8, 13)])
@pytest.mark.parametrize("n_times", [500, 601, 33_333])
def test_the_filter_is_scipys_on_the_extended_recording(band, n_times):
    eeg = noise(n_times)
    odd = min(600, n_times - 1)
    extended = np.concatenate(
        [2 * eeg[0] - eeg[odd:0:-1], eeg, 2 * eeg[-1] - eeg[-2 : -2 - odd : -1]]
    )
    constant = 40_000
    extended = np.pad(extended, ((constant, constant), (0, 0)), mode="edge")
    exact = scipys(extended, band, padlen=0)[constant + odd :][:n_times]
    filtered = bandpass(eeg.astype(np.float32), band)
    assert filtered.shape == eeg.shape
    assert np.abs(filtered - exact).max() < 1e-3 * np.abs(extended).max()


@pytest.mark.parametrize(
    ("frequency", "gain"), [(0.05, 0.0), (5, 1.0), (20, 1.0), (60, 0.0), (90, 0.0)]
)
def test_the_band_passes_and_the_rest_does_not(frequency, gain):
    filtered = bandpass(sine(frequency) + 80, (0.5, 40))[1000:-1000]
    assert np.sqrt(2) * filtered.std() / 100 == pytest.approx(gain, abs=0.01)


def test_the_filter_has_no_phase_shift():
    spike = np.zeros((4000, 1), np.float32)
    spike[2000] = 500
    filtered = bandpass(spike, (0.5, 40))[:, 0]
    assert np.argmax(filtered) == 2000
    np.testing.assert_allclose(filtered[1900:2000], filtered[2100:2000:-1], atol=1e-3)
    eeg = noise(3000).astype(np.float32)
    backwards = bandpass(eeg[::-1], (0.5, 40))[::-1]
    np.testing.assert_allclose(bandpass(eeg, (0.5, 40)), backwards, atol=1e-4 * np.abs(eeg).max())


def test_gaps_are_interpolated_and_marked():
    eeg = np.tile(np.arange(10, dtype=np.float32)[:, None], (1, 3))
    eeg[3:6, 0] = np.nan
    eeg[:, 1] = np.nan
    filled, missing = fill_gaps(eeg)
    np.testing.assert_array_equal(filled[:, 0], np.arange(10))
    np.testing.assert_array_equal(filled[:, 1], 0)
    assert missing.sum(axis=0).tolist() == [3, 10, 0]
    assert np.isnan(eeg[3, 0]), "the input is not changed"


def test_infinities_are_gaps_and_amplitudes_are_clipped():
    eeg = sine(5, amplitude=1e6)
    eeg[100] = np.inf
    cleaned, missing = clean_eeg(eeg, (0.5, 40), 1024)
    assert missing.sum() == 1
    assert cleaned.dtype == np.float16
    assert np.abs(cleaned).max() == 1024


def test_log_power_keeps_gaps_and_floors_zeros():
    log = log_power(np.array([0, 1, np.e, 2e5, np.nan, np.inf], np.float32))
    np.testing.assert_allclose(log[:4], [np.log(1e-6), 0, 1, np.log(2e5)], rtol=1e-3)
    assert np.isnan(log[4:]).all()
