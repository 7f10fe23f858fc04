"""Exploratory data analysis: statistics, examples, an interactive browser."""
