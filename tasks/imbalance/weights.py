"""Let a row of a rare class count for more in the loss; no row is added."""

from typing import ClassVar

import torch
from torch import Tensor

from kirigami.tasks.imbalance.base import Imbalance, check_share


class Weights(Imbalance):
    """Weigh each class by its number of rows to the power of -`strength`.

    At 1 every class counts the same in all, w_c = N / (C n_c) (King & Zeng, "Logistic Regression in Rare Events Data",
    2001, and scikit-learn's "balanced"); at 0 every row does. The weights average 1 over the rows, so that the size of
    the gradient, and with it the right learning rate, stays.
    """

    method: ClassVar[str] = "weights"

    def __init__(self, *, strength: float = 1.0) -> None:
        check_share("strength", strength, low=0)
        self.strength = strength

    def class_weights(self, targets: Tensor, classes: int) -> Tensor:
        """Return the weights (C,); a class without a row gets that of one with a single row."""
        counts = torch.bincount(targets, minlength=classes).double()
        raw = counts.clamp(min=1) ** -self.strength
        return (raw * counts.sum() / (raw * counts).sum()).float()
