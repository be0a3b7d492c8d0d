"""How much each part of the rows adds to a score, so that two scores of the same rows can be compared in pairs.

The rows are dealt into groups by their place. A group's figure is the jackknife's pseudo-value G·s - (G-1)·s', with s
the score of all rows and s' that of all but the group (Tukey, 1958; groups: Efron & Tibshirani, "An Introduction to the
Bootstrap", 1993, chapter 11). Their mean is the score, up to a bias of order 1/G, and their deviation over √G is its
standard error; for a mean over rows they are the groups' own means. Of accuracy each row's hit is kept, for an exact
test.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kirigami.tasks.metrics import COUNTED

GROUPS, FEWER = 128, 32
MOST_HITS = 16_384  # of more rows the groups' figures are as good
MOST_CLASSES = 64  # of which a table of counts for each group is small
MOST_PAIRS = 2_000_000  # of which a table is small

Score = Callable[[Tensor, Tensor], float]


def _hits(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(dim=1) == targets).double()


def _nats(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs.float(), targets, reduction="none").double()


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().double()


# Of scores that are a mean over rows, or a function of one: what a row adds, and that function.
_MEANS: Mapping[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "accuracy": (_hits, lambda mean: mean),
    "loss": (_nats, lambda mean: mean),
    "bits": (_nats, lambda mean: mean / np.log(2)),
    "mse": (_squares, lambda mean: mean),
    "rmse": (_squares, torch.sqrt),
    "mae": (lambda outputs, targets: (outputs - targets).abs().double(), lambda mean: mean),
}


def mean_parts(metric: str, outputs: Tensor, targets: Tensor, groups: "Groups") -> Tensor | None:
    """Return the hits of the rows, or what each group of rows adds; None for a metric that is no mean over rows.

    Args:
        metric: its name.
        outputs: in the form that the metrics take; so are the targets, of which a row may have several, such as
            characters or pixels.
        targets: of the same rows.
        groups: of the rows.
    """
    if metric not in _MEANS:
        return None
    of_row, of_mean = _MEANS[metric]
    rows, count = len(groups.of_row), groups.number
    values = of_row(outputs, targets).cpu().view(rows, -1)
    if metric == "accuracy" and values.shape[1] == 1 and groups.are_apart and rows <= MOST_HITS:
        return values.flatten()
    sums = torch.zeros(count, dtype=torch.double).index_add(0, groups.of_row, values.mean(1))
    rest = rows - torch.bincount(groups.of_row, minlength=count)
    whole = of_mean(values.mean())
    without = torch.where(rest > 0, of_mean((sums.sum() - sums) / rest.clamp(min=1)), whole)
    return count * whole - (count - 1) * without


def quick_parts(metric: str, outputs: Tensor, targets: Tensor, groups: "Groups") -> Tensor | None:
    """Return what each group of rows adds to a score of classes that counts or pairs decide; None for any other.

    Args:
        metric: its name.
        outputs: scores (N, C).
        targets: class numbers (N,).
        groups: of these rows.
    """
    if outputs.dim() != 2 or targets.dim() != 1 or len(targets) != len(groups.of_row):
        return None
    outputs, targets = outputs.cpu(), targets.cpu()
    if metric in COUNTED and outputs.shape[1] <= MOST_CLASSES:
        return _of_counts(COUNTED[metric], outputs, targets, groups)
    positive = targets == 1
    if metric == "auc" and 0 < int(positive.sum()) * int((~positive).sum()) <= MOST_PAIRS:
        return _of_pairs(outputs[:, 1] - outputs[:, 0], positive, groups)
    return None


def _of_counts(score: Callable[[Tensor], float], outputs: Tensor, targets: Tensor, groups: "Groups") -> Tensor:
    classes, number = outputs.shape[1], groups.number
    cells = (groups.of_row * classes + targets) * classes + outputs.argmax(dim=1)
    counts = torch.bincount(cells, minlength=number * classes**2).double().view(number, classes, classes)
    every, whole = counts.sum(0), score(counts.sum(0))
    is_partial = ((sizes := counts.sum((1, 2))) > 0) & (sizes < every.sum())
    without = [score(every - counts[group]) if is_partial[group] else whole for group in range(number)]
    return number * whole - (number - 1) * torch.tensor(without, dtype=torch.double)


def _of_pairs(scores: Tensor, positive: Tensor, groups: "Groups") -> Tensor:
    """Return the parts of the share of (positive, negative) pairs that are in order; where none is left it is .5."""
    number, ups, downs = groups.number, groups.of_row[positive], groups.of_row[~positive]
    lead = scores[positive][:, None] - scores[~positive]
    won = ((lead > 0).float() + (lead == 0).float() / 2).double()
    within = torch.zeros(number, dtype=torch.double).index_add(0, ups, (won * (ups[:, None] == downs)).sum(1))
    of_ups = torch.zeros(number, dtype=torch.double).index_add(0, ups, won.sum(1))
    of_downs = torch.zeros(number, dtype=torch.double).index_add(0, downs, won.sum(0))
    left = [len(rows) - torch.bincount(rows, minlength=number) for rows in (ups, downs)]
    pairs = left[0] * left[1]
    rest = (won.sum() - of_ups - of_downs + within) / pairs.clamp(min=1)
    without = torch.where(pairs > 0, rest, torch.full_like(rest, 0.5))
    return number * won.mean() - (number - 1) * without


def parts(score: Score, outputs: Tensor, targets: Tensor, groups: "Groups") -> Tensor:
    """Return what each group of rows adds to any score.

    Args:
        score: of outputs and targets, rows first.
        outputs: of a network.
        targets: of the same rows.
        groups: of the rows.
    """
    whole, figures = score(outputs, targets), []
    for group in range(groups.number):
        rest = (groups.of_row != group).to(outputs.device)
        is_partial = bool(rest.any()) and not bool(rest.all())
        without = score(outputs[rest], targets[rest]) if is_partial else whole
        figures.append(groups.number * whole - (groups.number - 1) * without)
    return torch.tensor(figures, dtype=torch.double)


class Groups(NamedTuple):
    """The group of each row: numbers (N,) below `number`, and whether the rows judge in this draw alone."""

    of_row: Tensor
    number: int
    are_apart: bool = True

    @classmethod
    def deal(
        cls,
        rows: int,
        places: np.ndarray | None = None,
        total: int | None = None,
        are_apart: bool = True,
        *,
        most: int = GROUPS,
    ) -> Self:
        """Deal rows out by their places (N,) among `total` rows, by default among themselves."""
        at = torch.arange(rows) if places is None else torch.from_numpy(places)
        return cls(at % most, min(most, rows if total is None else total), are_apart)
