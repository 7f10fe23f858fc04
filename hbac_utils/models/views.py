"""Views: layers without weights that turn a raw window into the input of a backbone.

They are part of the model, so training and inference use the same code.
"""

import keras
import numpy as np
from keras import ops

from hbac_utils.data.layout import SAMPLING_RATE, WINDOW_SAMPLES
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, derivation_matrix

IMAGE_COLUMNS = 1000  # of a waveform: 50 s at 20 columns a second


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

    For the arguments see `hbac_utils.registry.EegSpectrogram`; both ends of the band are included.

    Input shape: ``(batch, 10000, 19)``, microvolts, referential.
    Output shape: ``(batch, 4 * bins, frames, 1)``; rows are LL, RL, LP, RP, each from low to
    high frequency.
    """

    MEAN, SCALE = 2.0, 3.0  # of ln µV²/Hz; scalp EEG lies within about ±2 of them

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
        self._kernel = self._fourier_kernel(n_frame)
        derivations = [name for chain in CHAINS.values() for name in chain]
        self._montage = derivation_matrix(derivations)

    def _fourier_kernel(self, n_frame: int) -> np.ndarray:
        """Cosines and sines under a Hann window, scaled to a one-sided density in µV²/Hz."""
        window = np.hanning(n_frame + 1)[:-1]
        window /= np.sqrt(SAMPLING_RATE * np.sum(window**2) / 2)
        times = np.arange(n_frame) / SAMPLING_RATE
        phase = 2 * np.pi * times[:, None] * np.linspace(*self.band, self.bins)
        waves = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) * window[:, None]
        return waves[:, None, :].astype(np.float32)

    def call(self, eeg):
        """Compute the image."""
        bipolar = ops.matmul(eeg[:, self._start : self._start + self._length], self._montage)
        series = ops.reshape(ops.transpose(bipolar, (0, 2, 1)), (-1, self._length, 1))
        waves = ops.conv(series, self._kernel, strides=self.hop, padding="valid")
        squares = ops.square(waves)
        power = squares[..., : self.bins] + squares[..., self.bins :]
        power = ops.reshape(power, (-1, len(CHAINS), 4, self.frames, self.bins))
        log = ops.log(ops.mean(power, axis=2) + 1e-4)
        image = ops.transpose(log, (0, 1, 3, 2))
        image = ops.reshape(image, (-1, len(CHAINS) * self.bins, self.frames, 1))
        return (image - self.MEAN) / self.SCALE


class WaveformView(keras.layers.Layer):
    """The bipolar EEG, logarithmically compressed.

    The signal is averaged to ``rate`` and each value x becomes sign(x)·ln(1 + |x|/scale):
    linear for small, logarithmic for large amplitudes.

    Layout ``series`` keeps time × derivation. ``image`` folds every 50 ms of a derivation of the
    four chains into rows, so that 16 derivations × 10 phases make 160 rows (at 200 Hz) and 50 s
    make 1,000 columns (as VIPEEGNet does, npj Digit. Med. 8:768, 2025).

    Input shape: ``(batch, 10000, 19)``, microvolts, referential.
    Output shape: ``(batch, 50 * rate, 18)``, or ``(batch, 16 * rate / 20, 1000, 1)`` as an image.
    """

    def __init__(self, rate=100, scale=50.0, layout="series", **kwargs):
        super().__init__(**kwargs)
        self.rate, self.scale, self.layout = rate, scale, layout
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
        size = ops.abs(bipolar) / self.scale
        signal = ops.sign(bipolar) * ops.log(1 + size)
        if self.layout == "series":
            return signal
        phases = signal.shape[1] // IMAGE_COLUMNS
        signal = ops.reshape(signal, (-1, IMAGE_COLUMNS, phases, signal.shape[-1]))
        rows = ops.transpose(signal, (0, 3, 2, 1))
        return ops.reshape(rows, (-1, rows.shape[1] * phases, IMAGE_COLUMNS, 1))
