"""Put new units into a network by their incoming and outgoing weights, for good or for a trial."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kirigami.models.growth.view import Loss, blocks, gradient, matrix, mean_loss, trial, watched
from kirigami.models.structure import Axis, Role, Units, widen

# Above 0, so that ReLU passes the gradient on: its slope at 0 itself is 0.
TINY = 1e-6
NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)


@dataclass
class Ground:
    """The network, data and settings of a growth step.

    Attributes:
        network: the network to grow.
        batches: training batches.
        loss: from a batch to the training loss.
        generator: source of random numbers, on the CPU.
        optimizers: the optimisers that train the network.
        scale: norm of a new unit's outgoing weights, in units of the mean norm of the present ones.
    """

    network: nn.Module
    batches: Sequence[Any]
    loss: Loss
    generator: torch.Generator
    optimizers: Sequence[Optimizer] = ()
    scale: float = 1.0


def slopes(ground: Ground, units: Units, inward: Tensor, outward: Tensor, role: Role, bias: float = 0.0) -> Tensor:
    """Return the gradient by the incoming ("out") or outgoing ("in") weights of units that are added for a trial."""
    with trial(ground.network, units):
        before = units.count
        install(ground, units, inward, outward, bias=bias)
        fresh = range(before, units.count)
        return gradient(ground.network, units, role, fresh, ground.loss, ground.batches)


def install(
    ground: Ground,
    units: Units,
    inward: Tensor,
    outward: Tensor,
    optimizers: Sequence[Optimizer] = (),
    bias: float = 0.0,
) -> None:
    """Add units by their incoming and outgoing weights; norms get the statistics of their inputs, if these vary."""
    network, before = ground.network, units.count
    incoming = blocks(network, units, "out", inward) | _shifts(ground, units, len(inward), bias)
    widen(
        network,
        units,
        len(inward),
        incoming=incoming,
        outgoing=blocks(network, units, "in", outward),
        optimizer=optimizers,
    )
    if bool(inward.any()):
        _calibrate(ground, units, range(before, units.count))


def silent(ground: Ground, units: Units, inward: Tensor, outward: Tensor) -> None:
    """Add units that give 0, up to a tiny bias, with outgoing weights of these directions."""
    network, normed = ground.network, bool(_norms(ground, units))
    inward = length(network, units, "out") * unit(inward) if normed else torch.zeros_like(inward)
    outward = ground.scale * length(network, units, "in") * unit(outward)
    batch = ground.batches[:1]
    before = mean_loss(network, ground.loss, batch)
    with trial(network, units):
        install(ground, units, inward, outward, bias=TINY)
        _mute(ground, units, len(inward), normed)
        moved = abs(mean_loss(network, ground.loss, batch) - before)
    if moved > 1e-3 * max(1.0, abs(before)):
        raise ValueError(
            f"units of {units.name} cannot begin silent: the loss moved by {moved:.3g}, since the activation is not 0 "
            "at 0. Choose init=split or init=firefly."
        )
    install(ground, units, inward, outward, ground.optimizers, bias=TINY)
    _mute(ground, units, len(inward), normed)


def _mute(ground: Ground, units: Units, count: int, normed: bool) -> None:
    """Set the scale of the norms of the last units to 0."""
    if not normed:
        return
    with torch.no_grad():
        for axis, norm in _norms(ground, units):
            fresh = axis.entries(range(units.count - count, units.count))
            norm.weight[fresh.to(norm.weight.device)] = 0.0


def _shifts(ground: Ground, units: Units, count: int, bias: float) -> dict[str, Tensor]:
    """Return the new biases, of norms if there are any, and copies of the filters of depthwise convolutions.

    Raises:
        ValueError: where a bias is asked for and there is none.
    """
    tensors: dict[str, Tensor] = {}
    norms = {axis.module for axis, _ in _norms(ground, units)}
    for axis in [*units.of("out"), *units.of("along")]:
        module, each = ground.network.get_submodule(axis.module), len(axis.index) // units.count
        shifts = axis.module in norms if norms else axis.role == "out"
        if shifts and getattr(module, "bias", None) is not None:
            tensors[f"{axis.module}.bias"] = torch.full((count * each,), bias)
        if axis.role == "along" and axis.module not in norms and "weight" in axis.tensors:
            sources = torch.arange(count) % units.count
            tensors[f"{axis.module}.weight"] = module.weight.detach()[axis.entries(sources)]
    if bias and not any(name.endswith(".bias") for name in tensors):
        raise ValueError(
            f"units of {units.name} have neither a bias nor a norm to begin silent by. "
            "Choose init=split or init=firefly."
        )
    return tensors


def _norms(ground: Ground, units: Units) -> list[tuple[Axis, Any]]:
    """Return the norms with a scale that the units go through."""
    sides = [(axis, ground.network.get_submodule(axis.module)) for axis in units.of("along")]
    return [(axis, module) for axis, module in sides if isinstance(module, NORMS) and "weight" in axis.tensors]


def _calibrate(ground: Ground, units: Units, fresh: Sequence[int]) -> None:
    """Set the running statistics of some units to those of their norms' inputs in evaluation mode."""
    running = [(axis, norm) for axis, norm in _norms(ground, units) if "running_mean" in axis.tensors]
    if not running:
        return
    with watched(ground.network, [axis.module for axis, _ in running]) as seen:
        mean_loss(ground.network, ground.loss, ground.batches)
    for axis, norm in running:
        places = axis.entries(fresh).to(norm.running_mean.device)
        values = torch.cat(
            [values_seen.detach().movedim(1, 0)[places].flatten(1) for values_seen in seen[axis.module]], 1
        )
        norm.running_mean[places] = values.mean(1)
        norm.running_var[places] = values.var(1).clamp(min=norm.eps)


def length(network: nn.Module, units: Units, role: Role) -> float:
    """Return the mean norm of the units' incoming weights ("out") or outgoing weights ("in")."""
    norm = float(matrix(network, units, role).norm(dim=1).mean())
    return norm if norm > 0 and math.isfinite(norm) else 1.0


def unit(rows: Tensor) -> Tensor:
    """Return rows of length 1; those of zeros stay."""
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)


def normal(shape: Sequence[int], ground: Ground) -> Tensor:
    return torch.randn(tuple(shape), generator=ground.generator)
