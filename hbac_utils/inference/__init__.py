"""Inference: predictions of a test folder, test-time augmentation, the submission file."""
