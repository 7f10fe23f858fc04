"""Views: layers without weights that turn a raw window into the input of a backbone.

They are part of the model, so training and inference use the same code.
"""

import keras
import numpy as np
from keras import ops

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT_SECONDS, WINDOW_SAMPLES, WINDOW_SECONDS
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, PAIRED, derivation_matrix

IMAGE_COLUMNS = 1000  # of a waveform: 50 s at 20 columns a second
MEAN, SCALE = 2.0, 3.0  # of ln µV²/Hz in an image; scalp EEG lies within about ±2 of them
FLOOR = 1e-4  # µV²/Hz, added before the logarithm


def fourier_kernel(n_frame: int, frequencies: np.ndarray) -> np.ndarray:
    """Make the kernel of a convolution that computes the spectrum of a frame.

    Cosines and sines at the frequencies (Hz) under a periodic Hann window, scaled so that the sum
    of their squares is a one-sided power density in µV²/Hz. Returns float32, shape (n_frame, 1,
    2 * n): the cosines, then the sines.
    """
    window = np.hanning(n_frame + 1)[:-1]
    window /= np.sqrt(SAMPLING_RATE * np.sum(window**2) / 2)
    phase = 2 * np.pi * np.arange(n_frame)[:, None] / SAMPLING_RATE * frequencies
    waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) * window[:, None]
    return waves[:, None, :].astype(np.float32)


def power_density(series, kernel: np.ndarray, hop: int):
    """Compute the power density of frames, ``hop`` samples apart, with a `fourier_kernel`.

    From microvolts, (batch, time, 1), to µV²/Hz, (batch, frames, frequencies).
    """
    squares = ops.square(ops.conv(series, kernel, strides=hop, padding="valid"))
    n = kernel.shape[-1] // 2
    return squares[..., :n] + squares[..., n:]


class KaggleSpectrogramView(keras.layers.Layer):
    """The competition's 10-minute spectrogram as a standardised image.

    Log power is clipped, each image is standardised to mean 0 and standard deviation 1, and gaps
    become 0. Other sizes than the native 400 × 300 are made by bilinear resizing.

    Input shape: ``(batch, 300, 400)``, ln power, time × frequency, NaN in gaps.
    Output shape: ``(batch, height, width, 1)``, frequency × time.
    """

    def __init__(self, clip=(-4.0, 8.0), size=(400, 300), **kwargs):
        super().__init__(**kwargs)
        self.clip, self.size = tuple(clip), tuple(size)

    def call(self, spectrogram):
        """Compute the image."""
        image = ops.transpose(spectrogram, (0, 2, 1))
        present = ops.logical_not(ops.isnan(image))
        image = ops.clip(ops.where(present, image, 0.0), *self.clip)
        weight = ops.cast(present, image.dtype)
        count = ops.maximum(ops.sum(weight, axis=(1, 2), keepdims=True), 1.0)
        mean = ops.sum(image * weight, axis=(1, 2), keepdims=True) / count
        centred = (image - mean) * weight
        variance = ops.sum(ops.square(centred), axis=(1, 2), keepdims=True) / count
        image = ops.expand_dims(centred / (ops.sqrt(variance) + 1e-6), -1)
        return image if image.shape[1:3] == self.size else ops.image.resize(image, self.size)


class EegSpectrogramView(keras.layers.Layer):
    """Spectrograms of the four chains, computed from the EEG, one above the other.

    A Hann-windowed Fourier transform at the given frequencies only (a strided convolution with
    cosines and sines), power averaged over a chain's four derivations, logarithm. The
    normalisation is fixed, because the amplitude is informative.

    For the arguments see `hbac_utils.parts.EegSpectrogram`; both ends of the band are included.

    Input shape: ``(batch, 10000, 19)``, microvolts, referential.
    Output shape: ``(batch, 4 * bins, frames, 1)``; rows are LL, RL, LP, RP, each from low to
    high frequency.
    """

    def __init__(self, seconds=50.0, frame=2.0, frames=256, bins=32, band=(0.5, 20.0), **kwargs):
        super().__init__(**kwargs)
        self.seconds, self.frame, self.frames = seconds, frame, frames
        self.bins, self.band = bins, tuple(band)
        n_frame = round(frame * SAMPLING_RATE)
        self.hop = max((round(seconds * SAMPLING_RATE) - n_frame) // max(frames - 1, 1), 1)
        length = n_frame + (frames - 1) * self.hop
        if length > round(seconds * SAMPLING_RATE):
            raise ValueError(f"{frames} frames of {frame} s do not fit into {seconds} s")
        self._start = (WINDOW_SAMPLES - length) // 2
        self._length = length
        self._kernel = fourier_kernel(n_frame, np.linspace(*self.band, self.bins))
        derivations = [name for chain in CHAINS.values() for name in chain]
        self._montage = derivation_matrix(derivations)

    def call(self, eeg):
        """Compute the image."""
        bipolar = ops.matmul(eeg[:, self._start : self._start + self._length], self._montage)
        series = ops.reshape(ops.transpose(bipolar, (0, 2, 1)), (-1, self._length, 1))
        power = power_density(series, self._kernel, self.hop)
        power = ops.reshape(power, (-1, len(CHAINS), 4, self.frames, self.bins))
        log = ops.log(ops.mean(power, axis=2) + FLOOR)
        image = ops.transpose(log, (0, 1, 3, 2))
        image = ops.reshape(image, (-1, len(CHAINS) * self.bins, self.frames, 1))
        return (image - MEAN) / SCALE


class MultiSpectrogramView(keras.layers.Layer):
    """Spectrograms of several durations around the label's centre, side by side in one image.

    Each is an `EegSpectrogramView` with as many frames and the same rows, after the competition's
    7th place. A shorter duration has shorter frames: with the same ones it would show what the
    longer one shows, only wider.

    For the arguments see `hbac_utils.parts.MultiSpectrogram`.

    Input shape: ``(batch, 10000, 19)``, microvolts, referential.
    Output shape: ``(batch, 4 * bins, durations * frames, 1)``.
    """

    def __init__(
        self, seconds=(50, 30, 10), frame=(2, 1.5, 1), frames=128, bins=32, band=(0.5, 20.0),
        **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.parts = [
            EegSpectrogramView(*part, frames, bins, band, dtype=self.dtype_policy)
            for part in zip(seconds, frame, strict=True)
        ]

    def call(self, eeg):
        """Compute the image."""
        return ops.concatenate([part(eeg) for part in self.parts], axis=2)


class MelSpectrogramView(keras.layers.Layer):
    """Mel spectrogram of every derivation, its central fifth replaced by a zoom on the centre.

    As in the best image model of the competition's 3rd place (their configuration 5a): Hann windows
    at FFT frequencies (of 512 samples, 2,048 in the zoom), powers summed over triangles on the HTK
    mel scale, logarithm. Both parts are extended by reflection, so a column's time is the middle
    of its frame. The zoom is that of the central part of the EEG alone.

    Channels are the log power, the same minus the mean of the 15 other derivations, and minus the
    mean of the two derivations that share an electrode with it.

    Theirs is in decibels below the largest of a batch, without constants. Here triangles sum to
    one and windows have unit power, so values are a density (µV²/Hz) of the same scale in both
    parts. ``global`` scaling is fixed, because the amplitude is informative: (ln power − 2) / 3,
    differences / 3. ``sample`` standardises each channel of an image to mean 0 and standard
    deviation 1.

    For the arguments see `hbac_utils.parts.MelSpectrogram`.

    Input shape: ``(batch, 10000, 19)``, microvolts, referential.
    Output shape: ``(batch, 16 * bins, columns, 3)``, by default 1024 × 852; rows are the
    derivations in left–right pairs (`hbac_utils.montage.PAIRED`), each from low to high frequency.
    """

    def __init__(
        self, bins=64, band=(0.53, 30.0), frame=0.64, step=0.16,
        zoom=12.0, zoom_frame=0.08, zoom_step=0.02, scaling="global", **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.bins, self.band, self.scaling = bins, tuple(band), scaling
        self._montage = derivation_matrix(PAIRED)
        self._whole = self._part(frame, step, 512)
        self._zoom = self._part(zoom_frame, zoom_step, 2048)
        self._margin = (WINDOW_SAMPLES - round(zoom * SAMPLING_RATE)) // 2
        same = np.eye(len(PAIRED))
        others = (1 - same) / (len(PAIRED) - 1)
        electrodes = np.abs(self._montage)
        neighbours = (electrodes.T @ electrodes == 1) / 2
        self._channels = np.stack([same, same - others, same - neighbours]).astype(np.float32)

    def _part(self, frame: float, step: float, n_fft: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Make the Fourier kernel and the mel weights, (frequencies, bins), and the hop."""
        # its spectrogram is several times slower on a CPU than a convolution without the
        # frequencies above the band
        mel = keras.layers.MelSpectrogram(n_fft, dtype="float32")
        weights = mel.linear_to_mel_weight_matrix(
            self.bins, n_fft // 2 + 1, SAMPLING_RATE, *self.band
        )
        weights = ops.convert_to_numpy(weights)
        weights = weights[: np.flatnonzero(weights.any(axis=1))[-1] + 1]
        frequencies = np.arange(len(weights)) * SAMPLING_RATE / n_fft
        kernel = fourier_kernel(round(frame * SAMPLING_RATE), frequencies)
        return kernel, weights / weights.sum(axis=0), round(step * SAMPLING_RATE)

    def _log_power(self, series, part: tuple[np.ndarray, np.ndarray, int]):
        kernel, weights, hop = part
        half = len(kernel) // 2
        series = ops.pad(series, [[0, 0], [half, half], [0, 0]], "reflect")
        return ops.log(ops.matmul(power_density(series, kernel, hop), weights) + FLOOR)

    def call(self, eeg):
        """Compute the image."""
        bipolar = ops.transpose(ops.matmul(eeg, self._montage), (0, 2, 1))
        series = ops.reshape(bipolar, (-1, WINDOW_SAMPLES, 1))
        whole = self._log_power(series, self._whole)
        zoom = self._log_power(series[:, self._margin : WINDOW_SAMPLES - self._margin], self._zoom)
        columns = whole.shape[1]
        middle, half = columns // 2, columns * SEGMENT_SECONDS // WINDOW_SECONDS // 2
        log = ops.concatenate([whole[:, : middle - half], zoom, whole[:, middle + half :]], axis=1)
        log = ops.reshape((log - MEAN) / SCALE, (-1, len(PAIRED), *log.shape[1:]))
        image = ops.einsum("cde,betm->bdmtc", self._channels, log)
        image = ops.reshape(image, (-1, len(PAIRED) * self.bins, log.shape[2], 3))
        if self.scaling == "sample":
            image = image - ops.mean(image, axis=(1, 2), keepdims=True)
            image = image / (ops.std(image, axis=(1, 2), keepdims=True) + 1e-6)
        return image


class WaveformView(keras.layers.Layer):
    """The bipolar EEG, logarithmically compressed or clipped.

    The signal is averaged to ``rate``. With ``amplitude: log`` each value x becomes
    sign(x)·ln(1 + |x|/scale): linear for small, logarithmic for large amplitudes. ``linear`` is
    x/scale, clipped to ±1.

    Layout ``series`` keeps time × derivation. ``image`` folds every 50 ms of a derivation of the
    four chains into rows, so that 16 derivations × 10 phases make 160 rows (at 200 Hz) and 50 s
    make 1,000 columns, as VIPEEGNet does (npj Digit. Med. 8:768, 2025). Its image is that of
    ``rate`` 200, ``amplitude: linear`` and ``scale`` 1,024 µV with ``resampling: learned``; values
    are then 1/127.5 of its gray values from 0 to 255, minus 1. Derivations are chain by chain (LL,
    RL, LP, RP); the sources at hand do not give its own order.

    Input shape: ``(batch, 10000, 19)``, microvolts, referential.
    Output shape: ``(batch, 50 * rate, 18)``, or ``(batch, 16 * rate / 20, 1000, 1)`` as an image.
    """

    def __init__(self, rate=100, scale=50.0, layout="series", amplitude="log", **kwargs):
        super().__init__(**kwargs)
        self.rate, self.scale, self.layout, self.amplitude = rate, scale, layout, amplitude
        self.factor = SAMPLING_RATE // rate
        derivations = DOUBLE_BANANA if layout == "series" else DOUBLE_BANANA[:16]
        # averaging neighbours and taking derivations are one product of matrices
        montage = derivation_matrix(derivations) / self.factor
        self._kernel = np.tile(montage, (self.factor, 1))

    def call(self, eeg):
        """Compute the series or the image."""
        # in two dimensions: a product of every window with the matrix is slower
        rows, derivations = self._kernel.shape
        bipolar = ops.matmul(ops.reshape(eeg, (-1, rows)), self._kernel)
        bipolar = ops.reshape(bipolar, (-1, eeg.shape[1] // self.factor, derivations))
        if self.amplitude == "linear":
            signal = ops.clip(bipolar / self.scale, -1.0, 1.0)
        else:
            signal = ops.sign(bipolar) * ops.log(1 + ops.abs(bipolar) / self.scale)
        if self.layout == "series":
            return signal
        phases = signal.shape[1] // IMAGE_COLUMNS
        signal = ops.reshape(signal, (-1, IMAGE_COLUMNS, phases, signal.shape[-1]))
        rows = ops.transpose(signal, (0, 3, 2, 1))
        return ops.reshape(rows, (-1, rows.shape[1] * phases, IMAGE_COLUMNS, 1))
