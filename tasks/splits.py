"""Part rows by chance, stratum by stratum, so that every part holds every class."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.several import Tensors, each

TEST_STREAM, VALIDATION_STREAM, FRACTION_STREAM, LIMIT_STREAM = 1, 2, 3, 4
IMBALANCE_STREAM = 6
"""Independent draws under one seed."""


class Places(NamedTuple):
    """Where the validation rows (N,) stand among `total` rows, of which each may judge in one of several draws.

    `are_apart`: no row is in two of the draws.
    """

    rows: np.ndarray
    total: int
    are_apart: bool


def strata_of(targets: Tensor, kind: str) -> np.ndarray:
    """Number each row's stratum (N,): its class; of single values, the decile of its target; else all rows alike."""
    if kind == "classes":
        return targets.numpy()
    if kind == "values" and targets.numel() == len(targets):
        flat = targets.flatten().numpy()
        edges = np.unique(np.quantile(flat, np.linspace(0, 1, 11)[1:-1]))
        return np.searchsorted(edges, flat, side="right")
    return np.zeros(len(targets), dtype=np.int64)


def ordered(strata: np.ndarray, seed: int, stream: int, repeat: int = 0) -> list[np.ndarray]:
    """Return the rows of each stratum in an order drawn from (seed, stream, repeat), each an independent draw."""
    generator = np.random.default_rng([seed, stream, repeat] if repeat else [seed, stream])
    return [generator.permutation(np.flatnonzero(strata == label)) for label in np.unique(strata)]


def carve(strata: np.ndarray, rows: int, *, seed: int, stream: int, repeat: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Part all rows into (kept, taken), both sorted, with `rows` taken in proportion to the strata.

    Every stratum of two rows or more keeps one and, if there are as many `rows` as strata, gives one.
    """
    groups = ordered(strata, seed, stream, repeat)
    counts = _apportion(np.array([len(group) for group in groups]), rows)
    taken = [group[:count] for group, count in zip(groups, counts, strict=True)]
    remaining = [group[count:] for group, count in zip(groups, counts, strict=True)]
    return np.sort(np.concatenate(remaining)), np.sort(np.concatenate(taken))


def _apportion(sizes: np.ndarray, rows: int) -> np.ndarray:
    """Share `rows` out in proportion to `sizes`, at least 1 to each where they suffice, and leave 1 where possible."""
    exact = sizes * (rows / sizes.sum())
    low = ((sizes > 1) & (rows >= len(sizes))).astype(int)
    counts = np.clip(np.floor(exact).astype(int), low, np.maximum(sizes - 1, 0))
    for high in (np.maximum(sizes - 1, 0), sizes):
        while counts.sum() < rows and (counts < high).any():
            counts[np.where(counts < high, exact - counts, -np.inf).argmax()] += 1
    while counts.sum() > rows:
        counts[np.where(counts > low, counts - exact, -np.inf).argmax()] -= 1
    return counts


def check_amount(where: str, amount: float) -> None:
    """Raise `ValueError` unless `amount` is a share in (0, 1) or a whole number of rows."""
    number = isinstance(amount, int | float) and not isinstance(amount, bool)
    if not number or not amount > 0 or (amount >= 1 and amount != int(amount)):
        raise ArgumentError(where, f"must be a share below 1 or a number of rows, but got {amount!r}.", (where, 0.2))


def rows_of(where: str, amount: float, total: int) -> int:
    """Turn a share or a number of rows into a number of rows that leaves some of `total`."""
    rows = max(1, round(amount * total)) if amount < 1 else int(amount)
    if rows >= total:
        raise ArgumentError(where, f"asks for {rows} of {total} rows, but some must be left to train on. Set it lower.")
    return rows


def take(value: Tensors, rows: np.ndarray) -> Tensors:
    """Copy the given rows of a tensor, or of each of several."""
    places = torch.from_numpy(rows)
    return each(lambda part: part.index_select(0, places), value)
