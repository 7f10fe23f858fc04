"""Compare simulated EEG with real EEG, feature by feature and page by page.

    python benchmarks/realism.py --real <folder> --synthetic <folder> --out <folder>
    python benchmarks/realism.py --synthetic <folder> --out <folder>

Both folders are competitions; one without ``train.csv`` needs ``solution_votes.csv`` with its test
EEGs. Classes are compared in equal shares. Writes ``simulated.png``, a page of each class with the
highest agreement of experts; with real recordings also ``real.png`` and ``realism.csv``, a table
that is printed.
"""

import argparse
from pathlib import Path

import joblib
import matplotlib as mpl
import numpy as np
import pandas as pd
from scipy import signal, stats

from hbac_utils.data.competition import open_competition
from hbac_utils.data.layout import SAMPLING_RATE, WINDOW_SAMPLES
from hbac_utils.data.readers import read_eeg
from hbac_utils.labels import CLASSES, VOTE_COLUMNS, consensus, vote_fractions
from hbac_utils.montage import CHANNELS, DOUBLE_BANANA, derivation_matrix, mirror_permutation

mpl.use("Agg")
import matplotlib.pyplot as plt

BANDS = {"delta": (0.5, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 55)}
WINDOWS = 600  # simulated windows that are compared
PAGE_SECONDS = (15, 30)  # of the window's 50 s
DRAWS = 20  # samples of the size of the real set

BIPOLAR = derivation_matrix(DOUBLE_BANANA)
MIRROR = mirror_permutation(DOUBLE_BANANA)
PASS = signal.butter(2, (0.5, 70), "bandpass", fs=SAMPLING_RATE, output="sos")
DISPLAY = signal.butter(2, (0.5, 40), "bandpass", fs=SAMPLING_RATE, output="sos")


def list_windows(folder: Path) -> pd.DataFrame:
    """List one window per EEG: path, first sample, consensus, and its share of the votes."""
    competition = open_competition(folder)
    votes = folder / "solution_votes.csv"
    if votes.is_file():
        table, split = pd.read_csv(votes), "test"
        begin = np.zeros(len(table), dtype=np.int64)
    else:
        table, split = competition.train.drop_duplicates("eeg_id"), "train"
        begin = SAMPLING_RATE * table["eeg_label_offset_seconds"].to_numpy(dtype=np.int64)
    return pd.DataFrame(
        {
            "path": [competition.eeg_path(split, i) for i in table["eeg_id"]],
            "begin": begin,
            "consensus": consensus(table[list(VOTE_COLUMNS)].to_numpy()),
            "agreement": vote_fractions(table[list(VOTE_COLUMNS)].to_numpy()).max(axis=1),
        }
    )


def in_equal_shares(synthetic: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Draw simulated windows with the class shares of the real ones."""
    rng = np.random.default_rng(0)
    shares = real["consensus"].value_counts(normalize=True)
    drawn = []
    for name, share in shares.items():
        of_class = synthetic[synthetic["consensus"] == name]
        count = min(round(share * WINDOWS), len(of_class))
        drawn.append(of_class.iloc[rng.permutation(len(of_class))[:count]])
    return pd.concat(drawn)


def read_window(path: Path, begin: int) -> np.ndarray:
    """Read a window, shape (10000, 20), microvolts, NaN replaced by zero."""
    return np.nan_to_num(read_eeg(path, CHANNELS)[begin : begin + WINDOW_SAMPLES])


def features(path: Path, begin: int) -> dict[str, float]:
    """Features of a window, most of them medians over the 18 derivations."""
    window = read_window(path, begin).astype(np.float64)
    bipolar = signal.sosfiltfilt(PASS, window[:, :-1] @ BIPOLAR, axis=0)
    return {
        "offset, largest (µV)": np.abs(window[:, :-1].mean(axis=0)).max(),
        "referential std (µV, log10)": _log(np.median(window[:, :-1].std(axis=0))),
        "EKG std (µV, log10)": _log(window[:, -1].std()),
        **_amplitudes(bipolar),
        **_spectrum(bipolar),
        **_shape(bipolar),
        **_space(bipolar),
        **_rhythm(bipolar),
    }


def _log(value) -> float:
    return float(np.log10(np.maximum(value, 1e-3)))


def _amplitudes(bipolar: np.ndarray) -> dict[str, float]:
    spread = bipolar.std(axis=0)
    frames = bipolar.reshape(-1, SAMPLING_RATE, bipolar.shape[1]).std(axis=1)
    absolute = np.abs(bipolar)
    return {
        "std, median derivation (µV, log10)": _log(np.median(spread)),
        "std, smallest derivation (µV, log10)": _log(spread.min()),
        "std, largest derivation (µV, log10)": _log(spread.max()),
        "95th percentile (µV, log10)": _log(np.median(np.percentile(absolute, 95, axis=0))),
        "99.9th over 50th percentile (log10)": _log(
            np.median(np.percentile(absolute, 99.9, axis=0))
            / max(np.median(np.percentile(absolute, 50, axis=0)), 1e-3)
        ),
        "seconds below 5 µV (share)": float((np.median(frames, axis=1) < 5).mean()),
        "change of std between seconds (log)": float(np.median(np.log(frames + 1e-3).std(axis=0))),
    }


def _spectrum(bipolar: np.ndarray) -> dict[str, float]:
    f, density = signal.welch(bipolar, SAMPLING_RATE, nperseg=4 * SAMPLING_RATE, axis=0)
    density = np.median(density, axis=1)
    inside = (f >= 0.5) & (f < 55)
    total = density[inside].sum()
    bands = {
        f"{name} (share of power)": float(density[(f >= low) & (f < high)].sum() / total)
        for name, (low, high) in BANDS.items()
    }
    fit = (f >= 2) & (f <= 40)
    cumulative = np.cumsum(density[inside]) / total
    peaked = density * f  # flattened, so that a rhythm and not the slope has the peak
    low = (f >= 0.75) & (f <= 20)
    return bands | {
        "slope, 2 to 40 Hz (dB/dB)": np.polyfit(np.log(f[fit]), np.log(density[fit] + 1e-9), 1)[0],
        "peak frequency (Hz)": float(f[low][np.argmax(peaked[low])]),
        "spectral edge, 95 % (Hz)": float(f[inside][np.searchsorted(cumulative, 0.95)]),
        "line noise (log10 of 60 Hz over 50 Hz)": _log(
            density[(f > 59) & (f < 61)].max() / max(density[(f > 48) & (f < 53)].mean(), 1e-9)
        ),
    }


def _shape(bipolar: np.ndarray) -> dict[str, float]:
    first, second = np.diff(bipolar, axis=0), np.diff(bipolar, 2, axis=0)
    spread = [x.std(axis=0) + 1e-9 for x in (bipolar, first, second)]
    mobility = spread[1] / spread[0]
    return {
        "kurtosis (log10 of excess + 2)": _log(np.median(stats.kurtosis(bipolar, axis=0)) + 2),
        "skewness, absolute": float(np.median(np.abs(stats.skew(bipolar, axis=0)))),
        "mobility": float(np.median(mobility)),
        "complexity": float(np.median(spread[2] / spread[1] / mobility)),
    }


def _space(bipolar: np.ndarray) -> dict[str, float]:
    spread = bipolar.std(axis=0) + 1e-9
    correlation = np.corrcoef(bipolar.T + 1e-9 * np.arange(bipolar.shape[0]))
    pairs = np.flatnonzero(np.arange(len(MIRROR)) < MIRROR)
    return {
        "left–right correlation": float(np.median(correlation[pairs, MIRROR[pairs]])),
        "left–right asymmetry (log10)": float(
            np.median(np.abs(np.log10(spread[pairs] / spread[MIRROR[pairs]])))
        ),
        "correlation of neighbours": float(np.median(np.diag(correlation, 1))),
        "mean absolute correlation": float(np.abs(correlation[np.triu_indices(18, 1)]).mean()),
        "std, largest over median derivation (log10)": _log(spread.max() / np.median(spread)),
    }


def _rhythm(bipolar: np.ndarray) -> dict[str, float]:
    centre = signal.decimate(bipolar[3000:7000], 4, axis=0)  # 20 s at 50 Hz
    centre = centre - centre.mean(axis=0)
    spectrum = np.abs(np.fft.rfft(centre, 2 * len(centre), axis=0)) ** 2
    own = np.fft.irfft(spectrum, axis=0)[: len(centre)]
    own = own / (own[0] + 1e-9)
    lags = slice(12, 125)  # 0.24 to 2.5 s
    best = np.argmax(own[lags].max(axis=0))
    return {
        "autocorrelation peak": float(own[lags, best].max()),
        "its lag (s)": float((lags.start + np.argmax(own[lags, best])) / 50),
        "autocorrelation peak, median": float(np.median(own[lags].max(axis=0))),
    }


def measure(windows: pd.DataFrame) -> pd.DataFrame:
    """Compute the features of many windows, a row each."""
    rows = joblib.Parallel(n_jobs=2)(
        joblib.delayed(features)(path, begin)
        for path, begin in zip(windows["path"], windows["begin"], strict=True)
    )
    return pd.DataFrame(rows)


def compare(real: pd.DataFrame, synthetic: pd.DataFrame) -> pd.DataFrame:
    """Compare features: medians, their difference over the real IQR, KS distance and p value."""
    rows = {}
    for name in real:
        a, b = real[name], synthetic[name]
        spread = max(np.subtract(*np.percentile(a, (75, 25))), 1e-6)
        test = stats.ks_2samp(a, b)
        rows[name] = {
            "real": a.median(), "simulated": b.median(),
            "difference / IQR": (b.median() - a.median()) / spread,
            "KS": test.statistic, "p": test.pvalue,
        }  # fmt: skip
    return pd.DataFrame(rows).T.sort_values("KS", ascending=False)


def distance_by_chance(synthetic: pd.DataFrame, n: int) -> float:
    """Mean KS distance of ``n`` simulated windows from the others, that is by chance."""
    rng, means = np.random.default_rng(0), []
    for _ in range(DRAWS):
        order = rng.permutation(len(synthetic))
        some, others = synthetic.iloc[order[:n]], synthetic.iloc[order[n:]]
        means.append(np.mean([stats.ks_2samp(some[f], others[f]).statistic for f in synthetic]))
    return float(np.median(means))


def draw(windows: pd.DataFrame, path: Path) -> None:
    """Draw a page of each class, with the highest agreement of experts, double-banana montage."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 11))
    for axis, name in zip(axes.ravel(), CLASSES, strict=True):
        of_class = windows[windows["consensus"] == name]
        window = of_class.sort_values("agreement", ascending=False, kind="stable").iloc[0]
        _draw_page(axis, window)
        axis.set_title(f"{name}: {window.agreement:.0%} of the votes", fontsize=11)
        axis.set_yticks([-i - 0.7 * (i // 4) for i in range(18)], DOUBLE_BANANA, fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _draw_page(axis: plt.Axes, window) -> None:
    eeg = read_window(window.path, window.begin)[:, :-1]
    bipolar = signal.sosfiltfilt(DISPLAY, eeg @ BIPOLAR, axis=0)
    piece = slice(*(SAMPLING_RATE * t for t in PAGE_SECONDS))
    times = np.arange(piece.start, piece.stop) / SAMPLING_RATE
    gain = max(40.0, 6 * float(np.median(np.abs(bipolar).mean(axis=0))))  # µV between traces
    for i, trace in enumerate(bipolar[piece].T):
        place = -i - 0.7 * (i // 4)
        axis.plot(times, place + np.clip(trace / gain, -2, 2), lw=0.4, color="black")
    axis.set_xlim(PAGE_SECONDS)
    axis.set_xlabel(f"s; {gain:.0f} µV between traces", fontsize=8)


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("real", "synthetic", "out"):
        parser.add_argument(f"--{name}", type=Path, required=name != "real")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    synthetic = list_windows(arguments.synthetic)
    draw(synthetic, arguments.out / "simulated.png")
    if arguments.real is None:
        return
    real = list_windows(arguments.real)
    draw(real, arguments.out / "real.png")
    synthetic = in_equal_shares(synthetic, real)
    measured = measure(synthetic)
    table = compare(measure(real), measured)
    table.round(3).to_csv(arguments.out / "realism.csv")
    print(table.round(3).to_string())
    print(
        f"{len(real)} real and {len(synthetic)} simulated windows, classes in equal shares; "
        f"mean KS distance {table['KS'].mean():.2f} ({len(real)} simulated ones against the "
        f"others: {distance_by_chance(measured, len(real)):.2f})"
    )


if __name__ == "__main__":
    main()
