"""Remove units from a network and add some, tensors, attributes, links and optimiser state together."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer

from kirigami.models.structure.tensors import check_followers, check_links, reindex
from kirigami.models.structure.units import Axis, Units, related

Optimizers: TypeAlias = Optimizer | Iterable[Optimizer] | None
"""An optimiser, several, or none."""


def remove(network: nn.Module, units: Units, indices: Sequence[int] | Tensor, optimizer: Optimizers = None) -> None:
    """Remove units; every tensor with their entries shrinks, and the outputs are as if the units had been zeroed.

    Parameters become new ones; in the optimisers they take the places of the old ones, in the same groups, and what an
    optimiser knows of the entries that stay (`momentum_buffer`, `exp_avg`, ...) stays with them. `units`, and all
    others found in the same call, are brought up to date.

    Args:
        network: the network in which the units were found.
        units: from `kirigami.models.structure.units`.
        indices: which of them, from 0 to `units.count` - 1; some must remain.
        optimizer: the optimiser, or several, whose state is to follow.

    Raises:
        ValueError: where an index is out of its range, none would remain, or a link or state cannot follow.
    """
    gone = torch.as_tensor(indices, dtype=torch.long).unique()
    if not len(gone):
        return
    if gone.min() < 0 or gone.max() >= units.count:
        raise ValueError(f"indices must be from 0 to {units.count - 1} for {units.name}, but got {gone.tolist()}.")
    if len(gone) == units.count:
        raise ValueError(f"indices name all {units.count} units of {units.name}, but one must remain.")
    optimizers = _all(optimizer)
    stays = torch.ones(units.count, dtype=torch.bool)
    stays[gone] = False
    renumbered = stays.cumsum(0) - 1
    for axis, module in _sides(network, units, optimizers):
        size = length(module, axis)
        keep = torch.ones(size, dtype=torch.bool)
        keep[axis.index[~stays[axis.unit]]] = False
        source = torch.nonzero(keep).flatten()
        for tensor, dim in axis.tensors.items():
            reindex(module, tensor, dim, source, optimizers)
        _count(module, axis, len(source) - size)
        remains = stays[axis.unit]
        axis.index, axis.unit = axis.index[remains], renumbered[axis.unit[remains]]
        moved = keep.cumsum(0) - 1
        for other in related(units, axis):
            other.index = moved[other.index]
    units.count = int(stays.sum())


def widen(
    network: nn.Module,
    units: Units,
    sources: int | Sequence[int] | Tensor,
    *,
    incoming: Mapping[str, Tensor] | None = None,
    outgoing: Mapping[str, Tensor] | None = None,
    optimizer: Optimizers = None,
) -> None:
    """Add units after the last one.

    Given sources, each new unit is a copy of one there is, and what reads them is divided among the copies, so that
    the outputs stay what they were (Net2Wider; Chen, Goodfellow & Shlens, ICLR 2016, section 2.3.1, without noise).
    Given their number alone, their weights and biases are 0 and their norms neutral. Where `incoming` or `outgoing`
    name a tensor, its new entries are those. Optimisers know nothing of new entries: their state is 0.

    Args:
        network: the network in which the units were found.
        units: from `kirigami.models.structure.units`; brought up to date.
        sources: n, or the indices (n,) of the units to copy, which may repeat.
        incoming: {tensor such as `conv1.weight` or `conv1.bias`: values} of `out` and `along` axes, of the tensor's
            shape with the number of new entries at the units' dimension, one new unit after another.
        outgoing: {tensor such as `conv2.weight`: values} of `in` axes, likewise; with it, that layer's weights from
            the sources are not divided.
        optimizer: the optimiser, or several, that have to know the new parameters.

    Raises:
        ValueError: where an index is out of its range, a name or a shape is wrong, units lie on a part of a layer
            only, or a link or state cannot follow.
    """
    chosen = None if isinstance(sources, int) else torch.as_tensor(sources, dtype=torch.long)
    count = sources if isinstance(sources, int) else len(sources)
    if count < 1:
        return
    if chosen is not None and (chosen.min() < 0 or chosen.max() >= units.count):
        raise ValueError(f"sources must be from 0 to {units.count - 1} for {units.name}, but got {chosen.tolist()}.")
    optimizers = _all(optimizer)
    entries = {"in": dict(outgoing or {}), "other": dict(incoming or {})}
    _check_entries(units, entries)
    for axis, module in _sides(network, units, optimizers):
        if len(axis.unit.unique()) < units.count:
            raise ValueError(f"{units.name} cannot be widened: only some of its units reach {axis.module}.")
        source, place, owner = _inserted(axis, length(module, axis), units.count, count)
        copied = None if chosen is None else _copied(axis, chosen, units.count, owner)
        values = entries["in" if axis.role == "in" else "other"]
        for tensor, dim in axis.tensors.items():
            named = values.get(f"{axis.module}.{tensor}")
            if named is not None:
                _check_shape(f"{axis.module}.{tensor}", named, getattr(module, tensor), dim, len(owner))
                named = named.index_select(dim, owner.argsort(stable=True).argsort().to(named.device))
            elif chosen is not None and axis.role == "in":
                _divide(module, tensor, dim, axis, chosen)
            reindex(module, tensor, dim, source, optimizers, named, copied)
        _count(module, axis, len(owner))
        _moved(units, axis, source, place, owner)
    units.count += count


def length(module: nn.Module, axis: Axis) -> int:
    """Return the size of a side of a module."""
    attribute, step = next(iter(axis.attributes.items()), ("", 1))
    if attribute:
        return int(getattr(module, attribute)) * step
    return int(axis.index.max()) + 1


def _sides(network: nn.Module, units: Units, optimizers: Iterable[Optimizer]) -> list[tuple[Axis, nn.Module]]:
    """Return the axes with their modules, all checked before anything is changed."""
    sides = [(axis, network.get_submodule(axis.module)) for axis in units.axes]
    for axis, module in sides:
        check_links(axis.module, module)
        for tensor, dim in axis.tensors.items():
            check_followers(axis.module, module, tensor, dim, optimizers)
    return sides


def _all(optimizer: Optimizers) -> list[Optimizer]:
    if optimizer is None:
        return []
    return [optimizer] if hasattr(optimizer, "param_groups") else list(optimizer)  # type: ignore[arg-type]


def _count(module: nn.Module, axis: Axis, change: int) -> None:
    """Update a module's size attributes."""
    for attribute, step in axis.attributes.items():
        setattr(module, attribute, getattr(module, attribute) + change // step)


def _check_entries(units: Units, entries: Mapping[str, Mapping[str, Tensor]]) -> None:
    names: dict[str, set[str]] = {"in": set(), "other": set()}
    for axis in units.axes:
        names["in" if axis.role == "in" else "other"] |= {f"{axis.module}.{tensor}" for tensor in axis.tensors}
    for kind, word in (("in", "outgoing"), ("other", "incoming")):
        for name in entries[kind]:
            if name not in names[kind]:
                raise ValueError(f"{word} must name one of ({', '.join(sorted(names[kind]))}), but got {name!r}.")


def _check_shape(name: str, values: Tensor, tensor: Tensor, dim: int, entries: int) -> None:
    expected = (*tensor.shape[:dim], entries, *tensor.shape[dim + 1 :])
    if tuple(values.shape) != expected:
        raise ValueError(f"the values for {name} must have shape {expected}, but got {tuple(values.shape)}.")


def _inserted(axis: Axis, size: int, units: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions of new units on a side: a block of entries behind each run of entries of the last unit.

    Returns:
        source (new size,), the old position of each new one or -1; the new positions of the new entries, rising; and
        the number of the new unit, from 0, that each of those belongs to.
    """
    last = axis.index[axis.unit == units - 1]
    breaks = torch.nonzero(last.diff() > 1).flatten() + 1
    pieces, owners, begin = [], [], 0
    for run in torch.tensor_split(last, breaks.tolist()):
        end = int(run[-1]) + 1
        pieces += [torch.arange(begin, end), torch.full((count * len(run),), -1)]
        owners += [torch.arange(count).repeat_interleave(len(run))]
        begin = end
    source = torch.cat([*pieces, torch.arange(begin, size)])
    return source, torch.nonzero(source < 0).flatten(), torch.cat(owners)


def _copied(axis: Axis, chosen: Tensor, units: int, owner: Tensor) -> Tensor:
    """Return the old position that each new entry copies."""
    copied = torch.empty_like(owner)
    for new, old in enumerate(chosen.tolist()):
        copied[owner == new] = axis.index[axis.unit == old]
    return copied


def _divide(module: nn.Module, tensor: str, dim: int, axis: Axis, chosen: Tensor) -> None:
    """Divide the outgoing weights of units that are about to be copied by the number of their copies."""
    copies = 1 + torch.bincount(chosen, minlength=int(axis.unit.max()) + 1)
    factor = torch.ones(getattr(module, tensor).shape[dim])
    factor[axis.index] = 1 / copies[axis.unit].float()
    linked = parametrize.is_parametrized(module, tensor)
    weight = module.parametrizations[tensor].original if linked else getattr(module, tensor)
    with torch.no_grad():
        shape = [1] * weight.dim()
        shape[dim] = -1
        weight.mul_(factor.to(weight).view(shape))


def _moved(units: Units, axis: Axis, source: Tensor, place: Tensor, owner: Tensor) -> None:
    """Update the index maps: old positions move, and this axis gets the new ones."""
    old = source >= 0
    moved = torch.empty(int(old.sum()), dtype=torch.long)
    moved[source[old]] = torch.nonzero(old).flatten()
    for other in related(units, axis):
        other.index = moved[other.index]
    index, unit = torch.cat([axis.index, place]), torch.cat([axis.unit, owner + units.count])
    order = index.argsort()
    axis.index, axis.unit = index[order], unit[order]
