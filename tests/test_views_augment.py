"""The layers against independent computations and against their names."""

import numpy as np
import pytest
from scipy import signal

from hbac_utils.models.augment import SignalAugmentation, ViewAugmentation
from hbac_utils.models.views import EegSpectrogramView, KaggleSpectrogramView, WaveformView
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, ELECTRODES, derivation_matrix


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def eeg_with(electrode, frequency, amplitude=50.0):
    eeg = np.zeros((1, 10_000, 19), np.float32)
    times = np.arange(10_000) / 200
    eeg[0, :, ELECTRODES.index(electrode)] = amplitude * np.sin(2 * np.pi * frequency * times)
    return eeg


def test_the_eeg_spectrogram_is_scipys():
    view = EegSpectrogramView(seconds=50, frame=2, frames=100, bins=40, band=(0.5, 20))
    eeg = 30 * noise(1, 10_000, 19)
    image = np.asarray(view(eeg))[0, :, :, 0] * view.SCALE + view.MEAN
    bipolar = eeg[0] @ derivation_matrix([name for chain in CHAINS.values() for name in chain])
    window = signal.get_window("hann", 400)
    start = (10_000 - 400 - 99 * view.hop) // 2
    for column in (0, 57, 99):
        frame = bipolar[start + column * view.hop :][:400]
        # 0.5 Hz apart: every frequency of the view is one of the periodogram's
        _, power = signal.periodogram(frame, 200, window, detrend=False, scaling="density", axis=0)
        expected = np.log(power[1:41].reshape(40, 4, 4).mean(axis=2) + 1e-4).T.ravel()
        np.testing.assert_allclose(image[:, column], expected, atol=2e-3)


@pytest.mark.parametrize(("electrode", "chain"), [("T3", 0), ("T4", 1), ("C3", 2), ("C4", 3)])
def test_a_sine_shows_in_its_chain_and_at_its_frequency(electrode, chain):
    view = EegSpectrogramView(bins=40, band=(0.5, 20), frames=64)
    image = np.asarray(view(eeg_with(electrode, 6.0)))[0, :, :, 0]
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert row // 40 == chain
    assert np.linspace(0.5, 20, 40)[row % 40] == pytest.approx(6.0)
    assert 0 <= column < 64


def test_a_burst_shows_at_its_time():
    view = EegSpectrogramView(bins=20, frames=100, seconds=50)
    eeg = eeg_with("T3", 6.0)
    eeg[:, : 30 * 200] = 0
    image = np.asarray(view(eeg))[0, :20, :, 0].max(axis=0)
    assert image[:55].max() < image[65:].min(), "silence before 30 s, the burst after"


def test_frames_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        EegSpectrogramView(seconds=3, frame=2, frames=900)


def test_the_kaggle_spectrogram_is_clipped_standardised_and_laid_on_its_side():
    log = 5 * noise(2, 300, 400)
    log[0, 10:20] = np.nan
    image = np.asarray(KaggleSpectrogramView()(log))
    assert image.shape == (2, 400, 300, 1)
    for sample, shown in zip(log, image[..., 0], strict=True):
        clipped = np.clip(sample, -4, 8).T
        expected = (clipped - np.nanmean(clipped)) / np.nanstd(clipped)
        np.testing.assert_allclose(shown, np.nan_to_num(expected), atol=1e-4)


def test_an_empty_kaggle_spectrogram_is_zero():
    assert not np.asarray(KaggleSpectrogramView()(np.full((1, 300, 400), np.nan, "f4"))).any()


def test_a_resized_kaggle_spectrogram_has_the_size():
    assert KaggleSpectrogramView(size=(128, 256))(noise(1, 300, 400)).shape == (1, 128, 256, 1)


def test_the_series_is_the_compressed_average_of_the_derivations():
    eeg = 80 * noise(1, 10_000, 19)
    series = np.asarray(WaveformView(rate=100, scale=50)(eeg))[0]
    bipolar = (eeg[0] @ derivation_matrix(DOUBLE_BANANA)).reshape(5000, 2, 18).mean(axis=1) / 50
    np.testing.assert_allclose(
        series, np.sign(bipolar) * np.log1p(np.abs(bipolar)), atol=1e-4, rtol=1e-4
    )


def test_the_image_folds_ten_phases_of_each_derivation_into_rows():
    eeg = 80 * noise(1, 10_000, 19)
    series = np.asarray(WaveformView(rate=200)(eeg))[0]
    image = np.asarray(WaveformView(rate=200, layout="image")(eeg))[0, :, :, 0]
    assert image.shape == (160, 1000)
    for row, column in ((0, 0), (37, 512), (159, 999)):
        derivation, phase = divmod(row, 10)
        assert image[row, column] == pytest.approx(series[10 * column + phase, derivation])


# -- augmentation ------------------------------------------------------------


def test_nothing_happens_outside_training_or_when_switched_off():
    signal_layer = SignalAugmentation(mirror=1, polarity=1, reverse=1)
    view_layer = ViewAugmentation(0.5, 0.5, 0.3, 0.5)
    eeg, image = noise(2, 100, 19), noise(2, 40, 50, 1)
    np.testing.assert_array_equal(signal_layer(eeg, training=False), eeg)
    np.testing.assert_array_equal(view_layer(image, training=False), image)
    signal_layer.active = view_layer.active = False
    np.testing.assert_array_equal(signal_layer(eeg, training=True), eeg)
    np.testing.assert_array_equal(view_layer(image, training=True), image)


def test_the_mirror_exchanges_hemispheres():
    eeg = np.tile(np.arange(19, dtype=np.float32), (2, 5, 1))
    mirrored = np.asarray(SignalAugmentation(mirror=1)(eeg, training=True))[0, 0]
    for name, partner in (("Fp1", "Fp2"), ("T6", "T5"), ("Cz", "Cz")):
        assert mirrored[ELECTRODES.index(name)] == ELECTRODES.index(partner)


def test_the_mirror_exchanges_chains_of_the_kaggle_spectrogram():
    bins = np.tile(np.arange(400, dtype=np.float32), (1, 3, 1))
    mirrored = np.asarray(SignalAugmentation("spectrogram", mirror=1)(bins, training=True))[0, 0]
    np.testing.assert_array_equal(mirrored, np.r_[100:200, 0:100, 300:400, 200:300])


def test_polarity_and_reversal():
    eeg = noise(2, 50, 19)
    np.testing.assert_array_equal(SignalAugmentation(polarity=1)(eeg, training=True), -eeg)
    np.testing.assert_array_equal(SignalAugmentation(reverse=1)(eeg, training=True), eeg[:, ::-1])


def test_each_sample_throws_its_own_coin():
    eeg = np.ones((200, 4, 19), np.float32)
    flipped = np.asarray(SignalAugmentation(polarity=0.3)(eeg, training=True))
    signs = flipped[:, 0, 0]
    assert (flipped == signs[:, None, None]).all(), "a sample is flipped as a whole"
    assert 0.15 < (signs < 0).mean() < 0.45


def test_a_time_mask_masks_time_and_a_frequency_mask_frequency():
    image = np.ones((64, 40, 50, 1), np.float32)
    for layer, axis, length in (
        (ViewAugmentation(time_mask=0.4), 2, 50),
        (ViewAugmentation(frequency_mask=0.4), 1, 40),
    ):
        masked = np.asarray(layer(image, training=True))[..., 0]
        lines = masked.transpose(0, axis, 3 - axis)
        assert (lines == lines[:, :, :1]).all(), "whole rows or columns only"
        widths = (lines[:, :, 0] == 0).sum(axis=1)
        assert widths.max() <= 0.4 * length + 1
        assert len(set(widths)) > 5, "widths differ from sample to sample"
        for kept in lines[:, :, 0]:
            gaps = np.flatnonzero(kept == 0)
            assert len(gaps) == 0 or np.ptp(gaps) == len(gaps) - 1, "one stretch"


def test_a_time_mask_of_a_series_masks_all_derivations():
    series = np.ones((32, 100, 18), np.float32)
    masked = np.asarray(ViewAugmentation(time_mask=0.5)(series, training=True))
    assert (masked == masked[:, :, :1]).all()
    assert (masked == 0).any()


def test_a_translation_moves_in_time_only():
    image = np.zeros((64, 8, 50, 1), np.float32)
    image[:, 3, 25] = 1
    moved = np.asarray(ViewAugmentation(translation=0.2)(image, training=True))[..., 0]
    _, rows, columns = np.nonzero(moved)
    assert set(rows) == {3}
    assert np.abs(columns - 25).max() <= 10
    assert len(set(columns)) > 5


def test_cutout_cuts_a_rectangle_with_sides_up_to_its_share():
    image = np.ones((64, 40, 50, 1), np.float32)
    cut = np.asarray(ViewAugmentation(cutout=0.5)(image, training=True))[..., 0] == 0
    heights, widths = cut.any(axis=2).sum(axis=1), cut.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(cut.sum(axis=(1, 2)), heights * widths)
    assert 15 < heights.max() <= 21
    assert 18 < widths.max() <= 26
    assert len(set(heights)) > 5
