"""Figures of windows and training batches: montage, units, votes, markers."""

import numpy as np
import pytest
from figures import by_gid, images, texts, ticks
from matplotlib.colors import to_rgb

from hbac_utils import plots
from hbac_utils.data.layout import FREQUENCIES
from hbac_utils.eda.examples import Window
from hbac_utils.montage import DOUBLE_BANANA, ELECTRODES
from hbac_utils.parts import (
    EegSpectrogram,
    KaggleSpectrogram,
    MelSpectrogram,
    MultiSpectrogram,
    Waveform,
)
from hbac_utils.plots.style import new_figure
from hbac_utils.plots.windows import ROWS, bipolar_traces, draw_traces, row_height

VOTES = np.array([0, 6, 14, 0, 0, 2])
PROBABILITIES = np.array([0.1, 0.2, 0.4, 0.1, 0.1, 0.1])
LABELS = np.tile(PROBABILITIES, (11, 1))


@pytest.fixture
def eeg():
    return np.random.default_rng(0).normal(0, 30, (10_000, 19)).astype(np.float32)


@pytest.fixture
def spectrogram():
    return np.random.default_rng(1).normal(0, 2, (300, 400)).astype(np.float32)


def widths(axes, label):
    (bars,) = [c for c in axes.containers if c.get_label() == label]
    return [bar.get_width() for bar in bars]


# ---------------------------------------------------------------- EEG


def test_eeg_page_has_a_trace_per_derivation_and_shades_the_labelled_segment(eeg):
    figure = plots.eeg_page(eeg, seconds=(15, 25))
    (axes,) = figure.axes
    names = [line.get_gid() for line in axes.lines if line.get_gid() in DOUBLE_BANANA]
    assert names == ticks(axes.yaxis) == list(DOUBLE_BANANA)
    assert np.flatnonzero(np.diff(ROWS) > 1).tolist() == [3, 7, 11, 15]
    assert axes.get_xlabel().startswith("Time in the window (s)")
    assert axes.get_xlim() == pytest.approx((15, 25))
    (area,) = by_gid(figure, "segment")
    to_data = axes.transData.inverted()
    assert area.get_extents().transformed(to_data).intervalx == pytest.approx((20, 30))


def test_negative_is_up_by_the_sensitivity():
    eeg = np.zeros((10_000, 19), dtype=np.float32)
    eeg[5_000, ELECTRODES.index("Fp1")] = -50
    eeg[6_000, ELECTRODES.index("Fp1")] = 400
    figure = new_figure(5)
    draw_traces(figure.subplots(), np.arange(10_000) / 200, bipolar_traces(eeg), 100, "100 µV")
    (line,) = by_gid(figure, "Fp1-F7")
    drawn = line.get_ydata() - ROWS[0]
    assert drawn[5_000] == pytest.approx(-0.5)  # half a row …
    assert figure.axes[0].yaxis_inverted()  # … on an axis that points down
    assert drawn[6_000] == pytest.approx(4)  # high waves reach into other rows, uncut
    assert np.count_nonzero(drawn) == 2
    assert "100 µV" in texts(figure)
    (bar,) = by_gid(figure, "sensitivity")
    assert np.ptp(bar.get_ydata()) == 1


def test_traces_lose_their_median_and_keep_their_gaps(eeg):
    eeg = eeg + np.linspace(-100, 100, 19, dtype=np.float32)  # offsets of the amplifier
    eeg[:, ELECTRODES.index("F7")] = np.nan
    eeg[100:200, ELECTRODES.index("Pz")] = np.nan
    traces = bipolar_traces(eeg)
    absent = np.isnan(traces).all(axis=0)
    assert [n for n, a in zip(DOUBLE_BANANA, absent, strict=True) if a] == ["Fp1-F7", "F7-T3"]
    assert np.isnan(traces[100:200, DOUBLE_BANANA.index("Cz-Pz")]).all()
    assert np.abs(np.nanmedian(traces[:, ~absent], axis=0)).max() < 1e-3
    assert texts(plots.eeg_page(eeg)).count("no signal") == 2


def test_the_sensitivity_suits_typical_and_high_traces_but_not_a_loose_electrode(eeg):
    traces = bipolar_traces(eeg)
    loose = traces.copy()
    loose[:, :4] *= 1_000
    assert row_height(loose) == pytest.approx(row_height(traces), rel=0.02)
    assert row_height(np.full((10, 18), np.nan)) == 1
    # 98 % of a normal distribution are within 2.33 deviations; two electrodes: √2; 70 % of a row
    assert row_height(traces) == pytest.approx(30 * 2**0.5 * 2.33 / 0.7, rel=0.05)
    assert "100 µV" in texts(plots.eeg_page(eeg))
    frontal = traces.copy()
    frontal[:, ::3] *= 10  # six of 18: their 98th percentile reaches 1.5 rows
    assert row_height(frontal) == pytest.approx(10 * 30 * 2**0.5 * 2.33 / 1.5, rel=0.05)


def test_votes_and_probabilities_are_drawn_beside_the_page(eeg):
    panel = plots.eeg_page(eeg, VOTES, probabilities=PROBABILITIES).axes[1]
    assert widths(panel, "votes") == pytest.approx(VOTES / 22)
    assert widths(panel, "predicted") == pytest.approx(PROBABILITIES)
    assert "22 votes" in panel.get_title(loc="left")
    colors = [bar.get_facecolor()[:3] for bar in panel.containers[0]]
    assert colors == [to_rgb(color) for color in plots.CLASS_COLORS.values()]
    fractions = plots.eeg_page(eeg, VOTES / 22).axes[1]
    assert widths(fractions, "votes") == pytest.approx(VOTES / 22)
    assert fractions.get_title(loc="left") == "votes"


def test_pages_reject_other_shapes(eeg, spectrogram):
    with pytest.raises(ValueError, match=r"not \(n_times, 19\)"):
        plots.eeg_page(eeg[:, :18])
    with pytest.raises(ValueError, match="no EEG from 60 to 70 s"):
        plots.eeg_page(eeg, seconds=(60, 70))
    with pytest.raises(ValueError, match=r"not \(300, 400\)"):
        plots.spectrogram_page(spectrogram[:, :100])


# ---------------------------------------------------------------- spectrogram


def test_spectrogram_page_places_time_frequency_and_gaps(spectrogram):
    spectrogram[:] = 0
    spectrogram[225, 3 * 100 + 48] = 10  # RP, 9.96 Hz, 2.5 minutes after the centre
    spectrogram[10:36] = np.nan
    figure = plots.spectrogram_page(spectrogram, VOTES)
    panels = images(figure)
    assert [image.axes.get_ylabel()[:2] for image in panels] == ["LL", "RL", "LP", "RP"]
    assert all(image.get_array().mask.sum() == 26 * 100 for image in panels)
    left, right, bottom, top = panels[3].get_extent()
    row, column = np.argwhere(panels[3].get_array().filled(0) == 10)[0]
    assert left + (column + 0.5) / 300 * (right - left) == pytest.approx(2.5, abs=1 / 30)
    assert bottom + (row + 0.5) / 100 * (top - bottom) == pytest.approx(FREQUENCIES[48])
    assert panels[3].axes.get_xlabel() == "Time from the centre of the label (min)"
    assert "ln power, grey: no data" in [axes.get_ylabel() for axes in figure.axes]


def test_spectrogram_page_has_one_colour_scale_and_marks_the_window(spectrogram):
    spectrogram += np.repeat([0, 5, 10, 15], 100)
    figure = plots.spectrogram_page(spectrogram)
    limits = pytest.approx(tuple(np.percentile(spectrogram, [2, 98])))
    assert [image.get_clim() for image in images(figure)] == [limits] * 4
    frame = by_gid(figure, "window")[0]
    assert (60 * frame.get_x(), 60 * frame.get_width()) == pytest.approx((-25, 50))
    assert [mark.get_xdata()[0] for mark in by_gid(figure, "label")] == [0, 0, 0, 0]


# ---------------------------------------------------------------- windows


def test_window_page_shows_spectrogram_and_eeg_or_the_eeg_alone(eeg, spectrogram):
    both = plots.window_page(Window(eeg, spectrogram, VOTES, "GPD"))
    assert (len(images(both)), len(by_gid(both, "Fp1-F7"))) == (4, 1)
    assert "GPD" in texts(both)
    alone = plots.window_page(Window(eeg, None, VOTES, "GPD"))
    assert (len(images(alone)), len(by_gid(alone, "Fp1-F7"))) == (0, 1)


def test_window_grid_shows_votes_and_predictions_above_each_page(eeg, capsys):
    windows = [Window(eeg, None, VOTES, "GPD"), Window(eeg, None, None, "a test recording")]
    figure = plots.window_grid(windows, LABELS[:2])
    assert [trace.axes.get_xlim() for trace in by_gid(figure, "Fp1-F7")] == [(17, 33)] * 2
    assert {"A  GPD", "B  a test recording", "GPD 64%"} <= set(texts(figure))
    assert "Other 9%" not in texts(figure)  # too narrow
    strips = {ticks(axes.yaxis)[0]: [bar.get_width() for bar in axes.patches]
              for axes in figure.axes[:2]}  # fmt: skip
    assert strips["22 votes"] == pytest.approx(VOTES / 22)
    assert strips["predicted"] == pytest.approx(PROBABILITIES)
    assert "no such window in the data" in texts(plots.window_grid([]))
    plots.show_windows([])
    assert capsys.readouterr().out == "no such window in the data\n"


# ---------------------------------------------------------------- batches


def batch_axes(height: int, view):
    return images(plots.batch_images(np.zeros((2, height, 30, 1)), LABELS[:2], view))[0].axes


def test_batch_images_show_values_and_labels():
    values = np.random.default_rng(0).normal(size=(11, 128, 30, 1))
    view = EegSpectrogram(kind="eeg_spectrogram", seconds=10)
    figure = plots.batch_images(values, LABELS, view)
    strips = [axes for axes in figure.axes if axes.patches]
    assert len(images(figure)) == len(strips) == texts(figure).count("GPD 40%") == 8
    assert images(figure)[4].get_array().filled() == pytest.approx(values[4, :, :, 0])
    assert [bar.get_width() for bar in strips[0].patches] == pytest.approx(PROBABILITIES)


def test_batch_images_have_the_units_of_their_view():
    axes = batch_axes(128, EegSpectrogram(kind="eeg_spectrogram", seconds=10))
    assert (axes.get_xlim(), axes.get_xlabel()) == ((20, 30), "Time in the window (s)")
    places = dict(zip(ticks(axes.yaxis), axes.get_yticks(), strict=True))
    assert places["RP\n0.5–\n20 Hz"] == 3.5  # in the last of four bands of rows
    assert axes.get_ylim() == (0, 4)

    axes = batch_axes(40, KaggleSpectrogram(kind="kaggle_spectrogram"))
    assert (axes.get_xlim(), axes.get_xlabel()) == ((-5, 5), "Time from the label (min)")

    axes = batch_axes(80, Waveform(kind="waveform", rate=100, layout="image"))
    assert axes.get_xlim() == (0, 50)
    assert ticks(axes.yaxis) == list(DOUBLE_BANANA[:16])
    assert (axes.get_ylim(), axes.get_yticks()[0]) == ((16, 0), 0.5)
    assert axes.yaxis_inverted()

    mel = MelSpectrogram(kind="mel_spectrogram", zoom_step=0.04)  # 2 × 125 columns and 300
    axes = images(plots.batch_images(np.zeros((2, 160, 552, 3)), LABELS[:2], mel))[0].axes
    assert ticks(axes.yaxis)[:3] == ["Fp1-F7", "Fp2-F8", "F7-T3"]
    assert ticks(axes.xaxis) == ["0–20", "19–31", "30–50"]
    np.testing.assert_allclose(axes.get_xticks(), 3 * np.array([62.5, 275, 487.5]) / 550)
    assert axes.get_xlim() == (0, 3)

    axes = batch_axes(128, MultiSpectrogram(kind="multi_spectrogram"))
    assert ticks(axes.xaxis) == ["0–50", "10–40", "20–30"]
    assert list(axes.get_xticks()) == pytest.approx([0.5, 1.5, 2.5])
    assert ticks(axes.yaxis)[0] == "LL\n0.5–\n20 Hz"


def test_batch_series_are_traces_in_the_units_of_the_view():
    series = np.random.default_rng(0).normal(size=(6, 5000, 18))
    series[1, 2500, 0] = -1.4
    figure = plots.batch_series(series, LABELS, Waveform(kind="waveform", rate=100))
    traces = by_gid(figure, "Fp1-F7")
    assert len(traces) == 4
    height = np.median(np.percentile(np.abs(series[:4].reshape(-1, 18)), 98, axis=0)) / 0.7
    assert traces[1].get_xdata()[2500] == 25
    assert traces[1].get_ydata()[2500] == pytest.approx(-1.4 / height)
    # the default view maps x to sign(x) ln(1 + |x| / 50 µV)
    assert f"{height:.1f}\n({50 * np.expm1(height):.0f} µV)" in texts(figure)
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx(PROBABILITIES)
