"""Repeat rows of rare classes."""

from typing import ClassVar

import numpy as np

from kirigami.tasks.imbalance.base import Oversampler, check_share


class Repeats(Oversampler):
    """Draw rows of each smaller class again, with replacement, until it has `ratio` times the rows of the largest."""

    method: ClassVar[str] = "oversample"

    def __init__(self, *, ratio: float = 1.0) -> None:
        check_share("ratio", ratio)
        self.ratio = ratio

    def more(self, rows: np.ndarray, largest: int, generator: np.random.Generator) -> np.ndarray:
        """Return the rows that were drawn; none where the class has as many as `ratio` asks for."""
        drawn: np.ndarray = rows[generator.integers(len(rows), size=missing(len(rows), largest, self.ratio))]
        return drawn


def missing(rows: int, largest: int, ratio: float) -> int:
    """Return how many rows a class of `rows` lacks to have `ratio` times the largest."""
    return max(0, round(ratio * largest) - rows)
