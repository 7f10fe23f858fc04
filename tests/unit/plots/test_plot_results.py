"""Figures of tables, scores, predictions, training and sweeps: the drawn values."""

import numpy as np
import pandas as pd
import pytest
from figures import bar_sizes, by_gid, images, texts, ticks
from matplotlib.colors import to_rgb
from scipy.special import rel_entr

from hbac_utils import plots
from hbac_utils.labels import CLASSES
from hbac_utils.plots.predictions import reliability_bins
from hbac_utils.plots.training import importance_bars, setting_scores

PROBABILITIES = np.array([0.1, 0.2, 0.4, 0.1, 0.1, 0.1])


@pytest.fixture
def predicted():
    rng = np.random.default_rng(3)
    return rng.dirichlet(np.ones(6), 60), rng.dirichlet(np.ones(6), 60)


@pytest.fixture
def means():
    """Classes × chains × times × frequencies; the first ten times are unknown."""
    means = np.random.default_rng(2).normal(size=(6, 4, 300, 100))
    means[:, :, :10] = np.nan
    return means


# ---------------------------------------------------------------- tables


def test_vote_totals_are_counted_below_and_from_ten_votes():
    figure = plots.vote_totals(np.outer([1, 3, 3, 7, 10, 12, 12, 12], np.eye(6)[2]))
    assert bar_sizes(figure.axes[0]) == [[1, 2, 1], [1, 3]]
    assert "10 votes or more: 50% of windows" in texts(figure)


def test_class_balance_shows_the_mean_fractions_of_both_populations():
    votes = np.array([[3, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 2], [0, 0, 5, 0, 0, 15]])
    few, many = bar_sizes(plots.class_balance(votes).axes[0])
    assert few == pytest.approx([0.5, 0.25, 0, 0, 0, 0.25])
    assert many == pytest.approx([0, 0, 0.25, 0, 0, 0.75])


def test_agreement_map_counts_choices_and_marks_examples_with_letters():
    votes = np.array(
        [[4, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 2], [0, 0, 2, 2, 0, 0], [0, 0, 0, 0, 0, 3]]
    )
    figure = plots.agreement_map(np.concatenate([votes, [[2, 0, 0, 0, 0, 1]] * 2]), votes)
    counts = np.zeros((6, 6))
    counts[0, 0] = counts[1, 5] = counts[2, 3] = counts[5, 5] = 1
    counts[0, 5] = 2
    assert images(figure)[0].get_array().filled() ** 2 == pytest.approx(counts)
    letters = {text.get_text(): text.get_position() for text in figure.axes[1].texts}
    top = np.sqrt(0.75)
    assert letters["A"] == pytest.approx((0.5, top))
    assert letters["B"] == pytest.approx((0.25, top / 2))  # half way to Other
    assert letters["C"] == pytest.approx((0.75, top / 2))  # half way to another pattern
    assert letters["D"] == pytest.approx((0, 0))


def test_count_histograms_contain_every_count_on_logarithmic_axes():
    counts = {"Windows per EEG": [1, 1, 2, 3, 40, 743], "EEGs per patient": [1, 269]}
    figure = plots.count_histograms(counts)
    for axes, (label, values) in zip(figure.axes, counts.items(), strict=True):
        assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", label)
        assert sum(bar_sizes(axes)[0]) == len(values)
    assert [axes.get_ylabel() for axes in figure.axes] == ["EEGs", "Patients"]


def test_mean_spectra_have_a_line_per_class_and_chain(means):
    means[5] = np.nan
    for chain, axes in enumerate(plots.mean_spectra(means).axes):
        lines = {line.get_label(): line for line in axes.lines}
        assert list(lines) == list(CLASSES)
        assert lines["GRDA"].get_ydata() == pytest.approx(means[4, chain, 10:].mean(axis=0))
        assert lines["GRDA"].get_color() == plots.CLASS_COLORS["GRDA"]
        assert np.isnan(lines["Other"].get_ydata()).all()
    assert "no spectrograms" in texts(plots.mean_spectra(means * np.nan))


def test_mean_spectrograms_have_an_image_per_class_and_chain(means):
    panels = images(plots.mean_spectrograms(means))
    assert len(panels) == 24
    gpd = panels[4 * CLASSES.index("GPD") + 1]
    assert gpd.get_array().filled(np.nan) == pytest.approx(means[2, 1].T, nan_ok=True)
    limits = pytest.approx(tuple(np.nanpercentile(means, [2, 98])))
    assert [image.get_clim() for image in panels] == [limits] * 24


def test_band_power_boxes_are_at_the_medians():
    table = pd.DataFrame(
        {"consensus": ["LPD"] * 3, "delta 0.5–4 Hz": [1.0, 2.0, 9.0], "asymmetry": [-3.0, 0, 1]}
    )
    delta, asymmetry = plots.band_power(table).axes
    medians = [line.get_ydata()[0] for line in delta.lines
               if len(line.get_xdata()) == 2 and np.mean(line.get_xdata()) == 2]  # fmt: skip
    assert 2.0 in medians
    assert ticks(asymmetry.xaxis) == list(CLASSES)


# ---------------------------------------------------------------- predictions


def test_confusion_matrix_counts_leading_classes():
    figure = plots.confusion_matrix(np.eye(6)[[0, 0, 0, 5]], np.eye(6)[[0, 0, 1, 5]])
    shares = images(figure)[0].get_array().filled()
    assert shares[0] == pytest.approx([2 / 3, 1 / 3, 0, 0, 0, 0])
    assert shares[5, 5] == 1
    numbers = [(text.get_position(), text.get_text()) for text in figure.axes[0].texts]
    assert [n for n in numbers if n[1]] == [((0, 0), "2"), ((1, 0), "1"), ((5, 5), "1")]
    assert "accuracy 75%" in figure.axes[0].get_title(loc="left")


def test_reliability_diagram_bins_by_hand_and_connects_only_those_with_enough_windows():
    bins = reliability_bins([0.0, 0.2, 1.0], [0.02, 0.08, 1.0])
    assert bins["predicted"].tolist() == pytest.approx([0.05, 1.0])
    assert bins["observed"].tolist() == pytest.approx([0.1, 1.0])
    assert bins["error"].iloc[0] == pytest.approx(0.1)  # standard deviation 0.2 / √2, of two
    assert bins["n"].tolist() == [2, 1]
    truth = np.tile(np.eye(6)[0], (7, 1))
    predicted = np.tile([0.9, 0.1, 0, 0, 0, 0], (7, 1))
    predicted[:2, :2] = [0.5, 0.5]
    axes = plots.reliability_diagram(truth, predicted).axes[0]
    (joined,) = [line for line in axes.lines if line.get_color() == plots.CLASS_COLORS["Seizure"]]
    assert joined.get_xdata() == pytest.approx([0.9])
    few, enough = axes.collections[-1].get_facecolor()[:, :3]
    assert few == pytest.approx([1, 1, 1])
    assert enough == pytest.approx(to_rgb(plots.CLASS_COLORS["Seizure"]))
    # 2 windows at 0.5 and 5 at 0.9, all of them voted 1
    assert axes.get_title(loc="left") == f"Seizure, mean gap {(2 * 0.5 + 5 * 0.1) / 7:.3f}"


def test_prediction_bars_stack_to_one(predicted):
    (axes,) = plots.prediction_bars(predicted[0], range(100, 160), most=12).axes
    assert np.array(bar_sizes(axes)).T == pytest.approx(predicted[0][:12])
    ends = [bar.get_x() + bar.get_width() for bar in axes.containers[-1]]
    assert ends == pytest.approx(np.ones(12))
    assert axes.get_ylabel() == "EEG, first 12"


def test_fold_predictions_and_the_prior_are_drawn_over_the_mean(predicted):
    mean = (predicted[0] + predicted[1]) / 2
    figure = plots.fold_predictions(dict(zip("ab", predicted, strict=True)), mean, range(100, 160))
    panel = figure.axes[3]
    assert panel.get_title(loc="left") == "EEG 103"
    assert bar_sizes(panel) == [pytest.approx(mean[3])]
    assert [line.get_ydata() for line in panel.lines] == [
        pytest.approx(predicted[0][3]), pytest.approx(predicted[1][3]),
    ]  # fmt: skip
    assert f"{np.abs(predicted[0] - mean).mean():.3f}" in figure.get_suptitle()
    mean, prior = bar_sizes(plots.distribution_against_prior(predicted[0], PROBABILITIES).axes[0])
    assert mean == pytest.approx(predicted[0].mean(axis=0))
    assert prior == pytest.approx(PROBABILITIES)


# ---------------------------------------------------------------- scores


def test_kl_by_class_sums_to_the_score(predicted):
    left = plots.kl_by_class(*predicted).axes[0]
    total = rel_entr(*predicted).sum(axis=1).mean()
    assert sum(bar_sizes(left)[0]) == pytest.approx(total)
    assert f"{total:.3f}" in left.get_title(loc="left")


def test_kl_by_group_shows_means_sizes_and_references():
    groups = pd.Categorical(["b", "a", "a"], ["c", "b", "a"], ordered=True)
    scores = {"model": [1.0, 3.0, 5.0], "prior": [5.0, 2.0, 4.0], "oracle": [0.0, 0.1, 0.3]}
    figure = plots.kl_by_group(scores, groups, "Group")
    (axes,) = figure.axes
    assert ticks(axes.xaxis) == ["b\nn = 1", "a\nn = 2"]  # order of the categories, no empty one
    assert {"4.00", "1.00"} <= set(texts(figure))
    lines = {c.get_label(): [s[0, 1] for s in c.get_segments()]
             for c in axes.collections if c.get_label() in scores}  # fmt: skip
    assert lines["prior"] == pytest.approx([5, 3])
    assert lines["oracle"] == pytest.approx([0, 0.2])


def test_score_bars_omit_unknown_scores():
    prior, model = {"kl_all": 1.2, "kl_reliable": 0.9}, {"kl_all": 0.8, "kl_reliable": None}
    figure = plots.score_bars({"prior": prior, "model": model})
    reliable, everything = bar_sizes(figure.axes[0])
    assert reliable == pytest.approx([0.9, np.nan], nan_ok=True)
    assert everything == pytest.approx([1.2, 0.8])
    assert {"1.200", "0.900", "0.800"} <= set(texts(figure))


def test_score_scale_shows_predictions_and_experts_by_their_scores():
    scores = {"model": {"kl_reliable": 0.4, "kl_all": 0.6}, "prior": {"kl_reliable": 0.8}}
    figure = plots.score_scale(scores, {"1 expert": 0.6, "5 experts": 0.3})
    places = {name: by_gid(figure, name)[0].get_xdata()[0] for name in ("model", "1 expert")}
    assert places == {"model": 0.4, "1 expert": 0.6}
    assert {"prior\n0.80", "5 experts\n0.30"} <= set(texts(figure))
    without = plots.score_scale(scores, {})  # no windows with ten votes
    assert by_gid(without, "model")[0].get_xdata()[0] == 0.6
    assert by_gid(without, "prior") == []


def test_error_correlation_and_member_weights():
    figure = plots.error_correlation(["a", "b"], np.array([[1, 0.25], [0.25, 1]]))
    assert texts(figure).count("0.25") == 2
    assert ticks(figure.axes[0].yaxis) == ["a  1", "b  2"]
    shares = {"weight": [0.7, 0.3], "kl": [0.5, 0.6], "added": [0.02, 0.0]}
    panels = plots.member_weights(pd.DataFrame(shares, index=["a", "b"])).axes
    assert [bar_sizes(axes)[0] for axes in panels] == [[0.7, 0.3], [0.5, 0.6], [0.02, 0.0]]


# ---------------------------------------------------------------- training and sweeps


def test_training_curves_draw_folds_stages_and_the_prior():
    history = pd.DataFrame(
        {"fold": fold, "epoch": epoch, "stage": "first" if epoch < 2 else "second",
         "loss": 1.0, "kl_all": 0.9 + 0.1 * fold + 0.1 * abs(epoch - 1), "kl_reliable": np.nan}
        for fold in range(2) for epoch in range(3)
    )  # fmt: skip
    figure = plots.training_curves(history, {"kl_all": 1.2, "kl_reliable": None})
    _, kl = figure.axes  # no panel for a score that is always missing
    lines = {line.get_label(): line for line in kl.lines}
    assert list(lines["fold 1"].get_xdata()) == [1, 2, 3]
    assert lines["fold 1"].get_ydata() == pytest.approx([1.1, 1.0, 1.1])
    best = [tuple(ring.get_xydata()[0]) for ring in by_gid(figure, "best") if ring.axes is kl]
    assert best == [pytest.approx((2, 0.9)), pytest.approx((2, 1.0))]
    (prior,) = by_gid(figure, "prior")
    assert (prior.axes, prior.get_ydata()[0]) == (kl, 1.2)
    assert [line.get_xdata()[0] for line in by_gid(figure, "stage")] == [2.5, 2.5]
    for axes in plots.training_curves(history, limits=(0, 3), epochs=9).axes:
        assert (axes.get_xlim(), axes.get_ylim()) == ((0.5, 9.5), (0, 3))

    boxes = [[("EEG", "a"), ("view", "b")], [("EEG", "a"), ("view", "c")], [("head", "d")]]
    figure = plots.network_diagram(boxes)
    assert [texts(figure).count(text) for text in ("EEG", "view", "head")] == [2, 2, 1]
    assert len(figure.axes[0].patches) == 5

    (axes,) = plots.learning_rate_curve([0, 1, 2], [1e-5, 1e-3, 1e-4]).axes
    assert axes.get_yscale() == "log"
    assert axes.lines[0].get_ydata() == pytest.approx([1e-5, 1e-3, 1e-4])


def test_settings_of_a_sweep_with_scores_prior_and_best():
    scores = {"kl_reliable": [0.5, None], "kl_all": [0.7, 0.8]}
    figure = setting_scores(["a", "b" * 99], scores, {"kl_reliable": 0.9, "kl_all": None}, best=1)
    (points,) = by_gid(figure, "kl_reliable")
    assert points.get_xdata() == pytest.approx([0.5, np.nan], nan_ok=True)
    assert 0.9 in [line.get_xdata()[0] for line in figure.axes[0].lines]
    assert ticks(figure.axes[0].yaxis) == ["a", "b" * 30 + "…" + "b" * 30]
    assert len(by_gid(figure, "best")) == 1
    assert bar_sizes(importance_bars({"width": 0.7, "rate": 0.3}).axes[0]) == [[0.7, 0.3]]
