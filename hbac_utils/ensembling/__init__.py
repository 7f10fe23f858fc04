"""Ensembling: members, pooling, calibration, and a cross-fitted comparison of methods."""
