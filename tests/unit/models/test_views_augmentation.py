"""The layers against independent computations and against their names."""

import numpy as np
import pytest
from scipy import ndimage, signal

from hbac_utils.models.augmentation import MIRROR, Augmentation
from hbac_utils.models.classifier import PolyphaseConv
from hbac_utils.models.views import (
    MEAN,
    SCALE,
    EegSpectrogramView,
    KaggleSpectrogramView,
    MelSpectrogramView,
    MultiSpectrogramView,
    WaveformView,
)
from hbac_utils.montage import (
    CHAINS,
    DOUBLE_BANANA,
    ELECTRODES,
    LEFT,
    MIDLINE,
    RIGHT,
    derivation_matrix,
)
from hbac_utils.registry import AUGMENTATIONS
from hbac_utils.utils.backend import tf, use_own_settings


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_the_eeg_spectrogram_is_scipys():
    view = EegSpectrogramView(seconds=50, frame=2, frames=100, bins=40, band=(0.5, 20))
    eeg = 30 * noise(1, 10_000, 19)
    image = np.asarray(view(eeg))[0, :, :, 0] * SCALE + MEAN
    bipolar = eeg[0] @ derivation_matrix([name for chain in CHAINS.values() for name in chain])
    window = signal.get_window("hann", 400)
    start = (10_000 - 400 - 99 * view.hop) // 2
    for column in (0, 57, 99):
        frame = bipolar[start + column * view.hop :][:400]
        # 0.5 Hz apart: every frequency of the view is one of the periodogram's
        _, power = signal.periodogram(frame, 200, window, detrend=False, scaling="density", axis=0)
        expected = np.log(power[1:41].reshape(40, 4, 4).mean(axis=2) + 1e-4).T.ravel()
        np.testing.assert_allclose(image[:, column], expected, atol=2e-3)


def test_the_default_eeg_spectrogram_is_scipys_chirp_transform():
    """Its 32 frequencies lie on no grid of a Fourier transform; a zoomed one can take them."""
    view = EegSpectrogramView()
    brown = signal.lfilter([1], [1, -0.98], 20 * noise(2, 10_000, 19, seed=1), axis=1)
    eeg = brown.astype(np.float16)
    image = np.asarray(view(eeg.astype(np.float32)))[..., 0] * SCALE + MEAN
    assert image.shape == (2, 128, 256)
    row = {name: i for i, name in enumerate(ELECTRODES)}
    window = signal.get_window("hann", 400)
    start = (10_000 - 400 - 255 * view.hop) // 2
    for sample, chain, column in ((0, "LL", 0), (1, "RL", 100), (0, "LP", 200), (1, "RP", 255)):
        power = np.zeros(32)
        for derivation in CHAINS[chain]:
            anode, cathode = (row[name] for name in derivation.split("-"))
            frame = eeg[sample, start + column * view.hop :][:400].astype(np.float64)
            bipolar = (frame[:, anode] - frame[:, cathode]) * window
            wave = signal.zoom_fft(bipolar, [0.5, 20.0], m=32, fs=200, endpoint=True)
            power += 2 * np.abs(wave) ** 2 / (200 * np.sum(window**2)) / 4
        rows = slice(32 * list(CHAINS).index(chain), 32 * list(CHAINS).index(chain) + 32)
        np.testing.assert_allclose(image[sample, rows, column], np.log(power + 1e-4), atol=5e-3)


def test_spectrograms_of_several_durations_are_side_by_side():
    brown = signal.lfilter([1], [1, -0.98], 20 * noise(1, 10_000, 19, seed=3), axis=1)
    eeg = brown.astype(np.float16).astype(np.float64)
    image = np.asarray(MultiSpectrogramView()(eeg.astype(np.float32)))
    assert image.shape == (1, 128, 384, 1)
    # seconds and frames of 50, 30 and 10 s around 25 s: the first column, samples between columns
    for part, (n_frame, hop) in enumerate(((400, 75), (300, 44), (200, 14))):
        start = (10_000 - n_frame - 127 * hop) // 2
        window = signal.get_window("hann", n_frame)
        for column in (0, 64, 127):
            frame = eeg[0, start + column * hop :][:n_frame]
            rows = []
            for names in (CHAINS[chain] for chain in ("LL", "RL", "LP", "RP")):
                pairs = [[ELECTRODES.index(part) for part in name.split("-")] for name in names]
                bipolar = np.stack([frame[:, a] - frame[:, b] for a, b in pairs]) * window
                wave = signal.zoom_fft(bipolar, [0.5, 20.0], m=32, fs=200, endpoint=True)
                power = 2 * np.abs(wave) ** 2 / (200 * np.sum(window**2))
                rows.append((np.log(power.mean(axis=0) + 1e-4) - 2) / 3)
            seen = image[0, :, 128 * part + column, 0]
            np.testing.assert_allclose(seen, np.concatenate(rows), atol=1e-3)


def mel_density(wave, frame, hop, n_fft, bins, band):
    """Mean power density under triangles of the HTK mel scale, by scipy; (bins, columns)."""
    padded = np.pad(wave, frame // 2, "reflect")
    frequencies, _, power = signal.spectrogram(
        padded, 200, "hann", frame, frame - hop, n_fft, detrend=False
    )
    mel = 1127 * np.log1p(frequencies / 700)
    edges = np.linspace(*(1127 * np.log1p(np.array(band) / 700)), bins + 2)
    rows = []
    for left, top, right in zip(edges, edges[1:], edges[2:], strict=False):
        weights = np.interp(mel, (left, top, right), (0, 1, 0), left=0, right=0)
        rows.append(weights @ power / weights.sum())
    return np.array(rows)


def test_the_mel_spectrogram_is_scipys_with_a_zoomed_centre_and_three_channels():
    brown = signal.lfilter([1], [1, -0.98], 20 * noise(1, 10_000, 19, seed=2), axis=1)
    eeg = brown.astype(np.float16).astype(np.float64)
    log = {}
    for name in (*CHAINS["LL"], *CHAINS["RL"], *CHAINS["LP"], *CHAINS["RP"]):
        anode, cathode = (eeg[0, :, ELECTRODES.index(part)] for part in name.split("-"))
        whole = mel_density(anode - cathode, 128, 32, 512, 64, (0.53, 30))
        zoom = mel_density((anode - cathode)[3_800:6_200], 16, 4, 2_048, 64, (0.53, 30))
        assert (whole.shape[1], zoom.shape[1]) == (313, 601)
        columns = np.concatenate([whole[:, :125], zoom, whole[:, 187:]], axis=1)
        log[name] = (np.log(columns + 1e-4) - 2) / 3
    image = np.asarray(MelSpectrogramView()(eeg.astype(np.float32)))
    assert image.shape == (1, 1024, 852, 3)
    order = ("Fp1-F7", "Fp2-F8", "F7-T3", "F8-T4", "T3-T5", "T4-T6", "T5-O1", "T6-O2",
             "Fp1-F3", "Fp2-F4", "F3-C3", "F4-C4", "C3-P3", "C4-P4", "P3-O1", "P4-O2")  # fmt: skip
    for name, neighbours in (
        ("Fp1-F7", ("F7-T3", "Fp1-F3")),
        ("T6-O2", ("T4-T6", "P4-O2")),
        ("C3-P3", ("F3-C3", "P3-O1")),
    ):
        others = np.mean([log[other] for other in order if other != name], axis=0)
        near = np.mean([log[other] for other in neighbours], axis=0)
        expected = np.stack([log[name], log[name] - others, log[name] - near], axis=-1)
        rows = slice(64 * order.index(name), 64 * order.index(name) + 64)
        np.testing.assert_allclose(image[0, rows], expected, atol=1e-3)


def test_a_mel_spectrogram_is_standardised_if_asked():
    eeg = np.concatenate([30 * noise(1, 10_000, 19), 200 * noise(1, 10_000, 19, seed=1)])
    small = {"bins": 8, "step": 0.64, "zoom_step": 0.32}
    image = np.asarray(MelSpectrogramView(scaling="sample", **small)(eeg))
    raw = np.asarray(MelSpectrogramView(**small)(eeg))
    assert raw[1, ..., 0].mean() - raw[0, ..., 0].mean() == pytest.approx(
        2 * np.log(200 / 30) / 3, abs=0.02
    )
    axes = {"axis": (1, 2), "keepdims": True}
    np.testing.assert_allclose(image, (raw - raw.mean(**axes)) / raw.std(**axes), atol=1e-3)


def test_frames_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        EegSpectrogramView(seconds=3, frame=2, frames=900)


def test_the_kaggle_spectrogram_is_clipped_standardised_and_laid_on_its_side():
    assert not np.asarray(KaggleSpectrogramView()(np.full((1, 300, 400), np.nan, "f4"))).any()
    log = 5 * noise(2, 300, 400)
    log[0, 10:20] = np.nan
    image = np.asarray(KaggleSpectrogramView()(log))
    assert image.shape == (2, 400, 300, 1)
    for sample, shown in zip(log, image[..., 0], strict=True):
        clipped = np.clip(sample, -4, 8).T
        expected = (clipped - np.nanmean(clipped)) / np.nanstd(clipped)
        np.testing.assert_allclose(shown, np.nan_to_num(expected), atol=1e-4)


@pytest.mark.parametrize("size", [(128, 256), (512, 512)])
def test_a_resized_kaggle_spectrogram_is_scipys_interpolation(size):
    log = ndimage.gaussian_filter(5 * noise(1, 300, 400), (0, 2, 2))
    native = np.asarray(KaggleSpectrogramView()(log))[0, :, :, 0]
    image = np.asarray(KaggleSpectrogramView(size=size)(log))
    assert image.shape == (1, *size, 1)
    # pixels are squares: their centres lie half a pixel inside
    places = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(size, native.shape, strict=True)]
    expected = ndimage.map_coordinates(
        native, np.meshgrid(*places, indexing="ij"), order=1, mode="nearest"
    )
    np.testing.assert_allclose(image[0, :, :, 0], expected, atol=1e-3)


def compressed(eeg, derivation, rate, scale=50):
    """The waveform by names and loops: difference, average of neighbours, compression."""
    anode, cathode = (ELECTRODES.index(name) for name in derivation.split("-"))
    bipolar = eeg[:, anode].astype(np.float64) - eeg[:, cathode]
    average = bipolar.reshape(-1, 200 // rate).mean(axis=1) / scale
    return np.sign(average) * np.log1p(np.abs(average))


@pytest.mark.parametrize("rate", [20, 40, 100, 200])
def test_the_series_is_the_compressed_average_of_the_derivations(rate):
    eeg = 80 * noise(2, 10_000, 19)
    series = np.asarray(WaveformView(rate=rate, scale=50)(eeg))
    assert series.shape == (2, 50 * rate, 18)
    for sample, column in ((0, 0), (1, 9), (1, 17)):
        expected = compressed(eeg[sample], DOUBLE_BANANA[column], rate)
        np.testing.assert_allclose(series[sample, :, column], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rate", [40, 200])
def test_the_image_is_the_compressed_waveform_in_columns_of_50_ms(rate):
    eeg = 80 * noise(2, 10_000, 19)
    image = np.asarray(WaveformView(rate=rate, layout="image")(eeg))[..., 0]
    phases = rate // 20
    assert image.shape == (2, 16 * phases, 1000)
    for i, derivation in enumerate(DOUBLE_BANANA[:16]):
        expected = compressed(eeg[1], derivation, rate).reshape(1000, phases).T
        rows = image[1, i * phases : (i + 1) * phases]
        np.testing.assert_allclose(rows, expected, atol=1e-4, rtol=1e-4)


def test_the_linear_image_is_vipeegnets_strided_convolution():
    """Clipped derivations, convolved with a stride of 50 ms by weights that sum to one."""
    eeg = (700 * noise(2, 10_000, 19)).astype(np.float16)  # derivations are partly beyond ±1,024
    view = WaveformView(rate=200, layout="image", amplitude="linear", scale=1024)
    mix, random = PolyphaseConv(16), np.random.default_rng(4)
    image = view(eeg.astype(np.float32))
    as_started = np.asarray(mix(image))
    mix.kernel.assign(mix.kernel.constraint(random.normal(size=(10, 10, 3))))
    kernel = np.asarray(mix.kernel)
    np.testing.assert_allclose(kernel.sum(axis=0), 1, atol=1e-5)
    assert kernel.min() == 0
    gray = 127.5 * (np.asarray(mix(image)) + 1)
    assert gray.shape == as_started.shape == (2, 160, 1000, 3)
    for i, derivation in enumerate(DOUBLE_BANANA[:16]):
        anode, cathode = (ELECTRODES.index(name) for name in derivation.split("-"))
        bipolar = eeg[1, :, anode].astype(np.float64) - eeg[1, :, cathode]
        x = (np.clip(bipolar, -1024, 1024) + 1024) / 2048 * 255
        folded = x.reshape(1000, 10).T
        rows = slice(10 * i, 10 * i + 10)
        for channel in range(3):
            np.testing.assert_allclose(
                127.5 * (as_started[1, rows, :, channel] + 1), folded, atol=1e-3
            )
            expected = [
                np.correlate(x, kernel[:, row, channel].astype(np.float64))[::10]
                for row in range(10)
            ]
            np.testing.assert_allclose(gray[1, rows, :, channel], expected, atol=1e-3)


# -- augmentation ------------------------------------------------------------


def changed(layer, signal, name="eeg", training=True):
    return np.asarray(layer({name: signal}, training=training)[name])


def test_nothing_happens_outside_training_or_when_switched_off():
    signal_layer = Augmentation({"mirror": 1, "polarity": 1, "reverse": 1})
    view_layer = Augmentation(
        {"translation": 0.3, "cutout": 0.5, "frequency_mask": 0.5, "time_mask": 0.5}
    )
    eeg, image = noise(2, 100, 19), noise(2, 40, 50, 1)
    np.testing.assert_array_equal(changed(signal_layer, eeg, training=False), eeg)
    np.testing.assert_array_equal(view_layer(image, training=False), image)
    signal_layer.active = view_layer.active = False
    np.testing.assert_array_equal(changed(signal_layer, eeg), eeg)
    np.testing.assert_array_equal(view_layer(image, training=True), image)


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("depth", [1, 3])
def test_every_augmentation_keeps_shape_and_type_and_changes_samples(name, depth):
    """Layers see inputs only, so the labels stay as they are."""
    of_derivations = name == "channel_shuffle" or AUGMENTATIONS[name].needs == "series"
    layer = Augmentation({name: 0.5}, channels=18 if of_derivations else 4)
    if AUGMENTATIONS[name].on == "signal":
        inputs = {"eeg": noise(20, 100, 19)}
    elif AUGMENTATIONS[name].needs == "series":
        inputs = noise(20, 50, 18)
    else:
        inputs = noise(20, 72, 50, depth)
    outputs = layer(inputs, training=True)
    if isinstance(inputs, dict):
        inputs, outputs = inputs["eeg"], outputs["eeg"]
    outputs = np.asarray(outputs)
    assert outputs.shape == inputs.shape
    assert outputs.dtype == np.float32
    assert np.isfinite(outputs).all()
    changed_samples = (outputs != inputs).any(axis=tuple(range(1, inputs.ndim)))
    assert 5 <= changed_samples.sum(), "most samples or about half of them"


def test_polarity_reversal_and_mirror():
    eeg = noise(200, 50, 19)
    np.testing.assert_array_equal(changed(Augmentation({"polarity": 1}), eeg), -eeg)
    np.testing.assert_array_equal(changed(Augmentation({"reverse": 1}), eeg), eeg[:, ::-1])
    signs = changed(Augmentation({"polarity": 0.3}), eeg) / eeg
    assert (signs == signs[:, :1, :1]).all(), "a sample is changed as a whole"
    assert 0.15 < (signs[:, 0, 0] < 0).mean() < 0.45
    alone = changed(Augmentation({"segment_only": 1}), eeg)  # 10 of 50 s
    np.testing.assert_array_equal(alone[:, 20:30], eeg[:, 20:30])
    assert not alone[:, :20].any()
    assert not alone[:, 30:].any()
    eeg = np.tile(np.arange(19, dtype=np.float32), (2, 5, 1))
    mirrored = changed(Augmentation({"mirror": 1}), eeg)[0, 0]
    for name, partner in (("Fp1", "Fp2"), ("T6", "T5"), ("Cz", "Cz")):
        assert mirrored[ELECTRODES.index(name)] == ELECTRODES.index(partner)
    bins = np.tile(np.arange(400, dtype=np.float32), (1, 3, 1))
    mirrored = changed(Augmentation({"mirror": 1}), bins, "spectrogram")[0, 0]
    np.testing.assert_array_equal(mirrored, np.r_[100:200, 0:100, 300:400, 200:300])


def test_band_removal_zeroes_both_ends_of_the_spectrum_of_some_samples():
    eeg = noise(200, 400, 19)  # frequencies are multiples of 0.5 Hz
    power = np.abs(np.fft.rfft(changed(Augmentation({"band_removal": 0.4}), eeg), axis=1))
    before = np.abs(np.fft.rfft(eeg, axis=1))
    kept = (power > 1e-3).all(axis=2)
    np.testing.assert_array_equal(kept, (power > 1e-3).any(axis=2))
    np.testing.assert_allclose(power[kept], before[kept], atol=1e-3)
    filtered = kept[~kept.all(axis=1)]
    assert 0.25 < len(filtered) / 200 < 0.55
    assert filtered[:, 4:21].all(), "2 to 10 Hz"
    assert not filtered[:, 41:].any(), "above 20 Hz"
    limits = [(np.flatnonzero(row)[0], np.flatnonzero(row)[-1]) for row in filtered]
    assert len(set(limits)) > 15
    assert all(row[low : high + 1].all() for row, (low, high) in zip(filtered, limits, strict=True))
    eeg[:, :100] = 0
    assert not changed(Augmentation({"band_removal": 1}), eeg)[:, :100].any()


def test_front_and_back_are_exchanged_as_if_the_electrodes_were():
    turned = {"Fp1": "O1", "Fp2": "O2", "F7": "T5", "F8": "T6", "F3": "P3", "F4": "P4", "Fz": "Pz"}
    turned |= {back: front for front, back in turned.items()}
    eeg = noise(50, 30, 19)
    source = [ELECTRODES.index(turned.get(name, name)) for name in ELECTRODES]
    montage = derivation_matrix(DOUBLE_BANANA)
    series, expected = eeg @ montage, eeg[..., source] @ montage
    changed = np.asarray(Augmentation({"front_back": 0.4}, channels=18)(series, training=True))
    coins = (changed != series).any(axis=(1, 2))
    np.testing.assert_allclose(changed[coins], expected[coins], atol=1e-4)
    assert 10 <= coins.sum() <= 30


def test_spectral_gain_is_smooth_in_frequency_and_the_same_for_all_derivations():
    series = noise(200, 2500, 18)  # 50 s at 50 Hz
    layer = Augmentation({"spectral_gain": 3.0}, channels=18)
    outputs = np.asarray(layer(series, training=True))
    gain = np.abs(np.fft.rfft(outputs[:, :, :3], axis=1) / np.fft.rfft(series[:, :, :3], axis=1))
    decibels = 20 * np.log10(gain[:, 1:-1])
    np.testing.assert_allclose(decibels, decibels[..., :1].repeat(3, axis=-1), atol=0.05)
    decibels, hertz = decibels[..., 0], np.arange(1, 1250) / 50
    octaves = decibels[:, np.searchsorted(hertz, (0.5, 1, 2, 4, 8, 16))]
    np.testing.assert_allclose(octaves.std(axis=0), 3, atol=0.6)
    np.testing.assert_allclose(np.corrcoef(octaves.T), np.eye(6), atol=0.3)
    between = decibels[:, np.searchsorted(hertz, 2 * 2**0.5)]
    np.testing.assert_allclose(between, octaves[:, 2:4].mean(axis=1), atol=0.1)
    series[:, :500] = 0
    assert not np.asarray(layer(series, training=True))[:, :500].any()


def test_stretch_moves_each_time_away_from_the_middle_by_its_own_factor():
    times = np.linspace(-25, 25, 1001, dtype=np.float32)
    series = np.tile(times[None, :, None], (60, 1, 18))
    layer = Augmentation({"stretch": 0.1}, channels=18)
    outputs = np.asarray(layer(series, training=True))
    factors = outputs[:, 600, 0] / times[600]  # a value that was at t * factor is at t
    np.testing.assert_allclose(
        outputs[:, 50:951], factors[:, None, None] * series[:, 50:951], atol=1e-3
    )
    exponents = np.log(factors)
    assert np.abs(exponents).max() <= 0.1
    assert exponents.min() < -0.07
    assert exponents.max() > 0.07
    squeezed = outputs[factors.argmax(), :, 0]
    assert not squeezed[[*range(10), *range(-10, 0)]].any(), "zero beyond the window"


def test_all_inputs_of_a_sample_are_mirrored_and_reversed_together():
    eeg, bins = noise(60, 40, 19), noise(60, 30, 400)
    layer = Augmentation({"mirror": 0.5, "reverse": 0.5}, seed=3)
    both = layer({"eeg": eeg, "spectrogram": bins}, training=True)
    both = {name: np.asarray(signal) for name, signal in both.items()}
    seen = set()
    for i in range(60):
        states = []
        for name, raw in (("eeg", eeg[i]), ("spectrogram", bins[i])):
            for mirrored in (False, True):
                for reversed_ in (False, True):
                    expected = raw[:, MIRROR[name]] if mirrored else raw
                    expected = expected[::-1] if reversed_ else expected
                    if np.array_equal(both[name][i], expected):
                        states.append((mirrored, reversed_))
        assert len(states) == 2
        assert states[0] == states[1]
        seen.add(states[0])
    assert len(seen) == 4


def test_derivations_are_shuffled_inside_their_hemisphere():
    layer = Augmentation({"channel_shuffle": 0.7}, channels=18)
    series = np.tile(np.arange(18, dtype=np.float32), (300, 5, 1))
    shuffled = np.asarray(layer(series, training=True))
    assert (shuffled == shuffled[:, :1]).all(), "one order for all times"
    orders = shuffled[:, 0].astype(int)
    np.testing.assert_array_equal(np.sort(orders, axis=1), series[:, 0])
    for side in (LEFT, RIGHT, MIDLINE):
        places = [DOUBLE_BANANA.index(name) for name in side]
        assert set(orders[:, places].ravel()) == set(places)
    assert 0.6 < (orders != np.arange(18)).any(axis=1).mean() < 0.8
    assert len(np.unique(orders, axis=0)) > 150


def test_a_derivation_of_an_image_keeps_its_rows_together():
    layer = Augmentation({"channel_shuffle": 1}, channels=16)
    image = np.tile(np.arange(160, dtype=np.float32)[None, :, None, None], (4, 1, 7, 1))
    rows = np.asarray(layer(image, training=True))[:, :, 0, 0].reshape(4, 16, 10)
    np.testing.assert_array_equal(rows % 10, np.broadcast_to(np.arange(10), rows.shape))
    assert (rows // 10 == rows[..., :1] // 10).all()
    assert not np.array_equal(rows[0, :, 0], rows[1, :, 0])


def test_the_gain_is_each_samples_own_and_within_its_range():
    eeg = noise(300, 20, 19)
    factors = changed(Augmentation({"gain": 0.7}), eeg) / eeg
    own = factors[:, :1, :1]
    np.testing.assert_allclose(factors, np.broadcast_to(own, factors.shape), rtol=1e-4)
    logs = np.log(own.ravel())
    assert np.abs(logs).max() <= 0.7
    assert logs.min() < -0.6
    assert logs.max() > 0.6


@pytest.mark.parametrize(
    ("shape", "channels", "axis"), [((500, 18), 18, 2), ((160, 30, 1), 16, 1), ((130, 30, 1), 4, 1)]
)
def test_channels_are_masked_as_a_whole(shape, channels, axis):
    layer = Augmentation({"channel_mask": 0.8}, channels=channels)
    kept = np.asarray(layer(np.ones((200, *shape), np.float32), training=True))
    others = tuple(i for i in range(1, kept.ndim) if i != axis)
    np.testing.assert_array_equal(kept.min(axis=others), kept.max(axis=others))
    rows = kept.max(axis=others)
    for place in np.array_split(np.arange(shape[axis - 1]), channels):
        inner = rows[:, place[1:-1]] if len(place) > 2 else rows[:, place]
        np.testing.assert_array_equal(inner.min(axis=1), inner.max(axis=1))
    # the mean of probabilities from 0 to 0.8; some samples lose much, some nothing
    assert 0.3 < 1 - rows.mean() < 0.5
    assert np.std(rows.mean(axis=1)) > 0.15


def test_a_time_mask_masks_time_and_a_frequency_mask_frequency():
    image = np.ones((64, 40, 50, 1), np.float32)
    for layer, axis, length in (
        (Augmentation({"time_mask": 0.4}), 2, 50),
        (Augmentation({"frequency_mask": 0.4}), 1, 40),
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
    masked = np.asarray(Augmentation({"time_mask": 0.5})(image[..., 0], training=True))
    assert (masked == masked[:, :, :1]).all(), "all derivations of a series"
    assert (masked == 0).any()


def test_a_translation_moves_in_time_only():
    image = np.zeros((64, 8, 50, 1), np.float32)
    image[:, 3, 25] = 1
    moved = np.asarray(Augmentation({"translation": 0.2})(image, training=True))[..., 0]
    _, rows, columns = np.nonzero(moved)
    assert set(rows) == {3}
    assert np.abs(columns - 25).max() <= 10
    assert len(set(columns)) > 5


def test_images_are_changed_in_single_precision_where_the_network_is_in_half():
    """As on a GPU: Keras' own layers would take the policy, and RandomErasing fails in it."""
    use_own_settings("mixed_float16")
    try:
        layer = Augmentation({"translation": 0.3, "cutout": 0.5}, dtype="float32")
        assert layer(tf.ones((2, 32, 32, 1)), training=True).dtype == tf.float32
    finally:
        use_own_settings()


def test_cutout_cuts_a_rectangle_with_sides_up_to_its_share():
    image = np.ones((64, 40, 50, 1), np.float32)
    cut = np.asarray(Augmentation({"cutout": 0.5})(image, training=True))[..., 0] == 0
    heights, widths = cut.any(axis=2).sum(axis=1), cut.any(axis=1).sum(axis=1)
    np.testing.assert_array_equal(cut.sum(axis=(1, 2)), heights * widths)
    assert 15 < heights.max() <= 21
    assert 18 < widths.max() <= 26
    assert len(set(heights)) > 5
