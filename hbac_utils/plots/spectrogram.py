"""Spectrograms of four chains: one window, means by class, mean spectra."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_STEP, WINDOW_SECONDS
from hbac_utils.labels import CLASSES, N_CLASSES
from hbac_utils.montage import CHAINS
from hbac_utils.plots.classes import add_panels, class_legend
from hbac_utils.plots.style import (
    ACCENT,
    CLASS_COLORS,
    MISSING,
    MUTED,
    color_bar,
    color_range,
    new_figure,
    outline,
    styled,
)

CHAIN_NAMES = {
    "LL": "left lateral",
    "RL": "right lateral",
    "LP": "left parasagittal",
    "RP": "right parasagittal",
}


@styled
def spectrogram_page(
    spectrogram: np.ndarray,
    votes: np.ndarray | None = None,
    *,
    probabilities: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Draw ten minutes of spectrogram in four chains, with the votes at the right.

    Parameters
    ----------
    spectrogram : array, shape (300, 400), natural logarithm of power
        One row every 2 s; columns as `layout.SPECTROGRAM_COLUMNS`. NaN is drawn grey.
    votes, probabilities : arrays, shape (6,), optional
        See `eeg_page`.

    Raises
    ------
    ValueError
        If ``spectrogram`` does not have 400 columns.
    """
    figure = new_figure(5.6, title)
    draw_spectrogram(add_panels(figure, votes, probabilities, rows=len(CHAINS)), spectrogram)
    return figure


def draw_spectrogram(axes: Sequence[Axes], spectrogram: np.ndarray) -> None:
    """Draw the four chains into four axes on one colour scale; see `spectrogram_page`."""
    spectrogram = np.asarray(spectrogram, dtype=np.float32)
    if spectrogram.ndim != 2 or spectrogram.shape[1] != len(CHAINS) * len(FREQUENCIES):
        raise ValueError(f"spectrogram has shape {spectrogram.shape}, not (300, 400)")
    limits = color_range(spectrogram)
    chains = np.split(spectrogram, len(CHAINS), axis=1)
    for panel, power, chain in zip(axes, chains, CHAINS, strict=True):
        image = draw_power(panel, power, limits)
        _mark_window(panel)
        panel.set_ylabel(f"{chain}\n(Hz)")
        panel.yaxis.set_major_locator(MultipleLocator(5))
        panel.tick_params(labelbottom=False)
        panel.text(
            0.006, 0.93, CHAIN_NAMES[chain], transform=panel.transAxes, va="top", fontsize=8,
            color="white", bbox={"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 2},
        )  # fmt: skip
    axes[0].set_title(
        "▼ labelled 10 s; frame: the 50 s of EEG", fontsize=9, weight="normal", loc="center"
    )
    axes[-1].tick_params(labelbottom=True)
    axes[-1].xaxis.set_major_locator(MultipleLocator(1))
    axes[-1].set_xlabel("Time from the centre of the label (min)")
    color_bar(axes[0].figure, image, list(axes), _power_label("ln power", spectrogram))


def draw_power(axes: Axes, power: np.ndarray, limits: tuple[float, float]) -> AxesImage:
    """Draw the log power of one chain, shape (n_rows, 100), one row every 2 s; NaN is grey."""
    half_step = (FREQUENCIES[1] - FREQUENCIES[0]) / 2
    half_span = len(power) * SPECTROGRAM_STEP / 2 / 60  # minutes
    axes.grid(visible=False)
    return axes.imshow(
        np.ma.masked_invalid(power.T), origin="lower", aspect="auto",
        vmin=limits[0], vmax=limits[1],
        extent=(-half_span, half_span, FREQUENCIES[0] - half_step, FREQUENCIES[-1] + half_step),
        cmap=colormaps["viridis"].with_extremes(bad=MISSING),
    )  # fmt: skip


def _power_label(label: str, power: np.ndarray) -> str:
    return f"{label}, grey: no data" if np.isnan(power).any() else label


def _mark_window(axes: Axes) -> None:
    """Frame the 50 s of EEG and mark the label."""
    half = WINDOW_SECONDS / 2 / 60
    bottom, top = axes.get_ylim()
    frame = Rectangle((-half, bottom), 2 * half, top - bottom, gid="window")
    frame.set(fill=False, edgecolor="white", linewidth=1.2)
    axes.add_patch(frame)
    axes.plot(
        0, 0.93, "v", color=ACCENT, mec="white", ms=8, gid="label",
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip


@styled
def mean_spectrograms(means: np.ndarray) -> Figure:
    """Draw the mean spectrogram of each class in each chain, on one colour scale.

    Parameters
    ----------
    means : array, shape (6, 4, 300, 100), natural logarithm of power
        Classes × chains × rows of 2 s × `layout.FREQUENCIES`; NaN is drawn grey.
    """
    figure = new_figure(6.8)
    panels = figure.subplots(N_CLASSES, len(CHAINS), sharex=True, sharey=True)
    limits = color_range(means)
    for row, name, chains in zip(panels, CLASSES, means, strict=True):
        for axes, chain, power in zip(row, CHAINS, chains, strict=True):
            image = draw_power(axes, power, limits)
            axes.axvline(0, ymin=0.86, color=ACCENT, lw=2)
            axes.set_title(CHAIN_NAMES[chain] if name == CLASSES[0] else "", fontsize=10)
            axes.set_xlabel("Time from the label (min)")
            axes.set_ylabel(f"{name}\n(Hz)")
            axes.yaxis.set_major_locator(MultipleLocator(10))
            axes.label_outer()
    color_bar(figure, image, panels, _power_label("Mean ln power", means), aspect=50)
    return figure


@styled
def mean_spectra(means: np.ndarray) -> Figure:
    """Draw `mean_spectrograms` averaged over time: a spectrum of each class in each chain."""
    figure = new_figure(5.6)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    spectra = np.ma.masked_invalid(means).mean(axis=2).filled(np.nan)
    for i, (axes, chain) in enumerate(zip(panels.flat, CHAINS, strict=True)):
        for name, spectrum in zip(CLASSES, spectra[:, i], strict=True):
            axes.plot(
                FREQUENCIES, spectrum, color=CLASS_COLORS[name], label=name, path_effects=outline()
            )
        axes.set_title(f"{chain}, {CHAIN_NAMES[chain]}", fontsize=10)
        axes.set(xlabel="Frequency (Hz)", ylabel="Mean ln power", xlim=(0, FREQUENCIES[-1]))
        axes.xaxis.set_major_locator(MultipleLocator(5))
        if np.isnan(spectra[:, i]).all():
            axes.text(FREQUENCIES[-1] / 2, 0.5, "no spectrograms", color=MUTED, ha="center")
        axes.label_outer()
    class_legend(figure)
    return figure
