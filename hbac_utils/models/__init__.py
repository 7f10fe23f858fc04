"""Keras: from a raw window to six probabilities."""
