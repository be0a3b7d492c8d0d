"""Saliency of weights: scores of the loss change on removal, larger for more important weights."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.errors import ArgumentError, choose
from kirigami.models.saliency.flow import flow_scores
from kirigami.models.saliency.probe import Loss, gradients, incoming, product, signs, single_rows, untouched
from kirigami.models.saliency.settings import Settings
from kirigami.models.saliency.surgeon import fisher_blocks
from kirigami.models.technique import chosen

Scores = dict[str, Tensor]
Layers = Mapping[str, nn.Module]
BY_ROW = ("fisher", "obs", "blend")


def weight_scores(
    network: nn.Module,
    criterion: str,
    batches: Sequence[Any],
    loss: Loss,
    names: Iterable[str] | None = None,
    **settings: Any,
) -> Scores:
    """Score every weight of the layers by the loss change on its removal.

    Under links, the scored weight is the input of the mask's stage in the chain (see `incoming`). A weight that a mask
    has already removed scores zero, except by magnitude and at random.

    Args:
        network: in any mode; the network, its gradients and the random state are not changed.
        criterion: a name in `CRITERIA`.
        batches: the loss is averaged over them; magnitude, random and SynFlow read no targets.
        loss: maps a batch to the network's scalar loss, the mean over its rows, with a graph.
        names: of the layers; by default every linear and convolutional one but the last.
        settings: see `Settings`.

    Returns:
        For each layer's name a tensor of its weight's shape. OBD, OBS and Fisher are in units of the loss; SynFlow
        and the blend give a rank.

    Raises:
        ValueError: where the criterion, a name or a setting is unknown, or a setting is out of its range.
    """
    choose("criterion", criterion, CRITERIA)
    layers, chosen_settings = chosen(network, names), Settings(**settings)
    if not batches and criterion not in ("magnitude", "random"):
        raise ArgumentError("batches", f"must hold at least 1 batch for {criterion}, but got 0. Give it rows.")
    with untouched(network, chosen_settings.training and criterion not in BY_ROW):
        scores = CRITERIA[criterion](network, layers, batches, loss, chosen_settings)
        return {name: score.detach() for name, score in scores.items()}


def magnitude(_: nn.Module, layers: Layers, __: Sequence[Any], ___: Loss, ____: Settings) -> Scores:
    """Return |w|."""
    with incoming(layers) as leaves:
        return {name: leaf.detach().abs() for name, leaf in leaves.items()}


def random(_: nn.Module, layers: Layers, __: Sequence[Any], ___: Loss, settings: Settings) -> Scores:
    """Draw scores from [0, 1): the control."""
    generator = torch.Generator().manual_seed(settings.seed)
    with incoming(layers) as leaves:
        return {name: torch.rand(leaf.shape, generator=generator).to(leaf.device) for name, leaf in leaves.items()}


def snip(_: nn.Module, layers: Layers, batches: Sequence[Any], loss: Loss, __: Settings) -> Scores:
    """Return |g w| (SNIP; Lee, Ajanthan & Torr, ICLR 2019)."""
    with incoming(layers) as leaves:
        grads = mean_gradient(leaves, batches, loss)
        return {name: (leaf * grads[name]).abs() for name, leaf in leaves.items()}


def obd(_: nn.Module, layers: Layers, batches: Sequence[Any], loss: Loss, settings: Settings) -> Scores:
    """Return h w² / 2 with h by Hutchinson's estimator (Optimal Brain Damage; LeCun, Denker & Solla, 1989).

    h may be negative where the network is at no minimum, or by the estimator's noise; it is used unchanged.
    """
    with incoming(layers) as leaves:
        curvature = hutchinson(leaves, batches, loss, settings.probes, settings.seed)
        return {name: 0.5 * curvature[name] * leaf.square() for name, leaf in leaves.items()}


def fisher(_: nn.Module, layers: Layers, batches: Sequence[Any], loss: Loss, settings: Settings) -> Scores:
    """Return h w² / 2 with h the diagonal of the empirical Fisher, the mean of g² over rows (Theis et al., 2018)."""
    with incoming(layers) as leaves:
        curvature = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        total = 0
        for row in single_rows(batches, settings.rows):
            for name, grad in zip(leaves, gradients(loss(row), list(leaves.values())), strict=True):
                curvature[name] += grad.square()
            total += 1
        return {name: 0.5 * curvature[name] / total * leaf.square() for name, leaf in leaves.items()}


def obs(_: nn.Module, layers: Layers, batches: Sequence[Any], loss: Loss, settings: Settings) -> Scores:
    """Return w² / (2 [F⁻¹]qq) (OBS; Hassibi & Stork, 1993) with WoodFisher's F (Singh & Alistarh, NeurIPS 2020).

    The matching update of the other weights is `Blocks.update`, from `models.saliency.surgeon`.
    """
    with incoming(layers) as leaves:
        blocks = fisher_blocks(leaves, batches, loss, settings)
        return {name: blocks[name].scores(leaf.detach()) for name, leaf in leaves.items()}


def grasp(_: nn.Module, layers: Layers, batches: Sequence[Any], loss: Loss, __: Settings) -> Scores:
    """Return w (H g): removal lowers the gradient norm least (GraSP; Wang, Zhang & Grosse, ICLR 2020).

    The paper's logits are divided by a temperature of 200; here the loss is used unscaled.
    """
    with incoming(layers) as leaves:
        tensors = list(leaves.values())
        vectors = list(mean_gradient(leaves, batches, loss).values())
        flow = [torch.zeros_like(leaf) for leaf in tensors]
        for batch in batches:
            grads = gradients(loss(batch), tensors, graph=True)
            for total, part in zip(flow, product(grads, vectors, tensors), strict=True):
                total += part / len(batches)
        return {name: leaf * part for (name, leaf), part in zip(leaves.items(), flow, strict=True)}


def synflow(network: nn.Module, layers: Layers, batches: Sequence[Any], _: Loss, settings: Settings) -> Scores:
    """Return the order in which rounds of SynFlow remove weights on the way to the density; see `flow_scores`."""
    return flow_scores(network, list(layers), batches[0], settings.density, settings.rounds)


def blend(_: nn.Module, layers: Layers, batches: Sequence[Any], loss: Loss, settings: Settings) -> Scores:
    """Return the rank by magnitude, and by OBS inside a band around the cut; the Fisher is measured only there."""
    with incoming(layers) as leaves:
        flat = torch.cat([leaf.detach().abs().flatten() for leaf in leaves.values()])
        order = torch.sort(flat, descending=True, stable=True).indices
        cut, width = round(settings.density * len(flat)), round(settings.band * settings.density * len(flat))
        near = order[max(0, cut - width) : cut + width]
        inside = torch.zeros_like(flat, dtype=torch.bool)
        inside[near] = True
        parts = dict(zip(leaves, inside.split([leaf.numel() for leaf in leaves.values()]), strict=True))
        blocks = fisher_blocks(leaves, batches, loss, settings, parts)
        fine = torch.cat([blocks[name].scores(leaf.detach()).flatten() for name, leaf in leaves.items()])
        start = max(0, cut - width)
        order[start : cut + width] = near[torch.sort(fine[near], descending=True, stable=True).indices]
        places = torch.empty_like(flat, dtype=torch.float64)
        places[order] = torch.arange(len(flat), 0, -1, dtype=torch.float64, device=flat.device)
        pieces = places.split([leaf.numel() for leaf in leaves.values()])
        return {name: piece.view_as(leaf) for (name, leaf), piece in zip(leaves.items(), pieces, strict=True)}


def mean_gradient(leaves: Mapping[str, Tensor], batches: Sequence[Any], loss: Loss) -> Scores:
    """Return the gradient of the loss averaged over the batches, by the leaves."""
    total = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    for batch in batches:
        for name, grad in zip(leaves, gradients(loss(batch), list(leaves.values())), strict=True):
            total[name] += grad / len(batches)
    return total


def hutchinson(leaves: Mapping[str, Tensor], batches: Sequence[Any], loss: Loss, probes: int, seed: int) -> Scores:
    """Return an unbiased estimate of the Hessian's diagonal, the mean of v (H v) over vectors v of signs."""
    generator = torch.Generator().manual_seed(seed)
    tensors = list(leaves.values())
    total = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    for batch in batches:
        grads = gradients(loss(batch), tensors, graph=True)
        for _ in range(probes):
            vectors = [signs(leaf, generator) for leaf in tensors]
            for name, vector, part in zip(leaves, vectors, product(grads, vectors, tensors), strict=True):
                total[name] += vector * part / (probes * len(batches))
    return total


CRITERIA: dict[str, Callable[[nn.Module, Layers, Sequence[Any], Loss, Settings], Scores]] = {
    "magnitude": magnitude,
    "snip": snip,
    "obd": obd,
    "fisher": fisher,
    "obs": obs,
    "grasp": grasp,
    "synflow": synflow,
    "blend": blend,
    "random": random,
}
