"""Errors, files, configuration files, commands, interactive display, TensorFlow set-up."""
