"""Make rows of rare classes between neighbours of one class."""

from typing import ClassVar

import numpy as np

from kirigami.tasks.imbalance.base import Oversampler, check_count, check_share
from kirigami.tasks.imbalance.repeats import missing


class Smote(Oversampler):
    """Draw points on the lines from a row to one of its `neighbours` nearest of its class: SMOTE, by imbalanced-learn.

    Each smaller class gets `ratio` times the rows of the largest (Chawla et al., "SMOTE: Synthetic Minority
    Over-sampling Technique", JAIR 16, 2002). A class of n rows has n - 1 neighbours to offer, so it uses no more; a
    class of one row is repeated. Columns of 0/1, such as categories, become shares in between.
    """

    method: ClassVar[str] = "smote"

    def __init__(self, *, ratio: float = 1.0, neighbours: int = 5) -> None:
        check_share("ratio", ratio)
        check_count("neighbours", neighbours, 5)
        self.ratio = ratio
        self.neighbours = neighbours

    def more(self, rows: np.ndarray, largest: int, generator: np.random.Generator) -> np.ndarray:
        """Return the points between the rows."""
        from imblearn.over_sampling import SMOTE

        count, wanted = len(rows), missing(len(rows), largest, self.ratio)
        if wanted == 0 or count == 1:
            return np.repeat(rows[:1], wanted, axis=0)
        sampler = SMOTE(
            sampling_strategy={1: count + wanted},
            k_neighbors=min(self.neighbours, count - 1),
            random_state=int(generator.integers(2**31)),
        )
        # It asks for a second class, of which it only looks at the number: one row of zeros stands for the others.
        everything = np.concatenate((rows, np.zeros_like(rows[:1])))
        made, _ = sampler.fit_resample(everything, np.array([1] * count + [0]))
        points: np.ndarray = made[len(everything) :]
        return points
