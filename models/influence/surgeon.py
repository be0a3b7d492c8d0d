"""Optimal Brain Surgeon with blocks of the empirical Fisher: what a weight's removal costs once the others make up.

Hassibi & Stork, NIPS 1992; the empirical Fisher in blocks for the Hessian as in WoodFisher (Singh & Alistarh,
NeurIPS 2020). WoodFisher adds up the updates of single removals; here all removals in a block are made up for at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.influence.probe import Loss, gradients, incoming, single_rows, untouched
from kirigami.models.influence.settings import Settings
from kirigami.models.technique import chosen


class Blocks:
    """The curvature of one layer's weights: a quadratic form in blocks, of weights in a row.

    Args:
        curvature: (blocks, B, B), symmetric and positive definite.
        index: (weights,) places in the flattened weight that the blocks hold, in order, the last block filled up.
    """

    def __init__(self, curvature: Tensor, index: Tensor) -> None:
        self.curvature = curvature
        self.index = index

    def scores(self, weight: Tensor) -> Tensor:
        """Return the rise of the loss when one weight goes and its block makes up, w² / (2 [H⁻¹]qq); zero outside."""
        inverse = torch.linalg.inv(self.curvature).diagonal(dim1=-2, dim2=-1).flatten()[: len(self.index)]
        flat = torch.zeros(weight.numel(), dtype=weight.dtype, device=weight.device)
        inside = weight.flatten()[self.index]
        flat[self.index] = inside.square() / (2 * inverse.to(weight.dtype))
        return flat.view_as(weight)

    def update(self, weight: Tensor, keep: Tensor) -> Tensor:
        """Return the weight with zeros where nothing is kept, and the rest of each block set to cost least.

        With K kept and Q removed, w_K + H_KK⁻¹ H_KQ w_Q minimises the quadratic form.
        """
        values, kept = self._blocks(weight.double()), self._blocks(keep.double())
        pull = (self.curvature @ (values * (1 - kept)).unsqueeze(-1)).squeeze(-1) * kept
        pairs = kept.unsqueeze(-1) * kept.unsqueeze(-2)
        reduced = self.curvature * pairs + torch.diag_embed(1 - kept)
        solved = values * kept + torch.linalg.solve(reduced, pull)
        flat = (weight * keep).flatten()
        flat[self.index] = solved.flatten()[: len(self.index)].to(weight.dtype)
        return flat.view_as(weight)

    def _blocks(self, values: Tensor) -> Tensor:
        """Return the values held, as (blocks, B), filled up with zeros."""
        count, width = self.curvature.shape[:2]
        filled = torch.zeros(count * width, dtype=values.dtype, device=values.device)
        filled[: len(self.index)] = values.flatten()[self.index]
        return filled.view(count, width)


def surgeon(
    network: nn.Module, batches: Sequence[Any], loss: Loss, names: Iterable[str] | None = None, **settings: Any
) -> dict[str, Blocks]:
    """Return each layer's curvature, which scores its weights and updates them when some are removed.

    Args:
        network: in any mode; it is left as it was.
        batches: of which `rows` are taken, one gradient each.
        loss: maps a batch to the network's scalar loss, the mean over its rows, with a graph.
        names: of the layers; by default every linear and convolutional one but the last.
        settings: see `Settings`; `rows`, `block` and `damping` count.

    Raises:
        ValueError: where a name or a setting is unknown, or a setting is out of its range.
    """
    given = Settings(**settings)
    with untouched(network), incoming(chosen(network, names)) as leaves:
        return fisher_blocks(leaves, batches, loss, given)


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
        batches: of which `settings.rows` are taken, one gradient each.
        loss: maps a batch to a scalar with a graph.
        settings: `rows`, `block` and `damping` count.
        inside: booleans over the flattened weights that blocks are made of; all by default.
    """
    index = {name: _index(leaf, inside and inside[name]) for name, leaf in leaves.items()}
    width = settings.block
    held = {name: _zeros(places, width) for name, places in index.items()}
    total = 0
    for row in single_rows(batches, settings.rows):
        for name, grad in zip(leaves, gradients(loss(row), list(leaves.values())), strict=True):
            padded = torch.zeros(held[name].shape[0] * width, dtype=torch.float64, device=grad.device)
            padded[: len(index[name])] = grad.flatten()[index[name]].double()
            parts = padded.view(-1, width)
            held[name].baddbmm_(parts.unsqueeze(-1), parts.unsqueeze(-2))
        total += 1
    return {name: Blocks(_damped(curvature / total, settings.damping), index[name]) for name, curvature in held.items()}


def _index(leaf: Tensor, inside: Tensor | None) -> Tensor:
    if inside is None:
        return torch.arange(leaf.numel(), device=leaf.device)
    return inside.flatten().nonzero().flatten()


def _zeros(index: Tensor, width: int) -> Tensor:
    return torch.zeros(-(-len(index) // width), width, width, dtype=torch.float64, device=index.device)


def _damped(curvature: Tensor, damping: float) -> Tensor:
    """Add a share of the mean of the diagonal, so that blocks without a gradient can be inverted too."""
    diagonal = curvature.diagonal(dim1=-2, dim2=-1)
    level = damping * diagonal.mean() if diagonal.numel() else 0.0
    eye = torch.eye(curvature.shape[-1], dtype=curvature.dtype, device=curvature.device)
    return curvature + (level + 1e-30) * eye
