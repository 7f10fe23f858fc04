"""A training batch as the network sees it: through the view, augmented, with soft labels."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_SECONDS, WINDOW_SECONDS
from hbac_utils.labels import CLASSES
from hbac_utils.montage import CHAINS, DOUBLE_BANANA
from hbac_utils.plots.eeg import FILL, draw_traces, ordinary_amplitude
from hbac_utils.plots.style import MUTED, finite_range, new_figure, styled
from hbac_utils.plots.votes import draw_strip
from hbac_utils.recipe import EegSpectrogram, KaggleSpectrogram, Look, Waveform

IMAGES, IMAGE_COLUMNS = 8, 4
SERIES, SERIES_COLUMNS = 4, 2


def batch_pages(
    seen: Sequence[np.ndarray], labels: np.ndarray, looks: Sequence[Look]
) -> list[Figure]:
    """Draw a batch, a figure for each of the recipe's looks.

    Parameters
    ----------
    seen : sequence of array
        As `models.classifier.as_seen` gives it.
    labels : array, shape (B, 6)
        Vote fractions, mixed if the recipe mixes.
    looks : sequence of Look
        The recipe's.

    Returns
    -------
    list of Figure
    """
    return [
        batch_series(values, labels, look.view)
        if look.is_series
        else batch_images(values, labels, look.view)
        for values, look in zip(seen, looks, strict=True)
    ]


@styled
def batch_series(series: np.ndarray, labels: np.ndarray, view: Waveform) -> Figure:
    """Draw the first series of a batch as traces, their soft labels above them.

    Parameters
    ----------
    series : array, shape (B, n_times, 18)
    labels : array, shape (B, 6)
    view : Waveform
        Says how many values a second there are, and which voltage becomes which value.

    Returns
    -------
    Figure
    """
    series, labels = np.asarray(series)[:SERIES], np.asarray(labels)[:SERIES]
    times = np.arange(series.shape[1]) / view.rate
    fills = (ordinary_amplitude(series.reshape(-1, series.shape[2])) or 1.0) / FILL
    # the view made a value of sign(x) ln(1 + |x| / scale): back to what it stands for
    measure = f"{fills:.1f}\n({view.scale * np.expm1(fills):.0f} µV)"
    rows = -(-len(series) // SERIES_COLUMNS)
    figure = new_figure(0.3 + 4.1 * rows, f"{view.kind}: values that enter the network")
    parts = figure.subfigures(rows, SERIES_COLUMNS, squeeze=False, hspace=0.02).flat
    for part, values, label in zip(parts, series, labels, strict=False):
        strip, page = part.subplots(2, 1, height_ratios=(0.06, 1))
        draw_strip(strip, label)
        draw_traces(page, times, values, fills, measure)
        page.tick_params(axis="y", labelsize=8)
        page.set_xlim(0, WINDOW_SECONDS)
        page.set_xlabel("Time in the window (s); negative is up")
    return figure


@styled
def batch_images(
    images: np.ndarray, labels: np.ndarray, view: Waveform | EegSpectrogram | KaggleSpectrogram
) -> Figure:
    """Draw the first images of a batch, their soft labels above them.

    Parameters
    ----------
    images : array, shape (B, H, W, 1)
    labels : array, shape (B, 6)
    view : Waveform, EegSpectrogram or KaggleSpectrogram
        Says what rows and columns are.

    Returns
    -------
    Figure
    """
    images, labels = np.asarray(images)[:IMAGES, ..., 0], np.asarray(labels)[:IMAGES]
    low, high = finite_range(images)
    columns = min(IMAGE_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(0.5 + 3.2 * rows, f"{view.kind}: values that enter the network")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[0.05, 1] * rows)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(i, columns)
        strip = figure.add_subplot(grid[2 * row, column])
        draw_strip(strip, label, named=False)
        first = int(np.argmax(label))
        strip.set_title(f"{CLASSES[first]} {label[first]:.0%}", fontsize=9, pad=2)
        axes = figure.add_subplot(grid[2 * row + 1, column])
        shown = _draw_image(axes, image, view, (low, high))
        axes.tick_params(labelleft=column == 0)
        axes.set_ylabel(axes.get_ylabel() if column == 0 else "")
        axes.set_xlabel(axes.get_xlabel() if i >= len(images) - columns else "")
    bar = figure.colorbar(shown, ax=figure.axes, aspect=40, pad=0.01, fraction=0.02)
    bar.set_label("Value that enters the network")
    bar.outline.set_visible(False)
    return figure


def _draw_image(axes: Axes, image: np.ndarray, view, limits: tuple[float, float]) -> AxesImage:
    """Draw an image between the times and over the rows that its view gives it."""
    height = image.shape[0]
    is_waveform = view.kind == "waveform"
    minutes = SPECTROGRAM_SECONDS / 2 / 60
    half = view.seconds / 2 if view.kind == "eeg_spectrogram" else WINDOW_SECONDS / 2
    span = {
        "waveform": (0, WINDOW_SECONDS, "Time in the window (s)"),
        "eeg_spectrogram": (
            WINDOW_SECONDS / 2 - half, WINDOW_SECONDS / 2 + half, "Time in the window (s)"
        ),
        "kaggle_spectrogram": (-minutes, minutes, "Time from the label (min)"),
    }[view.kind]  # fmt: skip
    left, right, label = span
    shown = axes.imshow(
        image, aspect="auto", vmin=limits[0], vmax=limits[1],
        # the first derivation stands on top as on a page, the lowest frequency at the bottom
        origin="upper" if is_waveform else "lower",
        extent=(left, right, height, 0) if is_waveform else (left, right, 0, height),
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_xlabel(label)
    if is_waveform:
        step = height / view.channels
        axes.set_yticks((np.arange(view.channels) + 0.5) * step, DOUBLE_BANANA[: view.channels])
        axes.tick_params(axis="y", labelsize=7, length=0)
        axes.set_ylabel(f"Derivation ({step:g} rows each)")
    else:
        band = view.band if view.kind == "eeg_spectrogram" else (FREQUENCIES[0], FREQUENCIES[-1])
        _mark_chains(axes, height, band)
    return shown


def _mark_chains(axes: Axes, height: int, band: tuple[float, float]) -> None:
    """Part the chains of an image, each with its frequencies from low to high."""
    step = height / len(CHAINS)
    places, names = [], []
    for i, chain in enumerate(CHAINS):
        if i:
            axes.axhline(i * step, color="white", lw=1)
        axes.text(
            0.01, (i + 0.94) * step, chain, va="top", fontsize=8, color="white",
            transform=axes.get_yaxis_transform(),
            bbox={"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 1.5},
        )  # fmt: skip
        for frequency in range(5, int(band[1]), 5):
            if frequency > band[0]:
                # the band's limits are the centres of the first and the last row
                part = (frequency - band[0]) / (band[1] - band[0])
                places.append(i * step + 0.5 + part * (step - 1))
                names.append(f"{frequency}")
    axes.set_yticks(places, names, fontsize=8)
    axes.tick_params(axis="y", color=MUTED)
    axes.set_ylabel("Frequency in each chain (Hz)")
