"""A competition folder with known truth, for tests, demonstrations and training."""
