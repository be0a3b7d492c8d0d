"""How alike layers have become: the layer similarity matrix, always beside that of random coefficients."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from kirigami.models.sharing.bank import banks, draw_coefficients, rows_of

TAU = 0.95


@dataclass(frozen=True)
class Null:
    """What random coefficients show: the 95th percentile of S over pairs, and the share of pairs at `tau` or above."""

    band: float
    above: float


@dataclass(frozen=True)
class Similarity:
    """The layer similarity matrix S (L, L) of one bank, its layers' names, and the null it must be compared with.

    Recurrence may only be claimed where `above` is more than `null.above`, with 4 templates or more: with two, every
    sixth pair of random rows is alike.
    """

    names: tuple[str, ...]
    matrix: Tensor
    null: Null
    tau: float = TAU

    @property
    def pairs(self) -> Tensor:
        """Return S of every pair of different layers, L (L - 1) / 2 values."""
        rows, columns = torch.triu_indices(len(self.names), len(self.names), offset=1)
        return self.matrix[rows, columns]

    @property
    def above(self) -> float:
        """Return the share of pairs at `tau` or above."""
        return float((self.pairs >= self.tau).double().mean())

    @property
    def beyond(self) -> float:
        """Return the share of pairs above the null's 95th percentile: .05 by chance."""
        return float((self.pairs > self.null.band).double().mean())


def lsm(rows: Tensor) -> Tensor:
    """Return S_ij = |<a_i, a_j>| / (|a_i| |a_j|) of coefficients (L, k): (L, L), from 0 to 1."""
    unit = nn.functional.normalize(rows, dim=-1)
    return (unit @ unit.mT).abs().clamp(max=1.0)


@lru_cache(maxsize=64)
def null(layers: int, templates: int, tau: float = TAU, draws: int = 2000, seed: int = 0) -> Null:
    """Simulate S of coefficients as they are drawn at the start, and pool its pairs over all draws."""
    generator = torch.Generator().manual_seed(seed)
    matrices = lsm(draw_coefficients(layers, templates, generator, draws).double())
    rows, columns = torch.triu_indices(layers, layers, offset=1)
    pairs = matrices[:, rows, columns].flatten()
    if not len(pairs):
        return Null(1.0, 1.0)
    rank = min(len(pairs) - 1, int(0.95 * len(pairs)))
    # Rounding leaves rows that are alike, as all are for one template, a hair below 1.
    return Null(float(pairs.sort().values[rank]), float((pairs >= tau - 1e-9).double().mean()))


def similarity(network: nn.Module, tau: float = TAU) -> dict[str, Similarity]:
    """Return the similarity of the layers of every bank in a network, by the name of the bank's first layer."""
    found = {}
    for key, layers in banks(network).items():
        rows = rows_of(layers).detach()
        count, templates = rows.shape
        found[key] = Similarity(tuple(layers), lsm(rows), null(count, min(count, templates), tau), tau)
    return found
