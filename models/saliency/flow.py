"""SynFlow: keep the weights that carry the most flow of ones through the network, without any data."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models.saliency.probe import first_tensor
from kirigami.models.technique import weighted

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def flow_scores(
    network: nn.Module, names: Sequence[str], batch: Any, density: float, rounds: int = 100
) -> dict[str, Tensor]:
    """Return the order in which rounds of pruning remove weights (SynFlow; Tanaka et al., NeurIPS 2020).

    Each round scores |w| ∂R/∂|w|, R the sum of the outputs for an input of ones when all weights are positive, and
    keeps the density to the power k / rounds. A batch norm only scales, other norms and all biases are left out;
    activations stay, which is exact for those with f(x) = x at x > 0. The weights are those at the chains' ends.

    Args:
        network: is copied, in double precision.
        names: of the layers to score.
        batch: for the shape of one input.
        density: to work towards, in (0, 1].
        rounds: of pruning.

    Returns:
        For each name the round that removed an entry, plus a number below 1 for its place in it; largest what stays.

    Raises:
        ValueError: where the network's inputs are no real numbers.
    """
    inputs = first_tensor(batch)
    if not inputs.is_floating_point():
        raise ValueError(f"synflow needs inputs of real numbers, but got {inputs.dtype}. Choose another criterion.")
    ones = torch.ones_like(inputs[:1], dtype=torch.float64)
    flow, weights = linear_copy(network)
    scored = [weights[name] for name in names]
    entries = sum(weight.numel() for weight in scored)
    order = torch.zeros(entries, dtype=torch.float64, device=ones.device)
    alive = torch.ones(entries, dtype=torch.bool, device=ones.device)
    for index in range(1, rounds + 1):
        scores = saliency(flow, scored, ones)
        place = (scores / scores.max().clamp_min(1e-300)).clamp(0, 1) * 0.999
        keep = max(1, round(density ** (index / rounds) * entries))
        ranked = torch.where(alive, scores, -torch.inf).sort(descending=True, stable=True).indices
        removed = alive.clone()
        removed[ranked[:keep]] = False
        order = torch.where(alive, torch.where(removed, index - 1, index) + place, order)
        alive &= ~removed
        with torch.no_grad():
            for weight, part in zip(scored, alive.split([weight.numel() for weight in scored]), strict=True):
                weight.mul_(part.view_as(weight))
    pieces = order.split([weight.numel() for weight in scored])
    return {name: part.view_as(weight) for name, weight, part in zip(names, scored, pieces, strict=True)}


def saliency(flow: nn.Module, weights: Sequence[Tensor], ones: Tensor) -> Tensor:
    """Return w ∂R/∂w of all weights in one row."""
    total = flow(ones).sum()
    grads = torch.autograd.grad(total, weights, allow_unused=True, materialize_grads=True)
    return torch.cat([(weight * grad).detach().flatten() for weight, grad in zip(weights, grads, strict=True)])


def linear_copy(network: nn.Module) -> tuple[nn.Module, Mapping[str, Tensor]]:
    """Copy a network in double precision with positive weights, norms that only scale, and no biases.

    Returns:
        The copy in evaluation mode, and the weight of each linear and convolutional layer in it, as leaves.
    """
    flow = copy.deepcopy(network).double().eval()
    layers = dict(weighted(flow))
    effective = {name: layer.weight.detach().abs() for name, layer in layers.items()}
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            parameter.copy_(parameter.abs() * (not name.endswith("bias")))
    weights: dict[str, Tensor] = {}
    for name, layer in layers.items():
        weights[name] = effective[name].requires_grad_()
        if parametrize.is_parametrized(layer, "weight"):
            layer.parametrizations.weight.register_forward_hook(lambda _, __, ___, leaf=weights[name]: leaf)
        else:
            weights[name] = layer.weight.requires_grad_()
    for module in flow.modules():
        if isinstance(module, NORMS):
            module.register_forward_hook(_scaled)
    return flow, weights


def _scaled(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
    """Stand in for a norm: in a batch norm with statistics, keep each channel's factor; else pass the input on."""
    variance = getattr(norm, "running_var", None)
    if variance is None:
        return inputs[0]
    factor = (variance + norm.eps).rsqrt() * (1 if norm.weight is None else norm.weight)
    return inputs[0] * factor.view(1, -1, *[1] * (inputs[0].dim() - 2))
