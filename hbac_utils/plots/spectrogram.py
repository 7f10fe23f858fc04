"""The four-chain spectrogram: ten minutes around a label."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import MultipleLocator

from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_STEP, WINDOW_SECONDS
from hbac_utils.montage import CHAINS
from hbac_utils.plots.style import ACCENT, MISSING, finite_range, new_figure, styled
from hbac_utils.plots.votes import page_and_panel

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
    """Draw the four chains around a label on one colour scale, the votes beside them.

    Parameters
    ----------
    spectrogram : array, shape (300, 400), natural logarithm of power
        A row every 2 s; columns as `competition.SPECTROGRAM_COLUMNS`. NaN is drawn grey.
    votes, probabilities : arrays, shape (6,), optional
        As in `eeg_page`.
    title : str

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        If ``spectrogram`` has not 400 columns.
    """
    figure = new_figure(5.6, title)
    page, _ = page_and_panel(figure, votes, probabilities, rows=len(CHAINS))
    draw_spectrogram(page, spectrogram)
    return figure


def draw_spectrogram(axes: Sequence[Axes], spectrogram: np.ndarray) -> None:
    """Draw the four chains into four axes; see `spectrogram_page`."""
    spectrogram = np.asarray(spectrogram, dtype=np.float32)
    if spectrogram.ndim != 2 or spectrogram.shape[1] != len(CHAINS) * len(FREQUENCIES):
        raise ValueError(f"spectrogram has shape {spectrogram.shape}, not (300, 400)")
    limits = finite_range(spectrogram)
    chains = np.split(spectrogram, len(CHAINS), axis=1)
    for panel, power, chain in zip(axes, chains, CHAINS, strict=True):
        image = draw_power(panel, power, limits)
        _mark_window(panel, *panel.get_ylim())
        _chain_axes(panel, chain)
    axes[0].set_title(
        "▼ labelled 10 s, framed: the 50 s of EEG", fontsize=9, weight="normal", loc="center"
    )
    axes[-1].tick_params(labelbottom=True)
    axes[-1].xaxis.set_major_locator(MultipleLocator(1))
    axes[-1].set_xlabel("Time from the label's centre (min)")
    bar = axes[0].figure.colorbar(image, ax=list(axes), pad=0.01, aspect=40, fraction=0.02)
    bar.set_label("ln power" + (", grey: no data" if np.isnan(spectrogram).any() else ""))
    bar.outline.set_visible(False)


def draw_power(axes: Axes, power: np.ndarray, limits: tuple[float, float]) -> AxesImage:
    """Draw one chain as an image: minutes from the label's centre, Hz; NaN grey.

    Parameters
    ----------
    axes : Axes
    power : array, shape (n_rows, 100), natural logarithm of power, a row every 2 s
    limits : (low, high)
        Of the colour scale.
    """
    half_step = (FREQUENCIES[1] - FREQUENCIES[0]) / 2
    half_span = len(power) * SPECTROGRAM_STEP / 2 / 60  # minutes
    axes.grid(visible=False)
    return axes.imshow(
        np.ma.masked_invalid(power.T), origin="lower", aspect="auto",
        vmin=limits[0], vmax=limits[1],
        extent=(-half_span, half_span, FREQUENCIES[0] - half_step, FREQUENCIES[-1] + half_step),
        cmap=colormaps["viridis"].with_extremes(bad=MISSING),
    )  # fmt: skip


def _mark_window(axes: Axes, bottom: float, top: float) -> None:
    """Frame the 50 s of EEG, and point at the labelled 10 s from above."""
    half = WINDOW_SECONDS / 2 / 60
    frame = Rectangle((-half, bottom), 2 * half, top - bottom, gid="window")
    frame.set(fill=False, edgecolor="white", linewidth=1.2)
    axes.add_patch(frame)
    axes.plot(
        0, 0.93, "v", color=ACCENT, mec="white", ms=8, gid="label",
        transform=axes.get_xaxis_transform(),
    )  # fmt: skip


def _chain_axes(axes: Axes, chain: str) -> None:
    axes.set_ylabel(f"{chain}\n(Hz)")
    axes.yaxis.set_major_locator(MultipleLocator(5))
    axes.tick_params(labelbottom=False)
    axes.text(
        0.006, 0.93, CHAIN_NAMES[chain], transform=axes.transAxes, va="top", fontsize=8,
        color="white", bbox={"facecolor": "black", "alpha": 0.45, "lw": 0, "pad": 2},
    )  # fmt: skip
