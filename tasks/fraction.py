"""Keep a fraction of the training rows: stratified, and nested under one seed."""

import numpy as np

from tasks.splits import FRACTION_STREAM, ordered


def check_fraction(fraction: float) -> None:
    """Raise `ValueError` unless `fraction` is a number in (0, 1]."""
    number = isinstance(fraction, int | float) and not isinstance(fraction, bool)
    if not number or not 0 < fraction <= 1:
        raise ValueError(f"task.fraction must be above 0 and at most 1, but got {fraction!r}. Set task.fraction=1.0.")


def subset(strata: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return the sorted rows kept of each stratum: its first round(fraction * size), at least one.

    The order inside a stratum depends on the seed alone, so a smaller fraction keeps a subset of a larger one's.
    """
    groups = ordered(strata, seed, FRACTION_STREAM)
    return np.sort(np.concatenate([group[: max(1, round(fraction * len(group)))] for group in groups]))
