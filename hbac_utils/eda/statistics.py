"""Statistics of a competition: tables in full, recordings in random samples."""

from collections.abc import Callable, Iterable

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
    test_table,
    votes_of,
    with_recording,
)
from hbac_utils.labels import CLASSES, N_CLASSES, RELIABLE_VOTES, vote_fractions
from hbac_utils.metric import both_scores
from hbac_utils.montage import CHAINS, DOUBLE_BANANA, LEFT, RIGHT, derivation_matrix
from hbac_utils.utils.errors import InputError, check_counts

BANDS = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0)}  # Hz


def overview(train: pd.DataFrame) -> pd.DataFrame:
    """Count windows, groups, recordings (to the end of the last window), patients and hours."""
    eeg = train.groupby("eeg_id")["eeg_label_offset_seconds"].max() + WINDOW_SECONDS
    last = train.groupby("spectrogram_id")["spectrogram_label_offset_seconds"].max()
    counts = {
        "labelled windows": len(train),
        f"windows with ≥ {RELIABLE_VOTES} votes": (
            votes_of(train).sum(axis=1) >= RELIABLE_VOTES
        ).sum(),
        "(EEG, vote vector) groups": len(one_per_vote_vector(train)),
        "EEGs": len(eeg),
        "spectrograms": len(last),
        "patients": train["patient_id"].nunique(),
        "hours of EEG": round(eeg.sum() / 3600),
        "hours of spectrogram": round((last + SPECTROGRAM_SECONDS).sum() / 3600),
    }
    return pd.Series(counts, name="count", dtype=np.int64).to_frame()


def recording_counts(train: pd.DataFrame) -> dict[str, np.ndarray]:
    """Count the windows of each EEG, shape (n_eegs,), and the EEGs of each patient."""
    return {
        "Windows per EEG": train["eeg_id"].value_counts().to_numpy(),
        "EEGs per patient": train.groupby("patient_id")["eeg_id"].nunique().to_numpy(),
    }


def agreement_table(train: pd.DataFrame) -> pd.DataFrame:
    """Count the (EEG, vote vector) groups by class (rows) and kind of agreement (columns)."""
    rows = one_per_vote_vector(train)
    table = pd.crosstab(rows["expert_consensus"], agreement(votes_of(rows)))
    table = table.reindex(index=CLASSES, columns=KINDS, fill_value=0)
    return table.rename_axis(index="most votes", columns=None)


def label_changes(train: pd.DataFrame) -> pd.DataFrame:
    """Count the EEGs by their number of different vote vectors.

    Columns: ``EEGs``, ``share``, and ``EEGs with several classes``, in which the class with most
    votes changes.
    """
    groups = one_per_vote_vector(train).groupby("eeg_id")["expert_consensus"]
    vectors, classes = groups.size(), groups.nunique()
    table = vectors.value_counts().sort_index().rename("EEGs").to_frame()
    table["share"] = (table["EEGs"] / len(vectors)).round(3)
    table["EEGs with several classes"] = (classes > 1).groupby(vectors).sum()
    return table.rename_axis("vote vectors per EEG")


def constant_scores(train: pd.DataFrame) -> dict[str, dict[str, float | None]]:
    """Score a uniform prediction and the best constant one, the scored windows' mean votes."""
    votes = votes_of(one_per_vote_vector(train))
    reliable = votes[votes.sum(axis=1) >= RELIABLE_VOTES]
    prior = both_scores(votes, vote_fractions(votes).mean(axis=0))
    if len(reliable):
        own = both_scores(reliable, vote_fractions(reliable).mean(axis=0))
        prior["kl_reliable"] = own["kl_reliable"]
    return {"uniform": both_scores(votes, np.full(N_CLASSES, 1 / N_CLASSES)), "prior": prior}


def overlap(competition: Competition) -> pd.DataFrame:
    """Count the identifiers in the training set, in the test set (0 without one), and in both."""
    train, test = competition.train, test_table(competition)
    counts = {}
    for column in ("eeg_id", "spectrogram_id", "patient_id"):
        if test is None or column in test:
            a, b = set(train[column]), set(() if test is None else test[column])
            counts[column] = {"train": len(a), "test": len(b), "both": len(a & b)}
    return pd.DataFrame.from_dict(counts, orient="index")


def missing_data(competition: Competition, files: int = 100, seed: int = 0) -> pd.DataFrame:
    """Summarise the missing values (NaN) of randomly sampled training recordings.

    One row for EEGs and one for spectrograms: the number of files; the files with gaps, an empty
    channel (column), empty rows; the missing share of all values.
    """
    check_counts(files=files, seed=seed)

    def summary(kind: str, path: Callable, read: Callable) -> dict[str, float]:
        ids = with_recording(competition, kind)[f"{kind}_id"].drop_duplicates()
        ids = ids.sample(min(files, len(ids)), random_state=seed)
        read_ids, gaps = _read_all(lambda i: _find_gaps(read(path("train", i))), ids)
        if not gaps:
            return {"files": 0}
        found, empty_channel, empty_rows, missing, size = np.sum(gaps, axis=0)
        return {
            "files": len(read_ids), "with gaps": found, "with an empty channel": empty_channel,
            "with empty rows": empty_rows, "share missing": round(missing / size, 4),
        }  # fmt: skip

    table = {
        "EEG": summary("eeg", competition.eeg_path, read_eeg),
        "spectrogram": summary("spectrogram", competition.spectrogram_path, read_spectrogram),
    }
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("recordings")


def _find_gaps(values: np.ndarray) -> tuple[int, ...]:
    missing = np.isnan(values)
    empty_channel, empty_rows = missing.all(axis=0).any(), missing.all(axis=1).any()
    return missing.any(), empty_channel, empty_rows, missing.sum(), missing.size


def mean_spectrograms(competition: Competition, per_class: int = 20, seed: int = 0) -> np.ndarray:
    """Average the natural logarithm of power of randomly sampled windows of each class.

    Returns shape (6, 4, 300, 100): classes × chains × rows of 2 s × `layout.FREQUENCIES`; NaN
    for a class without windows and for a competition without spectrograms.
    """
    means = np.full((N_CLASSES, SPECTROGRAM_ROWS, len(CHAINS) * len(FREQUENCIES)), np.nan)
    rows = sample_windows(with_recording(competition, "spectrogram"), per_class, seed)
    rows, power = _read_windows(read_window_spectrogram, competition, rows)
    if len(rows):
        power = np.ma.masked_invalid(power)
        for i, name in enumerate(CLASSES):
            of_class = power[rows["expert_consensus"] == name]
            means[i] = of_class.mean(axis=0, dtype=np.float64).filled(np.nan)
    means = means.reshape(N_CLASSES, SPECTROGRAM_ROWS, len(CHAINS), len(FREQUENCIES))
    return np.moveaxis(means, 2, 1)


def band_powers(competition: Competition, per_class: int = 20, seed: int = 0) -> pd.DataFrame:
    """Measure `band_power` of randomly sampled windows of each class.

    One row per window, with its class in the first column, ``consensus``.
    """
    rows = sample_windows(with_recording(competition, "eeg"), per_class, seed)
    rows, powers = _read_windows(lambda *row: band_power(read_window_eeg(*row)), competition, rows)
    table = pd.DataFrame(powers)
    table.insert(0, "consensus", rows["expert_consensus"])
    return table


def band_power(eeg: np.ndarray) -> dict[str, float]:
    """Measure band powers and asymmetry in the labelled 10 s of one window.

    ``eeg`` has shape (10000, 19), microvolts, 200 Hz. Returns for each band, such as ``delta
    0.5–4 Hz``, the mean power over the derivations of the double banana, dB re 1 µV²; and
    ``asymmetry``, power from 0.5 to 30 Hz on the right relative to the left, dB.
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


def _read_windows(
    read: Callable, competition: Competition, rows: pd.DataFrame
) -> tuple[pd.DataFrame, list]:
    """Call ``read(competition, row)`` for each row; return the readable rows and the results."""
    places, results = _read_all(lambda i: read(competition, rows.iloc[i]), range(len(rows)))
    return rows.iloc[places].reset_index(drop=True), results


def _read_all(read: Callable, items: Iterable) -> tuple[list, list]:
    """Call ``read`` for each item in threads; name and leave out what cannot be read."""

    def attempt(item):
        try:
            return item, read(item)
        except InputError as error:
            print(f"left out: {error}")
            return None

    # threads suffice: decoding and filtering release the interpreter lock
    found = Parallel(n_jobs=-1, prefer="threads")(delayed(attempt)(item) for item in items)
    found = [pair for pair in found if pair is not None]
    return [item for item, _ in found], [result for _, result in found]
