"""One visual language: class colours, style sheet, size in a notebook."""

from itertools import combinations

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

from hbac_utils import plots
from hbac_utils.labels import CLASSES


def linear_rgb(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cie_lab(linear):
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.95047, 1, 1.08883])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_class_colours_differ_in_grey_and_under_deuteranopia():
    assert tuple(plots.CLASS_COLORS) == CLASSES
    colors = [linear_rgb(color) for color in plots.CLASS_COLORS.values()]
    assert np.diff([cie_lab(color)[0] for color in colors]).min() > 10
    # Machado et al. (2009), doi:10.1109/TVCG.2009.113, severity 1
    deuteranopia = [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]
    seen = [cie_lab(np.clip(deuteranopia @ color, 1e-3, 1)) for color in colors]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


def test_figures_are_independent_of_global_settings():
    before = dict(matplotlib.rcParams)
    plain, size = plots.learning_rate_curve([0, 1], [1e-3, 1e-4])._repr_png_()
    assert dict(matplotlib.rcParams) == before
    loud = {
        "axes.facecolor": "black", "axes.grid": False, "figure.dpi": 31, "font.size": 30,
        "font.family": "monospace", "savefig.bbox": "tight", "xtick.minor.visible": True,
    }  # fmt: skip
    with matplotlib.rc_context(loud):
        assert plots.learning_rate_curve([0, 1], [1e-3, 1e-4])._repr_png_()[0] == plain
    pixels = int.from_bytes(plain[16:20], "big")  # width in the PNG header
    assert (size["width"], pixels) == (1000, 1300)
