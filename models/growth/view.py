"""Units as rows of two matrices, their incoming and their outgoing weights; and changes that are undone."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.cost import evaluating
from kirigami.models.structure import Axis, Role, Units

Loss = Callable[[Any], Tensor]
"""Maps a batch to the scalar loss, with its graph, such as `kirigami.models.technique.loss_of(module)`."""


def matrix(network: nn.Module, units: Units, role: Role, indices: Sequence[int] | None = None) -> Tensor:
    """Return the weights on the side of a role, one row a unit: all layers that make, or read, the unit side by side.

    Biases are left out. With `in`, a row is a unit's outgoing weights; with `out`, its incoming ones.
    """
    chosen = torch.arange(units.count) if indices is None else torch.as_tensor(indices)
    parts = [_rows(weight.detach(), axis, chosen) for axis, weight in _weights(network, units, role)]
    return torch.cat(parts, 1)


def blocks(network: nn.Module, units: Units, role: Role, rows: Tensor) -> dict[str, Tensor]:
    """Return, by the tensor's name, the entries that rows of `matrix`'s form stand for, as `widen` takes them."""
    tensors, begin = {}, 0
    for axis, weight in _weights(network, units, role):
        dim, each = axis.tensors["weight"], _each(axis, units)
        rest = [size for place, size in enumerate(weight.shape) if place != dim]
        width = each * (weight.numel() // weight.shape[dim])
        part = rows[:, begin : begin + width].reshape(len(rows) * each, *rest)
        tensors[f"{axis.module}.weight"] = part.movedim(0, dim).to(weight)
        begin += width
    return tensors


def gradient(network: nn.Module, units: Units, role: Role, fresh: Sequence[int], loss: Loss, batches: Any) -> Tensor:
    """Return the gradient of the mean loss by the rows of `matrix` of some units, in evaluation mode."""
    weighted = _weights(network, units, role, stored=True)
    leaves = [weight for _, weight in weighted]
    sums = [torch.zeros_like(leaf) for leaf in leaves]
    with evaluating(network), torch.enable_grad():
        for batch in batches:
            grads = torch.autograd.grad(loss(batch), leaves, allow_unused=True, materialize_grads=True)
            for total, grad in zip(sums, grads, strict=True):
                total += grad / len(batches)
    chosen = torch.as_tensor(fresh)
    return torch.cat([_rows(total, axis, chosen) for total, (axis, _) in zip(sums, weighted, strict=True)], 1)


def mean_loss(network: nn.Module, loss: Loss, batches: Sequence[Any]) -> float:
    """Return the mean loss over batches, in evaluation mode."""
    with evaluating(network), torch.no_grad():
        return sum(float(loss(batch)) for batch in batches) / len(batches)


@contextmanager
def trial(network: nn.Module, units: Units) -> Iterator[None]:
    """Allow units to be added or removed, and restore the original tensors, values and attributes afterwards.

    No optimiser may follow what happens inside: it would be left with the parameters of the trial.
    """
    family = units.family or [units]
    counts = [(member, member.count) for member in family]
    places = [(axis, axis.index, axis.unit) for member in family for axis in member.axes]
    modules = {part for axis in units.axes for part in network.get_submodule(axis.module).modules()}
    saved = [(part, dict(part._parameters), dict(part._buffers)) for part in modules]
    tensors = [value for _, *held in saved for part in held for value in part.values() if value is not None]
    values = [(tensor, tensor.detach().clone()) for tensor in tensors]
    owners = [(network.get_submodule(axis.module), name) for axis in units.axes for name in axis.attributes]
    numbers = [(module, name, getattr(module, name)) for module, name in owners]
    try:
        yield
    finally:
        for member, count in counts:
            member.count = count
        for axis, index, unit in places:
            axis.index, axis.unit = index, unit
        for part, parameters, buffers in saved:
            part._parameters.update(parameters)
            part._buffers.update(buffers)
        with torch.no_grad():
            for tensor, value in values:
                tensor.copy_(value)
        for module, name, number in numbers:
            setattr(module, name, number)


@contextmanager
def watched(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the inputs of modules, by name, while the context lasts."""
    seen: dict[str, list[Tensor]] = {name: [] for name in names}

    def keep(name: str) -> Any:
        return network.get_submodule(name).register_forward_pre_hook(lambda _, inputs: seen[name].append(inputs[0]))

    hooks = [keep(name) for name in names]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _weights(network: nn.Module, units: Units, role: Role, stored: bool = False) -> list[tuple[Axis, Tensor]]:
    """Return the axes of a role with the weights of their modules, or the stored tensors under links."""
    pairs = []
    for axis in units.of(role):
        module = network.get_submodule(axis.module)
        linked = stored and hasattr(module, "parametrizations") and "weight" in module.parametrizations
        pairs.append((axis, module.parametrizations.weight.original if linked else module.weight))
    return pairs


def _rows(weight: Tensor, axis: Axis, units: Tensor) -> Tensor:
    """Return one row a unit of a weight's entries."""
    entries = axis.entries(units).to(weight.device)
    return weight.movedim(axis.tensors["weight"], 0)[entries].reshape(len(units), -1)


def _each(axis: Axis, units: Units) -> int:
    """Return the positions that each unit has on a side."""
    return len(axis.index) // units.count
