"""Keep a fraction of the training rows: stratified, and nested under one seed."""

from collections.abc import Sequence

import numpy as np

from kirigami.errors import ArgumentError
from kirigami.tasks.splits import FRACTION_STREAM, ordered


def check_fraction(fraction: float) -> None:
    """Raise `ValueError` unless `fraction` is a number in (0, 1]."""
    number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
    if not number or not 0 < fraction <= 1:
        raise ArgumentError("fraction", f"must be above 0 and at most 1, but got {fraction!r}.", ("fraction", 1.0))


def subset(strata: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the sorted rows kept of each stratum, drawn by chance: its first round(fraction * size), at least one.

    The order inside a stratum depends on the seed alone, so a smaller fraction keeps a subset of a larger one's.
    """
    return first(ordered(strata, seed, FRACTION_STREAM), fraction)


def first(groups: Sequence[np.ndarray], fraction: float) -> np.ndarray:
    """Return, sorted, the first round(fraction * size) rows of each group, at least one."""
    return np.sort(np.concatenate([group[: max(1, round(fraction * len(group)))] for group in groups]))
