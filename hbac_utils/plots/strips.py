"""Six shares as one stacked bar: votes or a prediction, above what they speak of."""

import numpy as np
from matplotlib.axes import Axes

from hbac_utils.labels import CLASSES
from hbac_utils.plots.style import CLASS_COLORS, MUTED, ink_on

ROOM = 0.17  # share of the bar's width that its class's name needs


def draw_strip(axes: Axes, shares: np.ndarray, label: str = "", *, named: bool = True) -> None:
    """Draw shares as a stacked bar.

    Parameters
    ----------
    axes : Axes
    shares : array, shape (6,), sum to one
    label : str
        Stands left of the bar.
    named : bool
        Whether classes are written into the parts that are wide enough.
    """
    left = np.concatenate([[0], np.cumsum(shares)[:-1]])
    colours = list(CLASS_COLORS.values())
    axes.barh(np.zeros(len(shares)), shares, left=left, color=colours, ec=MUTED, lw=0.4)
    for name, share, begin in zip(CLASSES, shares, left, strict=True):
        if named and share >= ROOM:
            axes.text(
                begin + share / 2, 0, f"{name} {share:.0%}", ha="center", va="center_baseline",
                fontsize=8, color=ink_on(CLASS_COLORS[name]), clip_on=True,
            )  # fmt: skip
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.4, 0.4)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([0] if label else [], [label] if label else [])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
