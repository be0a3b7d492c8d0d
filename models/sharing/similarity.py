"""How alike layers have become: the layer similarity matrix, always beside that of independent rows."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.sharing.bank import banks, rows_of

TAU = 0.95
MOST_LAYERS = 64  # of a bank whose matrix is kept: in the store it takes 30 KB
DRAWS = 2000  # of random matrices, so that p is a multiple of 1 / 2001
AT_ONCE = 100
LEAST = 1e-12  # chance of a pair: rows that are alike are so up to rounding only


@dataclass(frozen=True)
class Null:
    """The null of a pair of independent rows: the 95th percentile of its S, and the probability of `tau` or above.

    The rows are not orthogonal to each other as coefficients are at the start: of these as many as there are templates
    have no similarity at all, and any training would look like more.
    """

    band: float
    above: float


@dataclass(frozen=True)
class Similarity:
    """The layer similarity matrix S (L, L) of one bank, its layers' names, and the null it must be compared with.

    That layers are alike may only be claimed where `p` is small. Of a single pair it may be claimed where S is above
    `null.band`, with 4 templates or more: of independent rows with two, every fifth pair has S of .95.
    """

    names: tuple[str, ...]
    matrix: Tensor
    templates: int
    tau: float = TAU

    @property
    def null(self) -> Null:
        """Return the null of independent rows with as many coefficients."""
        return null(self.templates, self.tau)

    @property
    def pairs(self) -> Tensor:
        """Return S of every pair of different layers, L (L - 1) / 2 values."""
        return pairs_of(self.matrix)

    @property
    def above(self) -> float:
        """Return the share of pairs at `tau` or above."""
        return float((self.pairs >= self.tau).double().mean())

    @property
    def beyond(self) -> float:
        """Return the share of pairs above the null's 95th percentile: .05 by chance."""
        return float((self.pairs > self.null.band).double().mean())

    @property
    def p(self) -> float:
        """Return the p-value of the whole matrix under independent rows; 1 with one template, where all rows are alike.

        A matrix is as alike as its pairs are unlikely: Fisher's sum of -log P(S of a random pair is at least this).
        It sees a few pairs that became one as well as many that came nearer. The observed matrix counts as a draw, so
        that the least p is 1 / 2001.
        """
        if len(self.names) < 2 or self.templates < 2:
            return 1.0
        draws = surprises(len(self.names), self.templates)
        reached = len(draws) - int(torch.searchsorted(draws, float(surprise(self.matrix, self.templates))))
        return (1 + reached) / (1 + len(draws))


def lsm(rows: Tensor) -> Tensor:
    """Return S_ij = |<a_i, a_j>| / (|a_i| |a_j|) of coefficients (*, L, k): (*, L, L), from 0 to 1."""
    unit = nn.functional.normalize(rows, dim=-1)
    return (unit @ unit.mT).abs().clamp(max=1.0)


def pairs_of(matrices: Tensor) -> Tensor:
    """Return S of every pair of different layers of matrices (*, L, L): (*, L (L - 1) / 2)."""
    rows, columns = torch.triu_indices(matrices.shape[-1], matrices.shape[-1], offset=1)
    return matrices[..., rows, columns]


@lru_cache(maxsize=64)
def null(templates: int, tau: float = TAU) -> Null:
    """Return the null of two independent rows of `templates` coefficients, each in a uniformly random direction."""
    if templates == 1:
        return Null(1.0, 1.0)
    squared = _squared(templates)
    return Null(math.sqrt(squared.ppf(0.95)), float(squared.sf(tau**2)))


def surprise(matrices: Tensor, templates: int) -> Tensor:
    """Return the sum over pairs of -log P(S of a random pair is at least this) for matrices (*, L, L): (*)."""
    chances = _squared(templates).sf(pairs_of(matrices).double().square().numpy(force=True))
    return -torch.from_numpy(chances).clamp(min=LEAST).log().sum(dim=-1)


@lru_cache(maxsize=64)
def surprises(layers: int, templates: int, seed: int = 0) -> Tensor:
    """Return the surprise of random matrices (DRAWS,), of `layers` independent rows each, in ascending order."""
    generator = torch.Generator().manual_seed(seed)
    draws = (torch.randn(AT_ONCE, layers, templates, generator=generator).double() for _ in range(DRAWS // AT_ONCE))
    return torch.cat([surprise(lsm(rows), templates) for rows in draws]).sort().values


def _squared(templates: int) -> Any:
    """Return the distribution of S^2 of two directions drawn uniformly in k >= 2 dimensions."""
    from scipy import stats  # takes a while to load

    return stats.beta(0.5, (templates - 1) / 2)


def similarity(network: nn.Module, tau: float = TAU) -> dict[str, Similarity]:
    """Return the similarity of the layers of every bank in a network, by the name of the bank's first layer."""
    matrices = {}
    for key, layers in banks(network).items():
        rows = rows_of(layers).detach()
        matrices[key] = Similarity(tuple(layers), lsm(rows), rows.shape[-1], tau)
    return matrices


def table(banks_of_layers: Iterable[Similarity]) -> list[dict[str, Any]]:
    """Return `[{"layers", "matrix", "chance", "p"}, …]`, one for each bank.

    `chance` is the 95th percentile of a pair of independent rows, `p` how often such rows are as alike in all.
    Banks of one layer, and of more than `MOST_LAYERS`, are left out.
    """
    return [
        {
            "layers": list(bank.names),
            "matrix": [[round(value, 3) for value in row] for row in bank.matrix.tolist()],
            "chance": round(bank.null.band, 3),
            "p": round(bank.p, 4),
        }
        for bank in banks_of_layers
        if 1 < len(bank.names) <= MOST_LAYERS and bool(bank.matrix.isfinite().all())
    ]
