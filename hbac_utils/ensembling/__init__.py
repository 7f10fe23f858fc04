"""Blending the predictions of several models: members, pools, weights, honest scores."""
