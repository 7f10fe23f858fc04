"""Harmful-brain-activity classification from EEG: data, models and runs."""

__version__ = "0.1.0"
