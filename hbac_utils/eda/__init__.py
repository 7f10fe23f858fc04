"""Exploratory data analysis: statistics, examples, an interactive browser."""

from hbac_utils.eda.browser import browse
from hbac_utils.eda.examples import (
    agreement_examples,
    class_examples,
    one_per_vote_vector,
    read_stored_windows,
    read_test_windows,
    read_windows,
    recorded_windows,
    votes_of,
)
from hbac_utils.eda.statistics import (
    agreement_table,
    band_powers,
    constant_scores,
    label_changes,
    mean_spectrograms,
    missing_data,
    overlap,
    overview,
    recording_counts,
)
