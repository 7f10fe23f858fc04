"""Compare what simulated experts are told of a pattern with what can be measured on it.

    python benchmarks/visible.py --out FOLDER [--count 1500]

Patterns are rendered without background and artifacts. Frequency, laterality, periodicity and
evolution are then measured on the bipolar signals, and compared with the drawn parameters from
which the experts' probabilities are computed. The error is the spread that a monotonic function of
the measurement leaves, in units of evidence: one unit is a factor of nine of an expert's odds.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import find_peaks
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression

from hbac_utils.data.layout import SAMPLING_RATE
from hbac_utils.montage import DOUBLE_BANANA, LEFT, RIGHT, derivation_matrix
from hbac_utils.synthetic.components import GROWTH, LABELLED, TREND, UNIT, open_components
from hbac_utils.synthetic.patterns import EVOLUTION, IRREGULARITY, LATERALITY, OCTAVES, PERIODICITY

BIPOLAR = derivation_matrix(DOUBLE_BANANA)
SIDES = [[DOUBLE_BANANA.index(name) for name in side] for side in (LEFT, RIGHT)]
LAGS = slice(SAMPLING_RATE // 20, 2 * SAMPLING_RATE)  # 20 to 0.5 Hz
PART = 8 * SAMPLING_RATE  # samples of the parts that are compared for evolution
SILENT = 0.15  # of the peak-to-peak amplitude, around the median


def measure_frequency(signal: np.ndarray) -> float:
    """Measure the frequency in Hz by the first high peak of the autocorrelation."""
    centred = signal - signal.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * len(signal))) ** 2
    correlation = np.fft.irfft(spectrum)[: LAGS.stop] / np.arange(
        len(signal), len(signal) - LAGS.stop, -1
    )
    peaks, _ = find_peaks(correlation, height=0)
    peaks = peaks[peaks >= LAGS.start]
    if not peaks.size:
        return np.nan
    high = peaks[correlation[peaks] >= 0.8 * correlation[peaks].max()]
    return SAMPLING_RATE / high[0]


def measure(pattern: np.ndarray, largest: int, frequency: float) -> dict[str, float]:
    """Measure a rendered pattern, shape (n, 19), µV, in its largest derivation and in all."""
    bipolar = pattern @ BIPOLAR
    segment, course = bipolar[LABELLED], bipolar[:, largest]
    left, right = (segment[:, side].std(axis=0).max() for side in SIDES)
    wave = segment[:, largest] - np.median(segment[:, largest])
    period = round(SAMPLING_RATE / frequency)
    cycles = wave[: len(wave) // period * period].reshape(-1, period)
    silent = np.abs(wave) < SILENT * np.median(np.ptp(cycles, axis=1))
    return {
        "frequency": np.log2(measure_frequency(wave)),
        "laterality": abs(left - right) / max(left + right, 1e-3),
        "periodicity": silent.mean(),
        "evolution": measure_evolution(course),
    }


def measure_evolution(course: np.ndarray) -> float:
    """Measure the change of amplitude and of frequency, as shares of the simulated ranges."""
    begins = np.arange(0, len(course) - PART + 1, PART // 2)
    parts = [course[begin : begin + PART] for begin in begins]
    sizes, rates = np.array([[part.std(), measure_frequency(part)] for part in parts]).T
    valid = (sizes > 0.2 * sizes.max()) & np.isfinite(rates)
    if valid.sum() < 4:
        return np.nan
    minutes = begins[valid] / SAMPLING_RATE / 60
    growth, trend = np.polyfit(minutes, np.log2([sizes[valid], rates[valid]]).T, 1)[0]
    return max(abs(growth) / GROWTH[1], abs(trend) / TREND[1])


def compare(drawn: np.ndarray, measured: np.ndarray, unit: float) -> dict[str, float]:
    """Compare, over the patterns for which there is a measurement."""
    valid = np.isfinite(measured)
    drawn, measured = drawn[valid], measured[valid]
    fitted = IsotonicRegression(out_of_bounds="clip").fit_transform(measured, drawn)
    return {
        "patterns": len(drawn),
        "rank correlation": spearmanr(drawn, measured).statistic,
        "spread (evidence)": drawn.std() / unit,
        "error (evidence)": (drawn - fitted).std() / unit,
        "median error (evidence)": np.median(np.abs(drawn - fitted)) / unit,
    }


def main() -> None:
    """Render, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1500)
    options = parser.parse_args()
    components = open_components(options.out, options.count, 71, (0.5, 40.0))
    table = components.table
    rows = zip(components.patterns, table["largest"], table["frequency"], strict=True)
    found = pd.DataFrame([measure(UNIT * pattern, *row) for pattern, *row in rows])
    regular = table["irregularity"] < IRREGULARITY[0]
    drawn = {
        "frequency": (np.log2(table["frequency"]), OCTAVES, regular),
        "laterality": (table["laterality"], LATERALITY[1], regular),
        "periodicity": (table["periodicity"], PERIODICITY[1], regular),
        "evolution": (
            table["evolution"],
            EVOLUTION[1],
            regular & (table["evolution"] > EVOLUTION[0]),
        ),
    }
    result = {
        name: compare(values[chosen].to_numpy(), found[name][chosen].to_numpy(), unit)
        for name, (values, unit, chosen) in drawn.items()
    }
    print(pd.DataFrame(result).T.round(2).to_string())


if __name__ == "__main__":
    main()
