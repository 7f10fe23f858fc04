"""Statistics of a competition: tables in full, recordings in random samples."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.signal import welch

from hbac_utils.data.competition import Competition
from hbac_utils.data.layout import (
    FREQUENCIES,
    SAMPLING_RATE,
    SEGMENT_SECONDS,
    SPECTROGRAM_ROWS,
    SPECTROGRAM_SECONDS,
    WINDOW_SECONDS,
)
from hbac_utils.data.readers import read_eeg, read_spectrogram
from hbac_utils.data.splits import KINDS, agreement
from hbac_utils.eda.examples import (
    one_per_vote_vector,
    read_window_eeg,
    read_window_spectrogram,
    sample_windows,
    votes_of,
)
from hbac_utils.labels import CLASSES, N_CLASSES, RELIABLE_VOTES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import both_scores
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, LEFT, RIGHT, derivation_matrix

BANDS = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0)}
"""Frequency bands, Hz."""


def overview(train: pd.DataFrame) -> pd.DataFrame:
    """Count windows, groups, recordings, patients and hours of ``train.csv``.

    The duration of a recording is the end of its last window.
    """
    eeg = train.groupby("eeg_id")["eeg_label_offset_seconds"].max() + WINDOW_SECONDS
    last = train.groupby("spectrogram_id")["spectrogram_label_offset_seconds"].max()
    counts = {
        "labelled windows": len(train),
        f"windows with ≥ {RELIABLE_VOTES} votes": (total_votes(train) >= RELIABLE_VOTES).sum(),
        "(EEG, vote vector) groups": len(one_per_vote_vector(train)),
        "EEGs": len(eeg),
        "spectrograms": len(last),
        "patients": train["patient_id"].nunique(),
        "hours of EEG": round(eeg.sum() / 3600),
        "hours of spectrogram": round((last + SPECTROGRAM_SECONDS).sum() / 3600),
    }
    return pd.Series(counts, name="count", dtype=np.int64).to_frame()


def total_votes(train: pd.DataFrame) -> pd.Series:
    """Return the number of votes of each window."""
    return train[list(VOTE_COLUMNS)].sum(axis=1)


def windows_per_eeg(train: pd.DataFrame) -> np.ndarray:
    """Return the number of windows of each EEG, shape (n_eegs,)."""
    return train["eeg_id"].value_counts().to_numpy()


def eegs_per_patient(train: pd.DataFrame) -> np.ndarray:
    """Return the number of EEGs of each patient, shape (n_patients,)."""
    return train.groupby("patient_id")["eeg_id"].nunique().to_numpy()


def agreement_table(train: pd.DataFrame) -> pd.DataFrame:
    """Count the (EEG, vote vector) groups by class (rows) and kind of agreement (columns)."""
    rows = one_per_vote_vector(train)
    table = pd.crosstab(rows["expert_consensus"], agreement(votes_of(rows)))
    table = table.reindex(index=CLASSES, columns=KINDS, fill_value=0)
    return table.rename_axis(index="most votes", columns=None)


def label_changes(train: pd.DataFrame) -> pd.DataFrame:
    """Count the EEGs, and those whose class changes, by their number of vote vectors."""
    groups = one_per_vote_vector(train).groupby("eeg_id")["expert_consensus"]
    vectors, classes = groups.size(), groups.nunique()
    table = vectors.value_counts().sort_index().rename("EEGs").to_frame()
    table["share"] = (table["EEGs"] / len(vectors)).round(3)
    table["EEGs with several classes"] = (classes > 1).groupby(vectors).sum()
    return table.rename_axis("vote vectors per EEG")


def constant_scores(train: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Score two constant predictions, ``uniform`` and ``prior``, as of `metric.both_scores`.

    The prior is the mean vote fractions of the scored windows: the best constant prediction.
    """
    votes = votes_of(one_per_vote_vector(train))
    reliable = votes[votes.sum(axis=1) >= RELIABLE_VOTES]
    prior = both_scores(votes, vote_fractions(votes).mean(axis=0))
    if len(reliable):
        own = both_scores(reliable, vote_fractions(reliable).mean(axis=0))
        prior["kl_reliable"] = own["kl_reliable"]
    return {"uniform": both_scores(votes, np.full(N_CLASSES, 1 / N_CLASSES)), "prior": prior}


def overlap(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Count the identifiers in the training set, in the test set, and in both."""
    columns = [c for c in ("eeg_id", "spectrogram_id", "patient_id") if c in test]
    ids = {column: (set(train[column]), set(test[column])) for column in columns}
    counts = [(len(a), len(b), len(a & b)) for a, b in ids.values()]
    return pd.DataFrame(counts, index=columns, columns=["train", "test", "both"])


def missing_data(competition: Competition, files: int = 100, seed: int = 0) -> pd.DataFrame:
    """Count the files with missing values (NaN), empty channels and empty rows in a sample."""
    kinds: dict[str, tuple[str, Callable, Callable]] = {
        "EEG": ("eeg_id", competition.eeg_path, read_eeg)
    }
    if competition.has_spectrograms("train"):
        kinds["spectrogram"] = "spectrogram_id", competition.spectrogram_path, read_spectrogram
    table = {}
    for kind, (column, path, read) in kinds.items():
        ids = pd.Series(competition.train[column].unique())
        ids = ids.sample(min(files, len(ids)), random_state=seed)
        gaps = pd.DataFrame(_parallel(_count_gaps, ((read, path("train", i)) for i in ids)))
        table[kind] = {
            "files": len(gaps),
            "with gaps": (gaps["missing"] > 0).sum(),
            "with an empty channel": gaps["empty_channel"].sum(),
            "with empty rows": gaps["empty_rows"].sum(),
            "share missing": (gaps["missing"].sum() / gaps["size"].sum()).round(4),
        }
    return pd.DataFrame(table.values(), index=pd.Index(table, name="recordings"))


def _count_gaps(read: Callable, path: Path) -> dict[str, float]:
    missing = np.isnan(read(path))
    return {
        "missing": missing.sum(),
        "size": missing.size,
        "empty_channel": missing.all(axis=0).any(),
        "empty_rows": missing.all(axis=1).any(),
    }


def mean_spectrograms(competition: Competition, per_class: int = 20, seed: int = 0) -> np.ndarray:
    """Average the log power of randomly sampled windows of each class.

    Returns
    -------
    array of float64, shape (6, 4, 300, 100), natural logarithm of power
        Classes × chains × rows of 2 s × `layout.FREQUENCIES`; NaN for a class without windows
        and for a competition without spectrograms.
    """
    means = np.full((N_CLASSES, SPECTROGRAM_ROWS, len(CHAINS) * len(FREQUENCIES)), np.nan)
    if competition.has_spectrograms("train"):
        rows = sample_windows(competition.train, per_class, seed)
        power = np.ma.masked_invalid(_map_rows(read_window_spectrogram, competition, rows))
        for i, name in enumerate(CLASSES):
            of_class = power[rows["expert_consensus"] == name]
            means[i] = of_class.mean(axis=0, dtype=np.float64).filled(np.nan)
    means = means.reshape(N_CLASSES, SPECTROGRAM_ROWS, len(CHAINS), len(FREQUENCIES))
    return np.moveaxis(means, 2, 1)


def band_powers(competition: Competition, per_class: int = 20, seed: int = 0) -> pd.DataFrame:
    """Measure `band_power` of sampled windows of each class, one row per window."""
    rows = sample_windows(competition.train, per_class, seed)
    powers = pd.DataFrame(_map_rows(_row_band_power, competition, rows))
    return rows[["expert_consensus"]].set_axis(["consensus"], axis=1).join(powers)


def _row_band_power(competition: Competition, row: pd.Series) -> dict[str, float]:
    return band_power(read_window_eeg(competition, row))


def band_power(eeg: np.ndarray) -> dict[str, float]:
    """Measure band powers and asymmetry in the labelled 10 s of one window.

    Parameters
    ----------
    eeg : array, shape (10000, 19), microvolts, 200 Hz

    Returns
    -------
    dict of float
        For each band, such as ``delta 0.5–4 Hz``, the mean power over the derivations of the
        double banana, dB re 1 µV²; ``asymmetry``: power from 0.5 to 30 Hz on the right relative
        to the left, dB.
    """
    margin = (WINDOW_SECONDS - SEGMENT_SECONDS) * SAMPLING_RATE // 2
    segment = np.nan_to_num(eeg[margin : len(eeg) - margin]) @ derivation_matrix(DOUBLE_BANANA)
    # segments of 2 s resolve 0.5 Hz, the lower end of the delta band
    frequencies, density = welch(segment, SAMPLING_RATE, nperseg=2 * SAMPLING_RATE, axis=0)
    step = frequencies[1] - frequencies[0]
    power = {}
    for name, (low, high) in BANDS.items():
        inside = (frequencies >= low) & (frequencies < high)
        power[f"{name} {low:g}–{high:g} Hz"] = density[inside].sum(axis=0) * step
    total = np.sum(list(power.values()), axis=0)
    left, right = (total[[name in side for name in DOUBLE_BANANA]].mean() for side in (LEFT, RIGHT))
    levels = {name: _decibels(values.mean()) for name, values in power.items()}
    return {**levels, "asymmetry": _decibels(right) - _decibels(left)}


def _decibels(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-6)))


def _map_rows(measure: Callable, competition: Competition, rows: pd.DataFrame) -> list:
    return _parallel(measure, ((competition, row) for _, row in rows.iterrows()))


def _parallel(function: Callable, arguments: Iterable[tuple]) -> list:
    # threads suffice: decoding and filtering release the interpreter lock
    return Parallel(n_jobs=-1, prefer="threads")(delayed(function)(*args) for args in arguments)
