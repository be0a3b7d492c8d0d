"""Ranking by non-dominated sorting, and inside a front by an epsilon-net: best first, then far from each other.

Schmucker et al., "Multi-objective Asynchronous Successive Halving" (arXiv 2106.12639, 2021).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kirigami.spaces.front import undominated


def order(values: NDArray[np.float64], over: Sequence[float]) -> list[int]:
    """Return the rows' indices, best first; of equal rows the earlier one.

    Args:
        values: (trials, objectives), smaller being better.
        over: by how much each is over the limits; 0 for one within.
    """
    within = np.flatnonzero(np.asarray(over) <= 0)
    ranks = np.empty_like(values)
    for column in range(values.shape[1]):
        _, dense = np.unique(values[:, column], return_inverse=True)
        ranks[:, column] = dense / max(1, dense.max())
    ordered: list[int] = []
    while within.size:
        best = undominated(values[within])
        ordered += [int(within[best][index]) for index in spread_out(ranks[within[best]])]
        within = within[~best]
    beyond = [index for index, excess in enumerate(over) if excess > 0]
    return ordered + sorted(beyond, key=lambda index: over[index])


def spread_out(points: NDArray[np.float64]) -> list[int]:
    """Return the rows' indices as an epsilon-net takes them: best in the first column, then farthest from all taken."""
    taken = [int(points[:, 0].argmin())]
    distance = np.linalg.norm(points - points[taken[0]], axis=1)
    distance[taken[0]] = -1.0
    while len(taken) < len(points):
        taken.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[taken[-1]], axis=1))
        distance[taken[-1]] = -1.0
    return taken
