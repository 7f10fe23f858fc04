"""Simulated members of a blend."""

import numpy as np


def simulated(n: int, members: int, seed: int = 0, spread: float = 0.5) -> np.ndarray:
    """Members that agree in part; shape (6, n, members)."""
    random = np.random.default_rng(seed)
    common = random.dirichlet(np.full(6, 0.5), n)
    own = random.dirichlet(np.ones(6), (members, n))
    return np.moveaxis((1 - spread) * common + spread * own, [0, 1, 2], [2, 1, 0])
