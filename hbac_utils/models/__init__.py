"""Keras: from a raw window to six probabilities."""

import hbac_utils.utils.backend  # noqa: F401  before the first import of Keras
