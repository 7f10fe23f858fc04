"""Spectrograms in the competition's grid, computed from a simulated session.

Kaggle's grid (steps of 200/1024 Hz from 0.59 to 19.92 Hz, a row every 2 s) is that of a
multitaper estimate on windows of 4 s that were padded to 1024 samples.

References
----------
Thomson (1982), Proc IEEE 70:1055, doi:10.1109/PROC.1982.12433: multitaper estimates.
"""

from functools import cache

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.signal.windows import dpss

from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_STEP
from hbac_utils.montage import CHAINS, derivation_matrix
from hbac_utils.synthetic.signal import MARGIN, SLOW_RATE

WINDOW = 4 * SLOW_RATE  # samples, centred on the row's two seconds
TAPERS = dpss(WINDOW, NW=2, Kmax=3)

_BIPOLAR = derivation_matrix([name for chain in CHAINS.values() for name in chain]).T


@cache
def _basis() -> np.ndarray:
    # cosines, then sines, of all tapers: power at exactly the grid's frequencies
    angle = 2 * np.pi * FREQUENCIES * np.arange(WINDOW)[:, None] / SLOW_RATE
    waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([taper[:, None] * waves for taper in TAPERS], axis=1).astype(np.float32)


def spectrogram(slow: np.ndarray) -> np.ndarray:
    """Estimate the power of the four chains.

    Parameters
    ----------
    slow : array of float32, shape (19, n), microvolts, 50 Hz
        With the canvas' margin at both ends.

    Returns
    -------
    array of float32, shape (n_rows, 400), µV²/Hz
        Columns in the order of ``SPECTROGRAM_COLUMNS``.
    """
    first, step = (MARGIN - 1) * SLOW_RATE, SPECTROGRAM_STEP * SLOW_RATE
    bipolar = _BIPOLAR @ slow[:, first : slow.shape[1] - first]
    power = np.zeros(
        (len(CHAINS), (bipolar.shape[1] - WINDOW) // step + 1, len(FREQUENCIES)), dtype=np.float32
    )
    for i, signal in enumerate(bipolar):
        windows = sliding_window_view(signal, WINDOW)[::step]
        parts = (windows @ _basis()) ** 2
        chain = i * len(CHAINS) // len(bipolar)
        power[chain] += parts.reshape(len(windows), -1, len(FREQUENCIES)).sum(axis=1)
    n_averaged = len(TAPERS) * len(bipolar) // len(CHAINS)
    power *= 2 / (SLOW_RATE * n_averaged)
    return power.transpose(1, 0, 2).reshape(power.shape[1], -1)
