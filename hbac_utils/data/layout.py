"""Constants of the competition's data format: rates, lengths, frequencies, column names."""

from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import numpy as np

from hbac_utils.labels import VOTE_COLUMNS
from hbac_utils.montage import CHAINS

SLUG = "hms-harmful-brain-activity-classification"
KAGGLE_INPUT = Path("/kaggle/input")

SAMPLING_RATE = 200  # Hz
WINDOW_SECONDS = 50  # of EEG around the label
SEGMENT_SECONDS = 10  # the labelled centre of a window
WINDOW_SAMPLES = SAMPLING_RATE * WINDOW_SECONDS
SEGMENT = slice(  # samples of a window that are labelled
    (WINDOW_SECONDS - SEGMENT_SECONDS) * SAMPLING_RATE // 2,
    (WINDOW_SECONDS + SEGMENT_SECONDS) * SAMPLING_RATE // 2,
)
SPECTROGRAM_SECONDS = 600  # of spectrogram around the label
SPECTROGRAM_STEP = 2  # seconds between two rows
SPECTROGRAM_ROWS = SPECTROGRAM_SECONDS // SPECTROGRAM_STEP

FREQUENCIES = 0.5859375 + 0.1953125 * np.arange(100)  # Hz, exact in binary

TRAIN_COLUMNS = (
    "eeg_id", "eeg_sub_id", "eeg_label_offset_seconds",
    "spectrogram_id", "spectrogram_sub_id", "spectrogram_label_offset_seconds",
    "label_id", "patient_id", "expert_consensus", *VOTE_COLUMNS,
)  # fmt: skip
TEST_COLUMNS = ("spectrogram_id", "eeg_id", "patient_id")
OFFSETS = ("eeg_label_offset_seconds", "spectrogram_label_offset_seconds")
IDS = (
    "eeg_id", "eeg_sub_id", "spectrogram_id", "spectrogram_sub_id", "label_id", "patient_id",
)  # fmt: skip


def eeg_row(offset):
    """Convert ``eeg_label_offset_seconds``, one or many, to the window's first sample."""
    return np.asarray(offset * SAMPLING_RATE).astype(np.int64)


def spectrogram_row(offset):
    """Convert ``spectrogram_label_offset_seconds``, one or many, to the window's first row."""
    return np.asarray(offset // SPECTROGRAM_STEP).astype(np.int64)


def _frequency_name(frequency: float) -> str:
    # Kaggle rounds half up; round() would take 19.921875 and 4.1015625 half to even
    rounded = Decimal(frequency).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
    return f"{rounded.normalize():f}"


SPECTROGRAM_COLUMNS = tuple(
    f"{chain}_{_frequency_name(frequency)}" for chain in CHAINS for frequency in FREQUENCIES
)
"""The 400 power columns: chains LL, RL, LP, RP × 100 frequencies (``LL_0.59`` … ``RP_19.92``)."""
