"""Optimal Brain Surgeon with a block-diagonal empirical Fisher: the cost of a removal after the others are updated.

Hassibi & Stork, NIPS 1992; the empirical Fisher in blocks for the Hessian as in WoodFisher (Singh & Alistarh,
NeurIPS 2020). WoodFisher adds up the updates of single removals; here one update
compensates for all removals in a block.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.saliency.probe import Loss, gradients, incoming, single_rows, untouched
from kirigami.models.saliency.settings import Settings
from kirigami.models.technique import chosen


class Blocks:
    """The curvature of one layer's weights: a quadratic form in blocks, of weights in a row.

    Args:
        curvature: (blocks, B, B), symmetric and positive definite.
        index: (weights,) positions in the flattened weight that the blocks cover, in order; the last block is padded.
    """

    def __init__(self, curvature: Tensor, index: Tensor) -> None:
        self.curvature = curvature
        self.index = index

    def scores(self, weight: Tensor) -> Tensor:
        """Return the loss increase when a weight is removed and its block updated, w² / (2 [H⁻¹]qq); zero outside."""
        inverse = torch.linalg.inv(self.curvature).diagonal(dim1=-2, dim2=-1).flatten()[: len(self.index)]
        flat = torch.zeros(weight.numel(), dtype=weight.dtype, device=weight.device)
        inside = weight.flatten()[self.index]
        flat[self.index] = inside.square() / (2 * inverse.to(weight.dtype))
        return flat.view_as(weight)

    def update(self, weight: Tensor, keep: Tensor) -> Tensor:
        """Return the weight with zeros outside the mask, and the rest of each block updated to minimise the loss.

        With K kept and Q removed, w_K + H_KK⁻¹ H_KQ w_Q minimises the quadratic form.
        """
        values, mask = self._blocks(weight.double()), self._blocks(keep.double())
        pull = (self.curvature @ (values * (1 - mask)).unsqueeze(-1)).squeeze(-1) * mask
        pairs = mask.unsqueeze(-1) * mask.unsqueeze(-2)
        reduced = self.curvature * pairs + torch.diag_embed(1 - mask)
        solved = values * mask + torch.linalg.solve(reduced, pull)
        flat = (weight * keep).flatten()
        flat[self.index] = solved.flatten()[: len(self.index)].to(weight.dtype)
        return flat.view_as(weight)

    def _blocks(self, values: Tensor) -> Tensor:
        """Return the values that the blocks cover, as (blocks, B), padded with zeros."""
        count, width = self.curvature.shape[:2]
        filled = torch.zeros(count * width, dtype=values.dtype, device=values.device)
        filled[: len(self.index)] = values.flatten()[self.index]
        return filled.view(count, width)


def surgeon(
    network: nn.Module, batches: Sequence[Any], loss: Loss, names: Iterable[str] | None = None, **settings: Any
) -> dict[str, Blocks]:
    """Return each layer's curvature, which scores its weights and updates them when some are removed.

    Args:
        network: in any mode; it is not changed.
        batches: source of the `rows`, with one gradient each.
        loss: maps a batch to the network's scalar loss, the mean over its rows, with a graph.
        names: of the layers; by default every linear and convolutional one but the last.
        settings: see `Settings`; only `rows`, `block` and `damping` are read.

    Raises:
        ValueError: where a name or a setting is unknown, or a setting is out of its range.
    """
    effort = Settings(**settings)
    with untouched(network), incoming(chosen(network, names)) as leaves:
        return fisher_blocks(leaves, batches, loss, effort)


def fisher_blocks(
    leaves: Mapping[str, Tensor],
    batches: Sequence[Any],
    loss: Loss,
    settings: Settings,
    inside: Mapping[str, Tensor] | None = None,
) -> dict[str, Blocks]:
    """Measure the empirical Fisher, the mean of g gᵀ over rows, in blocks of weights, with damping.

    Args:
        leaves: the weights, by the name of their layer.
        batches: source of the `settings.rows`, with one gradient each.
        loss: maps a batch to a scalar with a graph.
        settings: only `rows`, `block` and `damping` are read.
        inside: booleans over the flattened weights that blocks are made of; all by default.
    """
    index = {name: _index(leaf, inside and inside[name]) for name, leaf in leaves.items()}
    width = settings.block
    curvatures = {name: _zeros(places, width) for name, places in index.items()}
    total = 0
    for row in single_rows(batches, settings.rows):
        for name, grad in zip(leaves, gradients(loss(row), list(leaves.values())), strict=True):
            padded = torch.zeros(curvatures[name].shape[0] * width, dtype=torch.float64, device=grad.device)
            padded[: len(index[name])] = grad.flatten()[index[name]].double()
            parts = padded.view(-1, width)
            curvatures[name].baddbmm_(parts.unsqueeze(-1), parts.unsqueeze(-2))
        total += 1
    return {
        name: Blocks(_damped(curvature / total, settings.damping), index[name])
        for name, curvature in curvatures.items()
    }


def _index(leaf: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return torch.arange(leaf.numel(), device=leaf.device)
    return inside.flatten().nonzero().flatten()


def _zeros(index: Tensor, width: int) -> Tensor:
    return torch.zeros(-(-len(index) // width), width, width, dtype=torch.float64, device=index.device)


def _damped(curvature: Tensor, damping: float) -> Tensor:
    """Add a share of the diagonal's mean, so that blocks without a gradient can be inverted too."""
    diagonal = curvature.diagonal(dim1=-2, dim2=-1)
    level = damping * diagonal.mean() if diagonal.numel() else 0.0
    eye = torch.eye(curvature.shape[-1], dtype=curvature.dtype, device=curvature.device)
    return curvature + (level + 1e-30) * eye
