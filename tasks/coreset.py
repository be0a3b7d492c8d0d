"""Order the rows of each class by their information, so that a fraction keeps more than a random draw (core sets).

All orders look at the inputs and classes of the train rows alone, and at no network:

- herding: the mean of the first k rows is as near to the mean of their class as the next row can bring it (Welling,
  "Herding dynamical weights to learn", ICML 2009; without repetition as in Rebuffi et al., "iCaRL", CVPR 2017,
  algorithm 4). Typical rows come first.
- centers: the first row is random, each next row is the one farthest from all before (Gonzalez 1985; as a core set
  Sener & Savarese, "Active learning for convolutional neural networks: a core-set approach", ICLR 2018, algorithm 1).
  Rows are spread over the whole data, outliers first.
- border: rows nearest to another class come first (distance to the nearest enemy: Wilson & Martinez, "Reduction
  techniques for instance-based learning algorithms", Machine Learning 38, 2000). Mislabelled rows are among them.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.splits import FRACTION_STREAM, ordered
from kirigami.tasks.standardise import Standardiser

AT_ONCE = 4096
"""Rows whose products are held at once; more are ordered in parts, which are then dealt in turn."""
ENEMIES = 5_000


def check_coreset(coreset: str) -> None:
    """Raise `ValueError` unless `coreset` is the name of an order."""
    choose("coreset", coreset, CORESETS)


def check_kind(coreset: str, kind: str) -> None:
    """Raise `ValueError` for an order that needs classes where the targets are none."""
    if coreset != "random" and kind != "classes":
        raise ArgumentError("coreset", f"={coreset} needs classes, but the targets are {kind}.", ("coreset", "random"))


def order(inputs: Tensor, strata: np.ndarray, coreset: str, seed: int) -> list[np.ndarray]:
    """Return the rows of each stratum, those to keep first, for inputs (N, ...) and strata (N,).

    The seed alone gives the random order. Of the others it breaks ties, draws the first row of `centers`, and parts
    classes of more than 4,096 rows, each part of which is ordered by itself; `border` takes the distances to at most
    about 5,000 rows, drawn by chance.
    """
    groups = ordered(strata, seed, FRACTION_STREAM)
    if coreset == "random":
        return groups
    rows = comparable(inputs)
    if coreset == "border":
        return _border(rows, groups)
    return [_dealt([part[_GREEDY[coreset](rows[part])] for part in _parts(group)]) for group in groups]


def comparable(inputs: Tensor) -> Tensor:
    """Bring inputs (N, ...) to rows (N, F) in which distances mean something.

    Columns of a table (N, F) are standardised each by itself. Pixels have a unit in common: all are divided by one
    deviation, lest those at the rim that hardly vary count as much as any.
    """
    if inputs.ndim == 2:
        return Standardiser.fit(inputs)(inputs)
    rows = inputs.flatten(1).float()
    rows = rows - rows.mean(dim=0)
    return rows / rows.std().clamp(min=1e-12)


def herding(rows: Tensor) -> np.ndarray:
    """Return the order (n,) in which each next row brings the mean of those taken nearest to that of all (n, F)."""
    centred = rows - rows.mean(dim=0)
    products = centred @ centred.T
    costs = products.diagonal().clone()  # |x|² + 2 <x, sum of those taken>: least for the nearest mean
    order_of_rows = np.empty(len(rows), dtype=np.int64)
    for place in range(len(rows)):
        row = int(costs.argmin())
        order_of_rows[place] = row
        costs.add_(products[row], alpha=2)
        costs[row] = torch.inf
    return order_of_rows


def centers(rows: Tensor) -> np.ndarray:
    """Return the order (n,) that begins with the first of the rows (n, F); each next is farthest from all before."""
    centred = rows - rows.mean(dim=0)
    products = centred @ centred.T
    squares = products.diagonal().clone()
    nearest = torch.full_like(squares, torch.inf)
    order_of_rows, row = np.empty(len(rows), dtype=np.int64), 0
    for place in range(len(rows)):
        order_of_rows[place] = row
        torch.minimum(nearest, (squares + squares[row] - 2 * products[row]).clamp_(min=0), out=nearest)
        nearest[row] = -torch.inf
        row = int(nearest.argmax())
    return order_of_rows


def _border(rows: Tensor, groups: list[np.ndarray]) -> list[np.ndarray]:
    """Sort each class by the distance of its rows to the nearest one of another class."""
    share = min(1.0, ENEMIES / len(rows))
    drawn = [rows[group[: max(1, round(share * len(group)))]] for group in groups]
    sorted_groups = []
    for label, group in enumerate(groups):
        others = [part for number, part in enumerate(drawn) if number != label]
        gaps = enemy_distances(rows[group], torch.cat(others)) if others else torch.zeros(len(group))
        sorted_groups.append(group[np.argsort(gaps.numpy(), kind="stable")])
    return sorted_groups


def enemy_distances(rows: Tensor, enemies: Tensor) -> Tensor:
    """Return the squared distance (n,) of each row (n, F) to the nearest enemy (m, F)."""
    squares = enemies.square().sum(dim=1)
    parts = [
        torch.addmm(squares, part, enemies.T, alpha=-2).amin(dim=1) + part.square().sum(dim=1)
        for part in rows.split(1024)
    ]
    return torch.cat(parts).clamp_(min=0)


def _parts(group: np.ndarray) -> list[np.ndarray]:
    return np.array_split(group, -(-len(group) // AT_ONCE))


def _dealt(parts: list[np.ndarray]) -> np.ndarray:
    """Take the first of each part, then the second of each, and so on."""
    ranks = np.concatenate([np.arange(len(part)) for part in parts])
    return np.concatenate(parts)[np.argsort(ranks, kind="stable")]


_GREEDY: dict[str, Callable[[Tensor], np.ndarray]] = {"herding": herding, "centers": centers}
CORESETS = ("random", *_GREEDY, "border")
