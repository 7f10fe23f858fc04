"""Spectra and band powers by class."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from hbac_utils.data.layout import FREQUENCIES
from hbac_utils.labels import CLASSES, N_CLASSES
from hbac_utils.montage import CHAINS
from hbac_utils.plots.classes import class_legend
from hbac_utils.plots.spectrogram import CHAIN_NAMES, draw_power
from hbac_utils.plots.style import (
    ACCENT,
    CLASS_COLORS,
    MUTED,
    bars_only,
    finite_range,
    ink_on,
    new_figure,
    outlined,
    styled,
)


@styled
def mean_spectrograms(means: np.ndarray) -> Figure:
    """Draw the mean spectrogram of each class in each chain, on one colour scale.

    Parameters
    ----------
    means : array, shape (6, 4, 300, 100), natural logarithm of power
        Classes × chains × rows of 2 s around the label × `competition.FREQUENCIES`; NaN is drawn
        grey.

    Returns
    -------
    Figure
    """
    figure = new_figure(6.8)
    panels = figure.subplots(N_CLASSES, len(CHAINS), sharex=True, sharey=True)
    limits = finite_range(means)
    for row, name, chains in zip(panels, CLASSES, means, strict=True):
        for axes, chain, power in zip(row, CHAINS, chains, strict=True):
            image = draw_power(axes, power, limits)
            axes.axvline(0, ymin=0.86, color=ACCENT, lw=2)
            axes.set_title(CHAIN_NAMES[chain] if name == CLASSES[0] else "", fontsize=10)
            axes.set_xlabel("Time from the label (min)")
            axes.set_ylabel(f"{name}\n(Hz)")
            axes.yaxis.set_major_locator(MultipleLocator(10))
            axes.label_outer()
    bar = figure.colorbar(image, ax=panels, aspect=50, pad=0.01, fraction=0.02)
    bar.set_label("Mean ln power" + (", grey: no data" if np.isnan(means).any() else ""))
    bar.outline.set_visible(False)
    return figure


@styled
def mean_spectra(means: np.ndarray) -> Figure:
    """Draw the mean log power spectrum of each class in each chain, left and right as on a head.

    Parameters
    ----------
    means : array, shape (6, 4, 300, 100), natural logarithm of power
        As for `mean_spectrograms`; the mean over time is drawn.

    Returns
    -------
    Figure
    """
    figure = new_figure(5.6)
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    known = np.isfinite(means)
    total, count = np.where(known, means, 0).sum(axis=2), known.sum(axis=2)
    means = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    for axes, chain, spectra in zip(panels.flat, CHAINS, np.moveaxis(means, 1, 0), strict=True):
        for name, spectrum in zip(CLASSES, spectra, strict=True):
            axes.plot(
                FREQUENCIES, spectrum, color=CLASS_COLORS[name], label=name, path_effects=outlined()
            )
        axes.set_title(f"{chain}, {CHAIN_NAMES[chain]}", fontsize=10)
        axes.set(xlabel="Frequency (Hz)", ylabel="Mean ln power", xlim=(0, FREQUENCIES[-1]))
        axes.xaxis.set_major_locator(MultipleLocator(5))
        if np.isnan(spectra).all():
            axes.text(FREQUENCIES[-1] / 2, 0.5, "no spectrograms", color=MUTED, ha="center")
        axes.label_outer()
    class_legend(figure)
    return figure


@styled
def band_power(powers: pd.DataFrame) -> Figure:
    """Draw each class's band powers and how far the two sides differ, as box plots.

    Parameters
    ----------
    powers : DataFrame
        A row per window: ``consensus``; one column per band named like ``"delta 0.5–4 Hz"``, in
        dB above 1 µV²; and ``asymmetry``, dB, right above left.

    Returns
    -------
    Figure
    """
    bands = [column for column in powers if column not in ("consensus", "asymmetry")]
    figure = new_figure(5.4)
    grid = figure.add_gridspec(2, len(bands), height_ratios=(1.1, 1))
    first = None
    for i, band in enumerate(bands):
        axes = first = figure.add_subplot(grid[0, i], sharey=first)
        _class_boxes(axes, powers, band)
        axes.set_title(band, fontsize=10)
        axes.tick_params(labelbottom=False, labelleft=i == 0)
        axes.set_ylabel("Band power (dB re 1 µV²)" if i == 0 else "")
    below = figure.add_subplot(grid[1, :])
    _class_boxes(below, powers, "asymmetry")
    below.axhline(0, color=MUTED, lw=0.8, zorder=0)
    below.set_ylabel("Right over left (dB)")
    below.set_title("Asymmetry of total power", fontsize=10)
    return figure


def _class_boxes(axes: Axes, table: pd.DataFrame, column: str) -> None:
    groups = [table.loc[table["consensus"] == name, column].dropna() for name in CLASSES]
    boxes = axes.boxplot(
        groups, widths=0.65, patch_artist=True, showfliers=False, whis=(5, 95),
        whiskerprops={"color": MUTED}, capprops={"color": MUTED},
    )  # fmt: skip
    for box, name in zip(boxes["boxes"], CLASSES, strict=True):
        box.set(facecolor=CLASS_COLORS[name], edgecolor=MUTED)
    for line, name in zip(boxes["medians"], CLASSES, strict=True):
        line.set_color(ink_on(CLASS_COLORS[name]))
    axes.set_xticks(np.arange(N_CLASSES) + 1, CLASSES)
    bars_only(axes, "y")
