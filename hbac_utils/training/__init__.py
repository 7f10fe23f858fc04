"""Training: folds, callbacks, checkpoints, scores."""
