"""The Pareto front: which points no other point dominates."""

import numpy as np
from numpy.typing import NDArray


def undominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which rows no other row dominates, smaller being better; equal rows stand or fall together.

    Args:
        values: (points, objectives).
    """
    rows, back = np.unique(values, axis=0, return_inverse=True)  # in an order in which only earlier rows dominate
    best = np.zeros(len(rows), dtype=bool)
    left = np.arange(len(rows))
    while left.size:
        best[left[0]] = True
        left = left[(rows[left] < rows[left[0]]).any(axis=1)]
    return best[back.reshape(-1)]
