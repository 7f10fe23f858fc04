"""Noise, one signal at two rates, artifacts; the spectrogram."""

import numpy as np
import pytest
from scipy import signal as sps
from scipy.signal.windows import dpss

from hbac_utils.data.layout import FREQUENCIES
from hbac_utils.montage import CHAINS, ELECTRODES
from hbac_utils.synthetic import artifacts
from hbac_utils.synthetic.render import spectrogram
from hbac_utils.synthetic.signals import (
    MARGIN,
    SLOW_RATE,
    SessionSignal,
    aperiodic,
    fluctuation,
    gaussian,
    rhythm,
)

RNG = np.random.default_rng


@pytest.mark.parametrize("spectrum", [rhythm(20, 5), aperiodic(1.0, 1.0), aperiodic(1.0, 2.5)])
def test_noise_has_the_density_of_its_spectrum(spectrum):
    drawn = gaussian(RNG(0), spectrum, 8, 40_000)
    f, density = sps.welch(drawn, 200, nperseg=800)
    part = (f > 10) & (f < 30)
    np.testing.assert_allclose(density.mean(axis=0)[part], spectrum(f[part]) ** 2, rtol=0.2)
    assert drawn.std() == pytest.approx(1, rel=0.05)
    assert abs(np.corrcoef(drawn)[np.triu_indices(8, 1)]).max() < 0.1


def test_fluctuations_are_standard_normal_and_slow():
    drawn = np.stack([fluctuation(RNG(i), 4000, 2.0) for i in range(200)])
    assert (drawn.mean(), drawn.std()) == pytest.approx((0, 1), abs=0.05)
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


def test_spectrogram_is_the_multitaper_estimate():
    # the mean of periodograms, padded to steps of 200/1024 Hz, over 3 tapers and 4 derivations
    eeg = RNG(0).standard_normal((19, (600 + 2 * MARGIN) * SLOW_RATE)).astype(np.float32)
    power = spectrogram(eeg).reshape(300, 4, 100)
    four_seconds = eeg[:, 19 * SLOW_RATE : 23 * SLOW_RATE]  # around row 9, that is 18 to 20 s
    for chain, derivations in enumerate(CHAINS.values()):
        pairs = [[ELECTRODES.index(name) for name in d.split("-")] for d in derivations]
        bipolar = np.stack([four_seconds[a] - four_seconds[b] for a, b in pairs])
        tapers = dpss(4 * SLOW_RATE, NW=2, Kmax=3)
        estimates = [sps.periodogram(bipolar, SLOW_RATE, t, 256, detrend=False) for t in tapers]
        np.testing.assert_allclose(estimates[0][0][3:103], FREQUENCIES)
        expected = np.mean([p for _, p in estimates], axis=(0, 1))[3:103]
        np.testing.assert_allclose(power[9, chain], expected, rtol=1e-3)


def test_some_rows_are_lost_and_some_channels_are_bad():
    power = np.ones((200, 300, 4), dtype=np.float32)
    for i, rows in enumerate(power):
        artifacts.add_bad_rows(rows, RNG(i))
    assert 0.03 < np.isnan(power).any(axis=(1, 2)).mean() < 0.15
    assert 0.01 < (power == 0).any(axis=(1, 2)).mean() < 0.12
    eegs = list(np.ones((400, 19, 8), dtype=np.float32))
    artifacts.add_channel_faults(eegs, RNG(0))
    bad = np.array([[(eeg == 0).all(1).sum(), np.isnan(eeg).all(1).sum()] for eeg in eegs])
    assert list(bad.max(axis=0)) == [1, 1]
    assert 0.03 < bad.sum(axis=1).mean() < 0.10
