"""Noise, artifacts, and one signal at two rates; the spectrogram."""

import numpy as np
import pytest
from scipy import signal as sps
from scipy.signal.windows import dpss

from hbac_utils.data.layout import FREQUENCIES
from hbac_utils.montage import CHAINS, ELECTRODES
from hbac_utils.synthetic import artifacts, noise
from hbac_utils.synthetic.render import spectrogram
from hbac_utils.synthetic.signal import MARGIN, SLOW_RATE, SessionSignal, decimate

RNG = np.random.default_rng


def test_noise_has_the_density_of_its_spectrum():
    spectrum = noise.rhythm(20, 5)
    drawn = noise.gaussian(RNG(0), spectrum, 8, 40_000)
    f, density = sps.welch(drawn, 200, nperseg=400)
    assert drawn.std() == pytest.approx(1, rel=0.05)
    np.testing.assert_allclose(density.mean(axis=0)[30:51], spectrum(f[30:51]) ** 2, rtol=0.15)
    assert abs(np.corrcoef(drawn)[np.triu_indices(8, 1)]).max() < 0.1


@pytest.mark.parametrize("exponent", [1.0, 2.5])
def test_aperiodic_noise_falls_with_its_exponent(exponent):
    drawn = noise.gaussian(RNG(0), noise.aperiodic(1.0, exponent), 8, 40_000)
    f, density = sps.welch(drawn, 200, nperseg=2000)
    part = (f > 5) & (f < 60)
    slope = np.polyfit(np.log(f[part]), np.log(density.mean(axis=0)[part]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.1)
    assert drawn.std() == pytest.approx(1, rel=0.05)


def test_fluctuations_are_standard_normal_and_slow():
    drawn = np.stack([noise.fluctuation(RNG(i), 4000, 2.0) for i in range(200)])
    assert drawn.mean() == pytest.approx(0, abs=0.05)
    assert drawn.std() == pytest.approx(1, abs=0.05)
    assert np.corrcoef(drawn[:, 0], drawn[:, 20])[0, 1] > 0.9
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1000])[0, 1]) < 0.2


def test_slow_and_fast_are_one_signal():
    session = SessionSignal(60, [(10, 40)])
    session.add_noise(RNG(0), np.eye(19)[:2], lambda f: 10 * np.exp(-f / 5))
    times = np.arange(0, 64, 1 / 200)
    session.add(-MARGIN, np.eye(19)[:1], 20 * np.sin(2 * np.pi * 7 * times)[None])
    slow, (fast,) = session.to_arrays()
    begin = (10 + MARGIN) * SLOW_RATE
    np.testing.assert_allclose(fast[:2, ::4], slow[:2, begin : begin + 2000], atol=1.5)
    assert fast[0].std() == pytest.approx(np.hypot(20 / np.sqrt(2), fast[1].std()), rel=0.05)


def test_decimation_keeps_20_hz_and_removes_30_hz():
    times = np.arange(0, 20, 1 / 200)
    waves = np.sin(2 * np.pi * np.array([[20.0], [30.0]]) * times).astype(np.float32)
    kept, removed = decimate(waves)[:, 100:-100]
    np.testing.assert_allclose(kept, np.sin(2 * np.pi * 20 * times[::4])[100:-100], atol=0.02)
    assert abs(removed).max() < 0.02


def test_spectrogram_is_the_multitaper_estimate():
    # a row is the mean over 3 tapers and 4 derivations of periodograms padded to 200/1024 Hz
    eeg = RNG(0).standard_normal((19, (600 + 2 * MARGIN) * SLOW_RATE)).astype(np.float32)
    power = spectrogram(eeg).reshape(300, 4, 100)
    row = eeg[:, 19 * SLOW_RATE :][:, : 4 * SLOW_RATE]  # row 8: seconds 15 to 19, plus the margin
    for chain, derivations in enumerate(CHAINS.values()):
        pairs = [[ELECTRODES.index(name) for name in d.split("-")] for d in derivations]
        bipolar = np.stack([row[a] - row[b] for a, b in pairs])
        estimates = []
        for taper in dpss(4 * SLOW_RATE, NW=2, Kmax=3):
            f, p = sps.periodogram(bipolar, SLOW_RATE, taper, nfft=256, detrend=False)
            estimates.append(p.mean(axis=0))
        np.testing.assert_allclose(f[3:103], FREQUENCIES)
        np.testing.assert_allclose(power[9, chain], np.mean(estimates, axis=0)[3:103], rtol=1e-3)


def test_seizure_muscle_is_limited_to_the_seizure():
    session = SessionSignal(100, [(0, 100)])
    artifacts.add_seizure_muscle(session, RNG(0), 40, 70, 20.0)
    (eeg,) = session.to_arrays()[1]
    power = np.square(eeg).mean(axis=0).reshape(100, 200).mean(axis=1)
    assert power[50:65].mean() > 20 * power[:35].mean()


def test_heartbeats_have_a_physiological_rate():
    for seed in range(10):
        peaks, _ = sps.find_peaks(abs(artifacts.heartbeats(RNG(seed), 12_000)), 0.6, distance=60)
        assert 40 < len(peaks) < 150


def test_some_rows_are_lost_and_some_channels_are_bad():
    power = np.ones((200, 300, 4), dtype=np.float32)
    for i, rows in enumerate(power):
        artifacts.add_bad_rows(rows, RNG(i))
    assert 0.03 < np.isnan(power).any(axis=(1, 2)).mean() < 0.15
    assert 0.01 < (power == 0).any(axis=(1, 2)).mean() < 0.12
    eegs = list(np.ones((400, 19, 8), dtype=np.float32))
    artifacts.add_channel_faults(eegs, RNG(0))
    flat = [(eeg == 0).all(axis=1).sum() for eeg in eegs]
    missing = [np.isnan(eeg).all(axis=1).sum() for eeg in eegs]
    assert max(flat) == max(missing) == 1
    assert 0.03 < np.mean(flat) + np.mean(missing) < 0.10
