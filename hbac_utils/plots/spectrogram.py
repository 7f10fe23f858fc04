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
from hbac_utils.plots import style

CHAIN_NAMES = ("left lateral", "right lateral", "left parasagittal", "right parasagittal")


@style.styled
def spectrogram_page(
    spectrogram: np.ndarray,
    votes: np.ndarray | None = None,
    *,
    probabilities: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Draw ten minutes of spectrogram in four chains, with the votes at the right.

    ``spectrogram``, shape (300, 400), is the natural logarithm of power: a row every 2 s, columns
    as `layout.SPECTROGRAM_COLUMNS`; NaN is drawn grey. For votes and probabilities see
    `eeg_page`. Raises ValueError if it does not have 400 columns.
    """
    figure = style.new_figure(5.6, title)
    draw_spectrogram(style.add_panels(figure, votes, probabilities, rows=len(CHAINS)), spectrogram)
    return figure


def draw_spectrogram(axes: Sequence[Axes], spectrogram: np.ndarray) -> None:
    """Draw the four chains into four axes on one colour scale; see `spectrogram_page`."""
    if spectrogram.ndim != 2 or spectrogram.shape[1] != len(CHAINS) * len(FREQUENCIES):
        raise ValueError(f"spectrogram has shape {spectrogram.shape}, not (300, 400)")
    limits = style.color_range(spectrogram)
    half = WINDOW_SECONDS / 2 / 60  # minutes
    chains = np.split(spectrogram, len(CHAINS), axis=1)
    for panel, power, chain, name in zip(axes, chains, CHAINS, CHAIN_NAMES, strict=True):
        image = _draw_power(panel, power, limits)
        bottom, top = panel.get_ylim()
        frame = Rectangle((-half, bottom), 2 * half, top - bottom, gid="window")
        panel.add_patch(frame).set(fill=False, edgecolor="white", linewidth=1.2)
        panel.plot(0, 18.5, "v", color=style.ACCENT, mec="white", ms=8, gid="label")
        panel.set_ylabel(f"{chain}\n(Hz)")
        panel.yaxis.set_major_locator(MultipleLocator(5))
        panel.text(
            -4.95, 19, name, va="top", fontsize=8, color="white",
            bbox={"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 1.5},
        )  # fmt: skip
        panel.label_outer()
    axes[0].set_title("▼ labelled 10 s; frame: the 50 s of EEG", fontsize=9, weight="normal")
    axes[-1].set_xlabel("Time from the centre of the label (min)")
    _color_bar(axes, image, "ln power")


def _draw_power(axes: Axes, power: np.ndarray, limits: tuple[float, float]) -> AxesImage:
    """Draw one chain, shape (n_rows, 100), as an image: minutes from the label's centre, Hz."""
    half_span = len(power) * SPECTROGRAM_STEP / 2 / 60  # minutes
    half_step = (FREQUENCIES[1] - FREQUENCIES[0]) / 2
    axes.grid(visible=False)
    return axes.imshow(
        np.ma.masked_invalid(power.T), origin="lower", aspect="auto",
        vmin=limits[0], vmax=limits[1],
        extent=(-half_span, half_span, FREQUENCIES[0] - half_step, FREQUENCIES[-1] + half_step),
        cmap=colormaps["viridis"].with_extremes(bad=style.MISSING),
    )  # fmt: skip


def _color_bar(axes: Sequence[Axes], image: AxesImage, label: str) -> None:
    figure = image.axes.figure
    figure.colorbar(image, ax=axes, label=f"{label}, grey: no data", fraction=0.02, aspect=40)


@style.styled
def mean_spectrograms(means: np.ndarray) -> Figure:
    """Draw the mean spectrogram of each class in each chain, on one colour scale.

    ``means``, natural logarithm of power, has shape (6, 4, 300, 100): classes × chains × rows of
    2 s × `layout.FREQUENCIES`; NaN is drawn grey.
    """
    figure = style.new_figure(6.8)
    panels = figure.subplots(N_CLASSES, len(CHAINS), sharex=True, sharey=True)
    limits = style.color_range(means)
    for (row, column), axes in np.ndenumerate(panels):
        image = _draw_power(axes, means[row, column], limits)
        axes.axvline(0, ymin=0.86, color=style.ACCENT, lw=2)
        axes.set_title(CHAIN_NAMES[column] if row == 0 else "")
        axes.set(xlabel="Time from the label (min)", ylabel=f"{CLASSES[row]}\n(Hz)")
        axes.label_outer()
    _color_bar(panels, image, "Mean ln power")
    return figure


@style.styled
def mean_spectra(means: np.ndarray) -> Figure:
    """Draw the spectrum of each class in each chain: `mean_spectrograms` averaged over time."""
    figure = style.new_figure(5.6)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    spectra = np.ma.masked_invalid(means).mean(axis=2).filled(np.nan)
    for i, (axes, chain) in enumerate(zip(panels.flat, CHAINS, strict=True)):
        for (name, color), spectrum in zip(style.CLASS_COLORS.items(), spectra[:, i], strict=True):
            axes.plot(FREQUENCIES, spectrum, color=color, label=name, path_effects=style.OUTLINE)
        axes.set_title(f"{chain}, {CHAIN_NAMES[i]}")
        axes.set(xlabel="Frequency (Hz)", ylabel="Mean ln power", xlim=(0, 20))
        if np.isnan(spectra[:, i]).all():
            axes.text(10, 0.5, "no spectrograms", color=style.MUTED, ha="center")
        axes.label_outer()
    style.class_legend(figure)
    return figure
