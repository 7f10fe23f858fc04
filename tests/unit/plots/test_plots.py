"""The figures show what they are given, and the survey counts what is there."""

import ast
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.colors import to_rgb
from scipy.special import rel_entr

from hbac_utils import plots
from hbac_utils.data.competition import open_competition
from hbac_utils.data.layout import FREQUENCIES, SPECTROGRAM_COLUMNS, TRAIN_COLUMNS
from hbac_utils.data.splits import agreement, shares, vote_groups
from hbac_utils.eda import statistics as survey
from hbac_utils.eda.examples import (
    Window,
    agreement_examples,
    class_examples,
    one_per_vote_vector,
    read_stored_windows,
    read_test_windows,
    read_window,
    vote_text,
)
from hbac_utils.labels import CLASSES, VOTE_COLUMNS, consensus
from hbac_utils.metric import both_scores
from hbac_utils.montage import CHANNELS, DOUBLE_BANANA, ELECTRODES
from hbac_utils.plots.eeg import auto_sensitivity, bipolar_traces, trace_rows
from hbac_utils.plots.predictions import reliability_bins
from hbac_utils.plots.style import MISSING
from hbac_utils.recipe import Branch
from hbac_utils.registry import EegSpectrogram, KaggleSpectrogram, Waveform
from hbac_utils.utils.errors import InputError

NOTEBOOK = Path(__file__).parents[3] / "notebooks" / "eda.ipynb"
VOTES = np.array([0, 6, 14, 0, 0, 2])
PROBABILITIES = np.array([0.1, 0.2, 0.4, 0.1, 0.1, 0.1])


@pytest.fixture
def eeg():
    rng = np.random.default_rng(0)
    return rng.normal(0, 30, (10_000, 19)).astype(np.float32)


@pytest.fixture
def spectrogram():
    return np.random.default_rng(1).normal(0, 2, (300, 400)).astype(np.float32)


def by_gid(figure, gid):
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def widths(axes, label):
    (bars,) = [c for c in axes.containers if c.get_label() == label]
    return [bar.get_width() for bar in bars]


def heights(axes):
    return [[bar.get_height() for bar in bars] for bars in axes.containers]


# ---------------------------------------------------------------- one visual language


def linear_rgb(color):
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def cie_lab(linear):
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.95047, 1, 1.08883])  # all above 0.008856
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_class_colours_climb_in_lightness():
    assert tuple(plots.CLASS_COLORS) == CLASSES
    lightness = [cie_lab(linear_rgb(color))[0] for color in plots.CLASS_COLORS.values()]
    assert np.diff(lightness).min() > 10
    assert lightness[0] < 25
    assert lightness[-1] > 80


def test_class_colours_differ_under_deuteranopia():
    # Machado et al. (2009), doi:10.1109/TVCG.2009.113, severity 1
    deuteranopia = np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    )
    seen = [
        cie_lab(np.clip(deuteranopia @ linear_rgb(color), 1e-3, 1))
        for color in plots.CLASS_COLORS.values()
    ]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


def test_figures_neither_change_nor_obey_global_settings(spectrogram):
    before = dict(matplotlib.rcParams)
    plain = plots.spectrogram_page(spectrogram, VOTES)._repr_png_()[0]
    assert dict(matplotlib.rcParams) == before
    loud = {
        "axes.facecolor": "black",
        "axes.grid": False,
        "figure.dpi": 31,
        "font.family": "monospace",
        "font.size": 30,
        "savefig.bbox": "tight",
        "savefig.dpi": 47,
        "xtick.minor.visible": True,
    }
    with matplotlib.rc_context(loud):
        assert plots.spectrogram_page(spectrogram, VOTES)._repr_png_()[0] == plain


def test_figures_show_themselves_at_the_notebooks_width(spectrogram):
    png, size = plots.spectrogram_page(spectrogram)._repr_png_()
    assert size["width"] == 1000
    pixels = int.from_bytes(png[16:20], "big")  # the width in the PNG's header
    assert pixels > size["width"]


def test_figures_need_neither_tensorflow_nor_pyplot():
    program = (
        "import sys; from hbac_utils import plots; from hbac_utils.eda import statistics; "
        "print({'tensorflow', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_no_figure_lingers_in_pyplot(eeg):
    from matplotlib import pyplot

    plots.eeg_page(eeg)
    assert not pyplot.get_fignums()


# ---------------------------------------------------------------- pages


def test_eeg_page_has_a_trace_per_derivation_with_gaps_between_chains(eeg):
    figure = plots.eeg_page(eeg)
    (axes,) = figure.axes
    names = [line.get_gid() for line in axes.lines if line.get_gid() in DOUBLE_BANANA]
    assert tuple(names) == DOUBLE_BANANA
    assert [label.get_text() for label in axes.get_yticklabels()] == list(DOUBLE_BANANA)
    steps = np.diff(trace_rows())
    assert np.flatnonzero(steps > 1).tolist() == [3, 7, 11, 15]
    assert "(s)" in axes.get_xlabel()
    assert "negative is up" in axes.get_xlabel()


def test_negative_goes_up_by_the_sensitivity():
    eeg = np.zeros((10_000, 19), dtype=np.float32)
    eeg[5_000, ELECTRODES.index("Fp1")] = -50
    figure = plots.eeg_page(eeg, sensitivity=100)
    (axes,) = figure.axes
    (line,) = by_gid(figure, "Fp1-F7")
    drawn = line.get_ydata() - trace_rows()[0]
    assert drawn[5_000] == pytest.approx(-0.5)  # half a row …
    assert axes.yaxis_inverted()  # … on an axis that points down
    assert np.count_nonzero(drawn) == 1
    assert "100 µV" in texts(figure)
    (bar,) = by_gid(figure, "sensitivity")
    assert np.ptp(bar.get_ydata()) == 1  # a row is what the text says


@pytest.mark.parametrize(
    ("seconds", "shaded"),
    [((0, 50), [(20, 30)]), ((20, 30), [(20, 30)]), ((15, 25), [(20, 25)]), ((0, 10), [])],
)
def test_the_labelled_segment_is_shaded(eeg, seconds, shaded):
    figure = plots.eeg_page(eeg, seconds=seconds)
    spans = [tuple(a.get_extents().transformed(figure.axes[0].transData.inverted()).intervalx)
             for a in by_gid(figure, "segment")]  # fmt: skip
    assert spans == [pytest.approx(span) for span in shaded]
    assert figure.axes[0].get_xlim() == pytest.approx(seconds)


def test_traces_lose_their_median_and_keep_their_gaps(eeg):
    eeg = eeg + np.linspace(-100, 100, 19, dtype=np.float32)  # amplifier offsets
    eeg[:, ELECTRODES.index("F7")] = np.nan
    eeg[100:200, ELECTRODES.index("Pz")] = np.nan
    traces = bipolar_traces(eeg)
    absent = np.isnan(traces).all(axis=0)
    assert [name for name, gone in zip(DOUBLE_BANANA, absent, strict=True) if gone] == [
        "Fp1-F7", "F7-T3",
    ]  # fmt: skip
    assert np.isnan(traces[100:200, DOUBLE_BANANA.index("Cz-Pz")]).all()
    assert np.abs(np.nanmedian(traces[:, ~absent], axis=0)).max() < 1e-3
    assert texts(plots.eeg_page(eeg)).count("no signal") == 2


def test_one_wild_channel_does_not_flatten_the_page(eeg):
    traces = bipolar_traces(eeg)
    wild = traces.copy()
    wild[:, 0] *= 1_000
    assert auto_sensitivity(wild) == auto_sensitivity(traces)
    assert auto_sensitivity(traces * 5) > auto_sensitivity(traces)
    assert auto_sensitivity(np.full((10, 18), np.nan)) == 100


def test_votes_and_probabilities_stand_beside_the_page(eeg):
    figure = plots.eeg_page(eeg, VOTES, probabilities=PROBABILITIES)
    panel = figure.axes[1]
    assert widths(panel, "votes") == pytest.approx(VOTES / 22)
    assert widths(panel, "predicted") == pytest.approx(PROBABILITIES)
    assert "22 votes" in panel.get_title(loc="left")
    colours = [bar.get_facecolor()[:3] for bar in panel.containers[0]]
    assert colours == [to_rgb(color) for color in plots.CLASS_COLORS.values()]
    from_fractions = plots.eeg_page(eeg, VOTES / 22).axes[1]
    assert widths(from_fractions, "votes") == pytest.approx(VOTES / 22)
    assert from_fractions.get_title(loc="left") == "votes"
    single = plots.eeg_page(eeg, np.eye(6, dtype=int)[2]).axes[1]
    assert single.get_title(loc="left") == "1 vote"


def test_pages_refuse_other_shapes(eeg, spectrogram):
    with pytest.raises(ValueError, match=r"not \(n_times, 19\)"):
        plots.eeg_page(eeg[:, :18])
    with pytest.raises(ValueError, match="no EEG from 60 to 70 s"):
        plots.eeg_page(eeg, seconds=(60, 70))
    with pytest.raises(ValueError, match=r"not \(300, 400\)"):
        plots.spectrogram_page(spectrogram[:, :100])


def test_spectrogram_page_places_frequency_time_and_gaps(spectrogram):
    spectrogram[:] = 0
    spectrogram[225, 3 * 100 + 48] = 10  # RP at 9.96 Hz, 2.5 minutes after the centre
    spectrogram[10:36] = np.nan
    figure = plots.spectrogram_page(spectrogram, VOTES)
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_ylabel() for axes in panels] == [
        f"{c}\n(Hz)" for c in ("LL", "RL", "LP", "RP")
    ]
    assert panels[-1].get_xlabel() == "Time from the centre of the label (min)"
    image = panels[3].images[0]
    assert image.origin == "lower"
    left, right, bottom, top = image.get_extent()
    row, column = np.argwhere(image.get_array().filled(0) == 10)[0]
    assert left + (column + 0.5) / 300 * (right - left) == pytest.approx(2.5, abs=1 / 30)
    assert bottom + (row + 0.5) / 100 * (top - bottom) == pytest.approx(FREQUENCIES[48])
    for axes in panels:
        shown = axes.images[0]
        assert shown.get_array().mask[:, 10:36].all()
        assert shown.get_array().mask.sum() == 2_600
        assert shown.cmap.get_bad()[:3] == pytest.approx(to_rgb(MISSING))
    assert "ln power, grey: no data" in [axes.get_ylabel() for axes in figure.axes]


def test_spectrogram_page_has_one_colour_scale(spectrogram):
    spectrogram += np.repeat([0, 5, 10, 15], 100)
    panels = [axes for axes in plots.spectrogram_page(spectrogram).axes if axes.images]
    low, high = np.percentile(spectrogram, [2, 98])
    assert [axes.images[0].get_clim() for axes in panels] == [pytest.approx((low, high))] * 4


def test_spectrogram_page_marks_the_window_and_the_label(spectrogram):
    figure = plots.spectrogram_page(spectrogram)
    frames = by_gid(figure, "window")
    assert len(frames) == 4
    assert frames[0].get_x() * 60 == pytest.approx(-25)
    assert frames[0].get_width() * 60 == pytest.approx(50)
    assert [mark.get_xdata()[0] for mark in by_gid(figure, "label")] == [0, 0, 0, 0]


def test_window_page_has_both_looks_or_the_eeg_alone(eeg, spectrogram):
    both = plots.window_page(eeg, spectrogram, VOTES, title="GPD")
    assert len([axes for axes in both.axes if axes.images]) == 4
    assert len(by_gid(both, "Fp1-F7")) == 1
    assert "GPD" in texts(both)
    alone = plots.window_page(eeg, None, VOTES)
    assert not [axes for axes in alone.axes if axes.images]
    assert len(by_gid(alone, "Fp1-F7")) == 1


def test_window_grid_shows_votes_and_predictions_above_each_page(eeg):
    windows = [
        Window(eeg, None, VOTES, "KL 3.00 · GPD"),
        Window(eeg, None, np.eye(6, dtype=int)[5], "Other"),
        Window(eeg, None, None, "a test recording"),
    ]
    figure = plots.window_grid(windows, np.tile(PROBABILITIES, (3, 1)))
    traces = by_gid(figure, "Fp1-F7")
    assert len(traces) == 3
    assert traces[0].axes.get_xlim() == (17, 33)
    assert {"A  KL 3.00 · GPD", "B  Other", "C  a test recording"} <= set(texts(figure))
    strips = {label.get_text(): [bar.get_width() for bar in axes.patches]
              for axes in figure.axes[:2] for label in axes.get_yticklabels()}  # fmt: skip
    assert strips == {
        "22 votes": pytest.approx(VOTES / 22),
        "predicted": pytest.approx(PROBABILITIES),
    }
    assert "1 vote" in texts(figure)
    labels = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    assert labels.count("predicted") == 3
    assert "GPD 64%" in texts(figure)
    assert "Other 9%" not in texts(figure)  # no room for it in the bar
    assert "no such window in the data" in texts(plots.window_grid([]))


def test_showing_no_page_says_so(capsys):
    plots.show_pages([])
    assert capsys.readouterr().out == "no such window in the data\n"


# ---------------------------------------------------------------- tables


def test_vote_totals_marks_the_gap_that_is_there():
    figure = plots.vote_totals([1, 3, 3, 7, 10, 12, 12, 12])
    few, many = heights(figure.axes[0])
    assert few == [1, 2, 1]
    assert many == [1, 3]
    assert "none with\n8–9" in texts(figure)
    assert not by_gid(plots.vote_totals([3, 9, 10]), "gap")
    assert not by_gid(plots.vote_totals([3, 3]), "gap")


def test_class_balance_shows_each_populations_mean_fractions():
    votes = np.array([[3, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 2], [0, 0, 5, 0, 0, 15]])
    few, many = heights(plots.class_balance(votes).axes[0])
    assert few == pytest.approx([0.5, 0.25, 0, 0, 0, 0.25])
    assert many == pytest.approx([0, 0, 0.25, 0, 0, 0.75])


def test_agreement_map_counts_first_and_second_choices():
    votes = np.array([[3, 0, 0, 0, 0, 0]] * 2 + [[0, 2, 0, 0, 0, 1], [0, 1, 0, 0, 0, 2]])
    image = plots.agreement_map(votes).axes[0].images[0].get_array().filled()
    counts = np.zeros((6, 6))
    counts[0, 0], counts[1, 5], counts[5, 1] = 2, 1, 1
    assert image**2 == pytest.approx(counts)


def test_agreement_map_letters_its_examples():
    votes = np.array(
        [[4, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 2], [0, 0, 2, 2, 0, 0], [0, 0, 0, 0, 0, 3]]
    )
    figure = plots.agreement_map(votes, votes)
    letters = {t.get_text(): t.get_position() for t in figure.findobj(matplotlib.text.Text)
               if t.get_text() in ("A", "B", "C", "D")}  # fmt: skip
    top = np.sqrt(0.75)
    assert letters == {
        "A": pytest.approx((0.5, top)),
        "B": pytest.approx((0.25, top / 2)),  # half way to Other
        "C": pytest.approx((0.75, top / 2)),  # half way to another pattern
        "D": pytest.approx((0, 0)),
    }
    assert "A" not in texts(plots.agreement_map(votes))


def test_counts_distribution_keeps_every_count_on_log_axes():
    counts = {"Windows per EEG": [1, 1, 2, 3, 40, 743], "EEGs per patient": [1, 269]}
    figure = plots.count_histograms(counts)
    for axes, (label, values) in zip(figure.axes, counts.items(), strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_xlabel() == label
        assert sum(bar.get_height() for bar in axes.containers[0]) == len(values)
    assert [axes.get_ylabel() for axes in figure.axes] == ["EEGs", "Patients"]


@pytest.fixture
def means():
    """Classes × chains × times × frequencies; the first times of all are not known."""
    means = np.random.default_rng(2).normal(size=(6, 4, 300, 100))
    means[:, :, :10] = np.nan
    return means


def test_mean_spectra_draws_a_line_per_class_and_chain(means):
    means[5] = np.nan
    figure = plots.mean_spectra(means)
    for chain, axes in enumerate(figure.axes):
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines) == list(CLASSES)
        assert lines["GRDA"].get_ydata() == pytest.approx(means[4, chain, 10:].mean(axis=0))
        assert lines["GRDA"].get_color() == plots.CLASS_COLORS["GRDA"]
        assert np.isnan(lines["Other"].get_ydata()).all()
    assert figure.axes[2].get_xlabel() == "Frequency (Hz)"
    assert "no spectrograms" in texts(plots.mean_spectra(means * np.nan))


def test_mean_spectrograms_draws_an_image_per_class_and_chain(means):
    figure = plots.mean_spectrograms(means)
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 24
    shown = panels[4 * CLASSES.index("GPD") + 1].images[0].get_array()
    assert shown.filled(np.nan) == pytest.approx(means[2, 1].T, nan_ok=True)
    assert panels[8].get_ylabel() == "GPD\n(Hz)"
    assert panels[-1].get_xlabel() == "Time from the label (min)"
    limits = pytest.approx(tuple(np.nanpercentile(means, [2, 98])))
    assert [axes.images[0].get_clim() for axes in panels] == [limits] * 24
    assert "Mean ln power, grey: no data" in [axes.get_ylabel() for axes in figure.axes]


def test_band_power_boxes_stand_at_the_medians():
    table = pd.DataFrame(
        {"consensus": ["LPD"] * 3, "delta 0.5–4 Hz": [1.0, 2.0, 9.0], "asymmetry": [-3.0, 0, 1]}
    )
    figure = plots.band_power(table)
    delta, asymmetry = figure.axes
    assert delta.get_ylabel() == "Band power (dB re 1 µV²)"
    lpd = CLASSES.index("LPD") + 1
    medians = [line.get_ydata()[0] for line in delta.lines
               if len(line.get_xdata()) == 2 and np.mean(line.get_xdata()) == lpd]  # fmt: skip
    assert 2.0 in medians
    assert [label.get_text() for label in asymmetry.get_xticklabels()] == list(CLASSES)


# ---------------------------------------------------------------- training


def history(folds=2, epochs=3):
    return pd.DataFrame(
        {
            "fold": fold,
            "epoch": epoch,
            "stage": "first" if epoch < 2 else "second",
            "loss": 1.0 - 0.1 * epoch,
            "kl_all": 0.9 + 0.1 * fold + 0.1 * abs(epoch - 1),
            "kl_reliable": np.nan,
        }
        for fold in range(folds)
        for epoch in range(epochs)
    )


def test_training_curves_draw_folds_stages_and_the_prior():
    figure = plots.training_curves(history(), {"kl_all": 1.2, "kl_reliable": None})
    loss, kl = figure.axes  # a score that is never there has no panel
    assert loss.get_ylabel() == "KL divergence (nats)"
    lines = {line.get_label(): line for line in kl.lines}
    assert lines["fold 1"].get_xdata().tolist() == [1, 2, 3]
    assert lines["fold 1"].get_ydata().tolist() == pytest.approx([1.1, 1.0, 1.1])
    rings = [tuple(line.get_xydata()[0]) for line in by_gid(figure, "best") if line.axes is kl]
    assert rings == [pytest.approx((2, 0.9)), pytest.approx((2, 1.0))]
    (prior,) = by_gid(figure, "prior")
    assert prior.axes is kl
    assert prior.get_ydata()[0] == 1.2
    assert [line.get_xdata()[0] for line in by_gid(figure, "stage")] == [2.5, 2.5]


def test_training_curves_of_one_epoch_and_no_prior():
    full = history(folds=1, epochs=1).assign(kl_reliable=0.5)
    panels = plots.training_curves(full).axes
    assert len(panels) == 3
    assert panels[0].get_xlim() == (0.5, 1.5)
    assert [tick for tick in panels[0].get_xticks() if 0.5 <= tick <= 1.5] == [1]


def test_learning_rate_curve_is_logarithmic():
    (axes,) = plots.learning_rate_curve([0, 1, 2], [1e-5, 1e-3, 1e-4]).axes
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_ydata() == pytest.approx([1e-5, 1e-3, 1e-4])


LABELS = np.tile(PROBABILITIES, (11, 1))


def test_batch_images_show_images_and_soft_labels():
    images = np.random.default_rng(0).normal(size=(11, 128, 30, 1))
    figure = plots.batch_images(images, LABELS, EegSpectrogram(kind="eeg_spectrogram", seconds=10))
    shown = [axes for axes in figure.axes if axes.images]
    strips = [axes for axes in figure.axes if axes.get_title(loc="left") == "GPD 40%"]
    assert len(shown) == len(strips) == 8
    assert shown[4].images[0].get_array().filled() == pytest.approx(images[4, :, :, 0])
    assert [bar.get_width() for bar in strips[0].patches] == pytest.approx(PROBABILITIES)


def test_batch_images_have_the_units_of_their_view():
    eeg = plots.batch_images(
        np.zeros((2, 128, 30, 1)), LABELS[:2], EegSpectrogram(kind="eeg_spectrogram", seconds=10)
    )
    axes = next(axes for axes in eeg.axes if axes.images)
    assert axes.get_xlim() == (20, 30)
    assert axes.get_xlabel() == "Time in the window (s)"
    # 32 rows from 0.5 to 20 Hz: 10 Hz of the second chain lies in its 16th row
    place = dict(
        zip([t.get_text() for t in axes.get_yticklabels()], axes.get_yticks(), strict=True)
    )
    assert place["10"] == pytest.approx(96 + 0.5 + 31 * 9.5 / 19.5)  # of the last chain
    assert {"LL", "RL", "LP", "RP"} <= set(texts(eeg))

    kaggle = plots.batch_images(
        np.zeros((2, 40, 30, 1)), LABELS[:2], KaggleSpectrogram(kind="kaggle_spectrogram")
    )
    axes = next(axes for axes in kaggle.axes if axes.images)
    assert axes.get_xlim() == (-5, 5)
    assert axes.get_xlabel() == "Time from the label (min)"

    view = Waveform(kind="waveform", rate=100, layout="image")
    image = np.zeros((2, 80, 1000, 1))
    image[0, :5] = 1  # the first derivation
    axes = next(a for a in plots.batch_images(image, LABELS[:2], view).axes if a.images)
    assert axes.get_xlim() == (0, 50)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(DOUBLE_BANANA[:16])
    assert axes.get_yticks()[0] == 2.5
    assert axes.yaxis_inverted()  # Fp1-F7 on top


def test_batch_series_are_traces_of_named_derivations():
    series = np.random.default_rng(0).normal(size=(6, 5000, 18))
    series[1, 2500, 0] = -1.4
    figure = plots.batch_series(series, LABELS, Waveform(kind="waveform", rate=100))
    traces = by_gid(figure, "Fp1-F7")
    assert len(traces) == 4
    page = traces[1].axes
    assert [label.get_text() for label in page.get_yticklabels()] == list(DOUBLE_BANANA)
    assert page.get_xlim() == (0, 50)
    assert "(s)" in page.get_xlabel()
    fills = np.median(np.percentile(np.abs(series[:4].reshape(-1, 18)), 98, axis=0)) / 0.7
    assert traces[1].get_xdata()[2500] == 25
    assert traces[1].get_ydata()[2500] == pytest.approx(-1.4 / fills)
    # a value v stands for 50 µV times e^v - 1
    assert f"{fills:.1f}\n({50 * np.expm1(fills):.0f} µV)" in texts(figure)
    strip = figure.axes[0]
    assert [bar.get_width() for bar in strip.patches] == pytest.approx(PROBABILITIES)
    assert "GPD 40%" in texts(figure)


def test_a_batch_has_a_figure_for_each_branch():
    series = {"view": {"kind": "waveform"}, "backbone": {"kind": "compact"}}
    image = {"view": {"kind": "eeg_spectrogram"}, "backbone": {"kind": "resnet50v2"}}
    branches = [Branch.model_validate(series), Branch.model_validate(image)]
    seen = [np.ones((2, 500, 18)), np.ones((2, 8, 6, 1))]
    series, images = plots.batch_pages(seen, LABELS[:2], branches)
    assert by_gid(series, "Cz-Pz")
    assert not [axes for axes in series.axes if axes.images]
    assert len([axes for axes in images.axes if axes.images]) == 2


# ---------------------------------------------------------------- predictions


@pytest.fixture
def predicted():
    rng = np.random.default_rng(3)
    return rng.dirichlet(np.ones(6), 60), rng.dirichlet(np.ones(6), 60)


def test_confusion_counts_leading_classes():
    truth = np.eye(6)[[0, 0, 0, 5]]
    figure = plots.confusion_matrix(truth, np.eye(6)[[0, 0, 1, 5]])
    shares = figure.axes[0].images[0].get_array().filled()
    assert shares[0] == pytest.approx([2 / 3, 1 / 3, 0, 0, 0, 0])
    assert shares[5, 5] == 1
    assert {"2\n67%", "1\n33%", "1\n100%"} <= set(texts(figure))
    assert figure.axes[0].get_ylabel() == "Class with most votes"


def test_reliability_bins_by_hand():
    predicted, observed, error, counts = reliability_bins(
        np.array([0.0, 0.2, 1.0]), np.array([0.02, 0.08, 1.0])
    )
    assert predicted == pytest.approx([0.05, 1.0])
    assert observed == pytest.approx([0.1, 1.0])
    assert error == pytest.approx([0.1 / np.sqrt(2), 0])
    assert counts.tolist() == [2, 1]


def test_reliability_joins_only_bins_with_enough_windows():
    truth = np.tile(np.eye(6)[0], (7, 1))
    predicted = np.tile([0.9, 0.1, 0, 0, 0, 0], (7, 1))
    predicted[:2, :2] = [0.5, 0.5]
    axes = plots.reliability_diagram(truth, predicted).axes[0]
    (joined,) = [line for line in axes.lines if line.get_color() == plots.CLASS_COLORS["Seizure"]]
    assert joined.get_xdata() == pytest.approx([0.9])
    rings = axes.collections[-1].get_facecolor()[:, :3]
    assert rings[0] == pytest.approx([1, 1, 1])
    assert rings[1] == pytest.approx(to_rgb(plots.CLASS_COLORS["Seizure"]))


def test_reliability_of_a_perfect_prediction_has_no_gap(predicted):
    figure = plots.reliability_diagram(predicted[0], predicted[0])
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        f"{name}, mean gap 0.000" for name in CLASSES
    ]


def test_kl_by_class_sums_to_the_score(predicted):
    figure = plots.kl_by_class(*predicted)
    total = rel_entr(*predicted).sum(axis=1).mean()
    bars = figure.axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(total)
    assert f"{total:.3f}" in figure.axes[0].get_title(loc="left")


def test_kl_by_group_labels_means_and_sizes():
    groups = pd.Categorical(["b", "a", "a"], ["c", "b", "a"])
    figure = plots.kl_by_group({"model": [1.0, 3.0, 5.0]}, groups, "Group")
    (axes,) = figure.axes
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == ["b\nn = 1", "a\nn = 2"]  # in the categories' order, without the empty one
    assert {"4.00", "1.00"} <= set(texts(figure))
    assert not figure.legends


def test_kl_by_group_compares_with_prior_and_oracle():
    groups = pd.Categorical(["a", "a", "b"])
    scores = {"model": [1.0, 1.0, 1.0], "prior": [2.0, 4.0, 5.0], "oracle": [0.1, 0.3, 0.0]}
    figure = plots.kl_by_group(scores, groups, "Group")
    lines = {c.get_label(): [s[0, 1] for s in c.get_segments()] for c in figure.axes[0].collections}
    assert lines["prior"] == pytest.approx([3, 5])
    assert lines["oracle"] == pytest.approx([0.2, 0])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["prior", "oracle"]


def test_score_bars_leave_out_what_is_unknown():
    scores = {
        "prior": {"kl_all": 1.2, "kl_reliable": 0.9},
        "model": {"kl_all": 0.8, "kl_reliable": None},
    }
    figure = plots.score_bars(scores)
    (axes,) = figure.axes
    assert widths(axes, "all votes") == pytest.approx([1.2, 0.8])
    assert widths(axes, "≥ 10 votes") == pytest.approx([0.9, np.nan], nan_ok=True)
    assert "(nats)" in axes.get_xlabel()
    assert {"1.200", "0.900", "0.800"} <= set(texts(figure))


def test_prediction_bars_stack_to_one(predicted):
    figure = plots.prediction_bars(predicted[0], range(100, 160), most=12)
    (axes,) = figure.axes
    stacked = np.array([[bar.get_width() for bar in bars] for bars in axes.containers])
    assert pytest.approx(predicted[0][:12]) == stacked.T
    last = axes.containers[-1]
    assert [bar.get_x() + bar.get_width() for bar in last] == pytest.approx(np.ones(12))
    assert axes.get_ylabel() == "EEG, first 12"


def test_fold_predictions_show_each_fold_over_the_mean(predicted):
    folds = {"fold0": predicted[0], "fold1": predicted[1]}
    mean = (predicted[0] + predicted[1]) / 2
    figure = plots.fold_predictions(folds, mean, range(100, 160))
    panels = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in panels] == [f"EEG {i}" for i in range(100, 108)]
    assert [bar.get_height() for bar in panels[3].patches] == pytest.approx(mean[3])
    rings = [line.get_ydata() for line in panels[3].lines]
    assert rings == [pytest.approx(predicted[0][3]), pytest.approx(predicted[1][3])]
    spread = np.abs(predicted[0] - mean).mean()
    assert f"{spread:.3f}" in " ".join(texts(figure))
    single = plots.fold_predictions({"fold0": mean[:1]}, mean[:1], [7])
    assert [axes.get_title(loc="left") for axes in single.axes] == ["EEG 7"]


def test_distribution_against_prior_shows_both(predicted):
    figure = plots.distribution_against_prior(predicted[0], PROBABILITIES)
    mean, prior = heights(figure.axes[0])
    assert mean == pytest.approx(predicted[0].mean(axis=0))
    assert prior == pytest.approx(PROBABILITIES)


# ---------------------------------------------------------------- survey


def write_parquet(path, values, columns):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(dict(zip(columns, values.astype(np.float32).T, strict=True))), path)


def train_table():
    """Five windows: EEG 1 has two vote vectors, EEG 3 is of a patient of its own."""
    votes = np.array(
        [
            [3, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0, 0],
            [1, 2, 0, 0, 0, 0],
            [0, 0, 6, 0, 0, 6],
            [0, 0, 0, 12, 0, 0],
        ]
    )
    ids = {
        "eeg_id": [1, 1, 1, 2, 3],
        "eeg_sub_id": [0, 1, 2, 0, 0],
        "eeg_label_offset_seconds": [0.0, 4.0, 10.0, 0.0, 0.0],
        "spectrogram_id": [11, 11, 11, 11, 13],
        "spectrogram_sub_id": [0, 1, 2, 3, 0],
        "spectrogram_label_offset_seconds": [0.0, 4.0, 10.0, 60.0, 0.0],
        "label_id": [1, 2, 3, 4, 5],
        "patient_id": [7, 7, 7, 7, 8],
        "expert_consensus": consensus(votes),
    }
    return pd.DataFrame({**ids, **dict(zip(VOTE_COLUMNS, votes.T, strict=True))})[
        list(TRAIN_COLUMNS)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("competition")
    train_table().to_csv(path / "train.csv", index=False)
    test = pd.DataFrame({"spectrogram_id": [21, 22], "eeg_id": [3, 102], "patient_id": [90, 91]})
    test.to_csv(path / "test.csv", index=False)
    times = np.arange(60 * 200) / 200
    eeg = np.zeros((len(times), 20))
    eeg[:, ELECTRODES.index("O2")] = 40 * np.sin(2 * np.pi * 10 * times)
    write_parquet(path / "train_eegs" / "1.parquet", eeg, CHANNELS)
    holed = eeg[:10_000].copy()
    holed[100:150] = np.nan
    holed[:, ELECTRODES.index("F3")] = np.nan
    write_parquet(path / "train_eegs" / "2.parquet", holed, CHANNELS)
    write_parquet(path / "train_eegs" / "3.parquet", eeg[:10_000], CHANNELS)
    waves = np.tile(eeg[:10_000, [ELECTRODES.index("O2")]], 20)
    write_parquet(path / "test_eegs" / "3.parquet", waves, CHANNELS)
    power = np.full((330, 400), np.e)
    power[:5] = np.nan
    write_parquet(path / "train_spectrograms" / "11.parquet", power, SPECTROGRAM_COLUMNS)
    write_parquet(path / "train_spectrograms" / "13.parquet", power[30:] * 10, SPECTROGRAM_COLUMNS)
    return path


@pytest.fixture
def handmade(folder):
    return open_competition(folder)


def test_agreement_names_the_kinds():
    votes = [
        [9, 0, 0, 0, 0, 3],  # three quarters
        [0, 6, 0, 0, 0, 5],
        [0, 5, 0, 0, 0, 6],
        [6, 0, 5, 0, 0, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    assert agreement(votes).tolist() == ["idealized", "proto", "proto", "edge", "scattered"]


def test_shares_of_pattern_other_and_the_rest():
    votes = [[0, 3, 0, 1, 0, 4], [0, 0, 0, 0, 0, 2], [2, 2, 2, 2, 2, 0]]
    assert shares(votes) == pytest.approx(
        np.array([[3 / 8, 1 / 2, 1 / 8], [0, 1, 0], [0.2, 0, 0.8]])
    )


def test_vote_groups_do_not_cross_ten():
    groups = vote_groups([1, 2, 3, 4, 9, 10, 12, 13, 15, 16, 28])
    assert list(groups) == [
        "1–2", "1–2", "3", "4–9", "4–9", "10–12", "10–12", "13–15", "13–15", "≥ 16", "≥ 16",
    ]  # fmt: skip
    assert groups.ordered
    assert list(groups.categories) == ["1–2", "3", "4–9", "10–12", "13–15", "≥ 16"]


def test_overview_counts_by_hand(handmade):
    counts = survey.overview(handmade.train)["count"]
    assert counts["labelled windows"] == 5
    assert counts["windows with ≥ 10 votes"] == 2
    assert counts["(EEG, vote vector) groups"] == 4
    assert counts[["EEGs", "spectrograms", "patients"]].tolist() == [3, 2, 2]
    year = handmade.train.assign(eeg_label_offset_seconds=3600.0 * 1000 - 50)
    assert survey.overview(year)["count"]["hours of EEG"] == 3_000


def test_label_changes_by_hand(handmade):
    table = survey.label_changes(handmade.train)
    assert table.index.tolist() == [1, 2]
    assert table["EEGs"].tolist() == [2, 1]
    assert table["share"].tolist() == pytest.approx([2 / 3, 1 / 3], abs=1e-3)
    assert table["EEGs with several classes"].tolist() == [0, 1]


def test_agreement_table_counts_each_vote_vector_once(handmade):
    table = survey.agreement_table(handmade.train)
    assert table.shape == (6, 4)
    assert table.to_numpy().sum() == 4
    assert table.loc["GPD", "proto"] == table.loc["LPD", "edge"] == 1


def test_constant_scores_against_scipy(handmade):
    fractions = np.array(
        [[1, 0, 0, 0, 0, 0], [1 / 3, 2 / 3, 0, 0, 0, 0], [0, 0, 0.5, 0, 0, 0.5], [0, 0, 0, 1, 0, 0]]
    )

    def best(rows):
        return rel_entr(rows, np.broadcast_to(rows.mean(axis=0), rows.shape)).sum(axis=1).mean()

    scores = survey.constant_scores(handmade.train)
    assert scores["prior"]["kl_all"] == pytest.approx(best(fractions))
    assert scores["prior"]["kl_reliable"] == pytest.approx(best(fractions[2:]))
    assert scores["uniform"]["kl_reliable"] == pytest.approx((np.log(3) + np.log(6)) / 2)
    assert set(scores["uniform"]) == set(both_scores(VOTES[None], PROBABILITIES))


def test_counts_and_overlap(handmade):
    assert sorted(survey.windows_per_eeg(handmade.train)) == [1, 1, 3]
    assert sorted(survey.eegs_per_patient(handmade.train)) == [1, 2]
    table = survey.overlap(handmade.train, handmade.test)
    assert table.loc["eeg_id"].tolist() == [3, 2, 1]
    assert table.loc["patient_id"].tolist() == [2, 2, 0]


def test_examples_prefer_the_kind_and_the_many_votes(handmade):
    chosen = class_examples(handmade.train)
    assert chosen["expert_consensus"].tolist() == ["Seizure", "GPD", "LRDA"]
    assert chosen["eeg_id"].is_unique
    edges = class_examples(handmade.train, kind="edge")
    assert edges["expert_consensus"].tolist() == ["LPD", "GPD", "LRDA"]  # EEG 1 shows its edge
    assert edges[edges["expert_consensus"] == "LPD"]["label_id"].tolist() == [3]
    assert one_per_vote_vector(handmade.train)["label_id"].tolist() == [1, 3, 4, 5]


def corner_table(votes):
    table = pd.DataFrame(votes, columns=list(VOTE_COLUMNS))
    return table.assign(eeg_id=range(len(table)), expert_consensus=consensus(table.to_numpy()))


def test_agreement_examples_are_the_purest_of_each_kind():
    table = corner_table(
        [
            [0, 3, 0, 0, 0, 0],
            [0, 13, 0, 0, 0, 1],  # about as pure as the first, and of more votes
            [0, 0, 1, 0, 0, 1],
            [0, 0, 7, 0, 0, 8],
            [0, 0, 9, 0, 0, 4],  # also a proto pattern, farther from its middle
            [0, 6, 0, 6, 0, 0],
            [1, 1, 1, 0, 0, 1],  # few votes, but nothing else comes near
            [0, 0, 0, 0, 0, 20],
        ]
    )
    chosen = agreement_examples(table)
    assert chosen["eeg_id"].tolist() == [1, 3, 5, 6]
    assert chosen["title"].tolist() == [
        "idealized: 13 LPD, 1 Other",
        "proto: 8 Other, 7 GPD",
        "edge: 6 LPD, 6 LRDA",
        "scattered: 1 Seizure, 1 LPD, 1 GPD, 1 Other",
    ]


def test_agreement_examples_say_what_they_are_where_a_kind_is_missing():
    chosen = agreement_examples(corner_table([[0, 0, 0, 0, 5, 0], [0, 0, 0, 0, 0, 4]]))
    assert chosen["title"].tolist() == [
        "idealized: 5 GRDA",
        "no proto window; idealized: 4 Other",
    ]


def test_votes_are_written_the_largest_first():
    assert vote_text(np.array([0, 2, 0, 7, 0, 2])) == "7 LRDA, 2 LPD, 2 Other"


def test_stored_windows_are_the_competitions(competition, store):
    row = store.windows.iloc[[3]].assign(title="one")
    (stored,) = read_stored_windows(store, row)
    read = read_window(competition, competition.train.iloc[3])
    assert stored.title == "one"
    assert stored.votes.tolist() == read.votes.tolist()
    present = np.isfinite(read.eeg).all(axis=0)
    for trace, other in zip(stored.eeg.T[present], read.eeg.T[present], strict=True):
        assert np.corrcoef(trace[400:-400], other[400:-400])[0, 1] > 0.99
    np.testing.assert_allclose(stored.spectrogram, read.spectrogram, atol=1e-6)


def test_read_window_cuts_filters_and_keeps_gaps(handmade):
    window = read_window(handmade, handmade.train.iloc[3])
    assert window.eeg.shape == (10_000, 19)
    assert window.spectrogram.shape == (300, 400)
    assert window.votes.tolist() == [0, 0, 6, 0, 0, 6]
    assert window.title == "GPD · EEG 2"
    assert np.isnan(window.eeg[:, ELECTRODES.index("F3")]).all()
    assert np.isnan(window.eeg[100:150]).all()
    o2 = window.eeg[2_000:8_000, ELECTRODES.index("O2")]
    assert np.abs(o2).max() == pytest.approx(40, rel=0.02)  # 10 Hz passes
    assert np.nanmax(window.spectrogram) == pytest.approx(1, abs=1e-3)  # ln e
    early = read_window(handmade, handmade.train.iloc[0])
    assert np.isnan(early.spectrogram).all(axis=1).sum() == 5
    assert np.isnan(window.spectrogram).sum() == 0  # 60 s later the gap is over


def test_read_window_refuses_a_short_file(handmade):
    row = handmade.train.iloc[2].copy()
    row["eeg_label_offset_seconds"] = 20.0
    with pytest.raises(InputError, match=r"1\.parquet: 12000 rows, but a window .* row 14000"):
        read_window(handmade, row)


def test_test_windows_never_fail(handmade):
    good, bad = read_test_windows(handmade, 5)
    assert good.votes is None
    assert good.spectrogram is None
    assert np.isfinite(good.eeg).all()
    assert np.isnan(bad.eeg).all()
    assert "102.parquet: no such file" in bad.title
    pages = plots.window_pages([good, bad], probabilities=np.tile(PROBABILITIES, (3, 1)))
    assert widths(pages[0].axes[1], "predicted") == pytest.approx(PROBABILITIES)
    assert texts(pages[1]).count("no signal") == 18


def test_mean_spectrograms_average_what_is_known(handmade, tmp_path):
    means = survey.mean_spectrograms(handmade)
    assert means.shape == (6, 4, 300, 100)
    seizure, lrda = CLASSES.index("Seizure"), CLASSES.index("LRDA")
    assert means[seizure, :, 5:] == pytest.approx(np.ones((4, 295, 100)), abs=2e-3)
    assert np.isnan(means[seizure, :, :5]).all()
    assert means[lrda] == pytest.approx(np.full((4, 300, 100), 1 + np.log(10)), abs=2e-3)
    assert np.isnan(means[CLASSES.index("GRDA")]).all()
    (tmp_path / "train.csv").write_text((handmade.path / "train.csv").read_text())
    assert np.isnan(survey.mean_spectrograms(open_competition(tmp_path))).all()


def test_band_power_of_a_sine(handmade):
    eeg = np.zeros((10_000, 19))
    eeg[:, ELECTRODES.index("O2")] = 40 * np.sin(2 * np.pi * 10 * np.arange(10_000) / 200)
    power = survey.band_power(eeg)
    # O2 stands in 2 of 18 derivations; a sine of amplitude 40 has power 800
    assert power["alpha 8–13 Hz"] == pytest.approx(10 * np.log10(800 * 2 / 18), abs=0.05)
    assert power["delta 0.5–4 Hz"] < -20
    assert power["asymmetry"] > 60
    table = survey.band_powers(handmade, per_class=1)
    assert table["consensus"].tolist() == ["Seizure", "LPD", "GPD", "LRDA"]


def test_missing_data_by_hand(handmade):
    table = survey.missing_data(handmade)
    assert table.loc["EEG"].tolist()[:4] == [3, 1, 1, 1]
    share = (10_000 + 18 * 50) / (19 * 32_000)
    assert table.loc["EEG", "share missing"] == pytest.approx(share, abs=1e-4)
    assert table.loc["spectrogram"].tolist()[:4] == [2, 1, 0, 1]


# ---------------------------------------------------------------- the notebook


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_eda_notebook_is_thin_and_bare(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.metadata.get("tags") for cell in code].count(["parameters"]) == 1
    for cell in code:
        assert not cell.outputs
        assert cell.execution_count is None
        nodes = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not nodes & {ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.For, ast.While}


def test_eda_notebook_runs_on_a_small_competition(notebook, folder):
    scope = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), scope)
            if "parameters" in cell.metadata.get("tags", []):
                scope["data"] = str(folder)
    assert scope["chosen"]["expert_consensus"].tolist() == ["Seizure", "GPD", "LRDA"]
    assert len(scope["corners"]) == 3
