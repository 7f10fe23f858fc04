"""Occlusion: predict a window again with one chain hidden for one second."""

import numpy as np

from hbac_utils.data.layout import SAMPLING_RATE, SEGMENT, SEGMENT_SECONDS
from hbac_utils.metric import floored_log
from hbac_utils.montage import CHAINS, ELECTRODES

PARTS = (*CHAINS, "midline")
"""Names of the parts of the montage that are hidden: four chains and the midline."""

RAMP = SAMPLING_RATE // 10  # samples over which a signal fades into its substitute


def _substitutes() -> list[np.ndarray]:
    """Matrices that replace the electrodes of each part by a mean of others: ``eeg @ matrix``."""
    row = {name: i for i, name in enumerate(ELECTRODES)}
    matrices = []
    for part in PARTS:
        matrix = np.eye(len(ELECTRODES), dtype=np.float32)
        if part == "midline":
            neighbours = {"Fz": ("F3", "F4"), "Cz": ("C3", "C4"), "Pz": ("P3", "P4")}
            weights = {name: dict.fromkeys(pair, 0.5) for name, pair in neighbours.items()}
        else:
            first, last = CHAINS[part][0].split("-")[0], CHAINS[part][-1].split("-")[1]
            inner = [derivation.split("-")[1] for derivation in CHAINS[part][:-1]]
            steps = (np.arange(len(inner)) + 1) / (len(inner) + 1)
            weights = {
                name: {first: 1 - step, last: step} for name, step in zip(inner, steps, strict=True)
            }
        for name, others in weights.items():
            matrix[:, row[name]] = 0
            for other, weight in others.items():
                matrix[row[other], row[name]] = weight
        matrices.append(matrix)
    return matrices


def occluded_windows(eeg: np.ndarray) -> np.ndarray:
    """Hide each part of the montage for each second of the labelled ten.

    A hidden chain's three inner electrodes are interpolated between its ends, the midline's
    between left and right: their derivations are then small and smooth, not zero, because the
    ends belong to other chains as well. Takes a window, shape (10000, 19), microvolts; returns
    shape (1 + 5 · 10, 10000, 19), same type: the window itself, then the seconds of each part.
    """
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(RAMP) + 0.5) / RAMP)
    gate = np.concatenate([ramp, np.ones(SAMPLING_RATE - RAMP), ramp[::-1]])[:, None]
    windows = [eeg]
    for matrix in _substitutes():
        change = eeg.astype(np.float32) @ matrix - eeg
        for second in range(SEGMENT_SECONDS):
            begin = SEGMENT.start + second * SAMPLING_RATE - RAMP // 2
            hidden, part = eeg.copy(), slice(begin, begin + len(gate))
            hidden[part] += (gate * change[part]).astype(eeg.dtype)
            windows.append(hidden)
    return np.stack(windows)


def importance(probabilities: np.ndarray) -> np.ndarray:
    """Decrease of the leading class's log probability by what was hidden, nats.

    Takes the predictions of `occluded_windows`, shape (51, 6); returns shape (5, 10), by part
    (`PARTS`) and second of the labelled ten. Positive where the prediction depends on what was
    hidden. See Zeiler and Fergus 2014, doi:10.1007/978-3-319-10590-1_53.
    """
    logs = floored_log(probabilities)
    leading = logs[0].argmax()
    return (logs[0, leading] - logs[1:, leading]).reshape(len(PARTS), SEGMENT_SECONDS)
