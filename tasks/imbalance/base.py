"""What every method for rare classes is, and how the ones that add rows go about it."""

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.tasks.splits import IMBALANCE_STREAM

LEVELS = 255  # images that stay uint8 count in [0, 1], as 0 to 255 divided by this


class Imbalance:
    """Base of all methods: they resample the train rows, or weigh the rows of each class.

    A subclass gives `method`, its name in a config, and overrides one of the two; both depend on their arguments
    alone. It sees the kept train rows as the network will, and never a validation or test row.
    """

    method: ClassVar[str]

    def resample(self, inputs: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the rows (N, ...) and class numbers (N,) to train on; the same by default."""
        return inputs, targets

    def class_weights(self, targets: Tensor, classes: int) -> Tensor | None:
        """Return the weight of each class's rows in the loss, float32 (C,), mean 1 over the rows; None by default."""
        return None


class Oversampler(Imbalance):
    """Base of the methods that add rows to every class with fewer than the largest.

    A subclass says in `more` which rows a class gets besides its own. Images and the like are flattened for it and
    brought back; pixels that stay uint8 are brought to [0, 1], and what comes of them is rounded and clamped.
    """

    def more(self, rows: np.ndarray, largest: int, generator: np.random.Generator) -> np.ndarray:
        """Return further rows (M, F) for a class of the given ones (N, F), where the largest class has `largest`."""
        raise NotImplementedError

    def resample(self, inputs: Tensor, targets: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Return the rows themselves and after them, class by class, those that were added."""
        counts = torch.bincount(targets)
        largest, added = int(counts.max()), [(inputs, targets)]
        for label in torch.nonzero((counts > 0) & (counts < largest)).flatten().tolist():
            rows = inputs[targets == label]
            generator = np.random.default_rng([seed, IMBALANCE_STREAM, label])
            new_rows = _like(self.more(_flat(rows), largest, generator), rows)
            added.append((new_rows, torch.full((len(new_rows),), label, dtype=targets.dtype)))
        new_inputs, new_targets = zip(*added, strict=True)
        return torch.cat(new_inputs), torch.cat(new_targets)


def _flat(rows: Tensor) -> np.ndarray:
    values = rows.float() / LEVELS if rows.dtype == torch.uint8 else rows.float()
    return values.flatten(1).numpy()


def _like(new_rows: np.ndarray, rows: Tensor) -> Tensor:
    values = torch.from_numpy(np.ascontiguousarray(new_rows, dtype=np.float32)).view(-1, *rows.shape[1:])
    if rows.dtype == torch.uint8:
        values = (values * LEVELS).round_().clamp_(0, LEVELS)
    return values.to(rows.dtype)


def check_share(where: str, value: float, *, low: float | None = None) -> None:
    """Raise `ValueError` unless `value` is a number of at most 1, and above 0 or from `low` on."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not value <= 1 or not (value > 0 if low is None else value >= low):
        least = "above 0" if low is None else f"at least {low:g}"
        raise ArgumentError(where, f"must be {least} and at most 1, but got {value!r}.", (where, 1))


def check_count(where: str, value: int, usual: int) -> None:
    """Raise `ValueError` unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(where, f"must be a whole number of at least 1, but got {value!r}.", (where, usual))


def check_positive(where: str, value: float, usual: float) -> None:
    """Raise `ValueError` unless `value` is a finite number above 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ArgumentError(where, f"must be a number above 0, but got {value!r}.", (where, f"{usual:g}"))
