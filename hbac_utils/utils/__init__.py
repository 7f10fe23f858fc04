"""Errors, atomic files, configuration files, processes, TensorFlow set-up."""
