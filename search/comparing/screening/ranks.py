"""How well one order of configurations predicts another."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEAST = 4
LEVEL = 0.9
RESAMPLES = 2_000


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation of `n` pairs, with a percentile bootstrap interval; NaN below `LEAST` pairs."""

    n: int
    rho: float
    low: float
    high: float


def spearman(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Correlation:
    """Return the rank correlation over the pairs in which both are finite (Spearman 1904; ties take mean ranks).

    The interval is one of 90 % over resampled pairs; resamples in which one side is constant are left out.
    """
    pairs = np.array([first, second], dtype=float)
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    count = pairs.shape[1]
    rho = float(_rho(pairs)) if count >= LEAST else float("nan")
    if not np.isfinite(rho):
        return Correlation(count, float("nan"), float("nan"), float("nan"))
    rows = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    low, high = np.nanquantile(_rho(pairs[:, rows]), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(count, rho, float(low), float(high))


def _rho(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation of the ranks of pairs (2, ..., n) along the last axis; NaN where one side is constant."""
    ranks = stats.rankdata(pairs, axis=-1)
    left, right = ranks - ranks.mean(-1, keepdims=True)
    size = np.sqrt((left**2).sum(-1) * (right**2).sum(-1))
    return np.divide((left * right).sum(-1), size, out=np.full_like(size, np.nan), where=size > 0)
