"""Figures: arrays in, a matplotlib ``Figure`` out, with one style and one colour per class.

The figures read no files and need no TensorFlow; importing them changes no global setting.
"""

from hbac_utils.plots.predictions import (
    confusion_matrix,
    distribution_against_prior,
    error_correlation,
    fold_predictions,
    kl_by_class,
    kl_by_group,
    member_weights,
    prediction_bars,
    reliability_diagram,
    score_bars,
    score_scale,
)
from hbac_utils.plots.spectrogram import mean_spectra, mean_spectrograms, spectrogram_page
from hbac_utils.plots.style import CLASS_COLORS
from hbac_utils.plots.tables import (
    agreement_map,
    band_power,
    class_balance,
    count_histograms,
    vote_totals,
)
from hbac_utils.plots.training import (
    batch_images,
    batch_pages,
    batch_series,
    learning_rate_curve,
    network_diagram,
    training_curves,
)
from hbac_utils.plots.windows import (
    eeg_page,
    show_pages,
    show_windows,
    window_grid,
    window_page,
    window_pages,
)
