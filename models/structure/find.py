"""Find the units of any network: channels that are coupled through sums, norms, flattening and the like."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kirigami.models.activations import LEARNED
from kirigami.models.compact import plain
from kirigami.models.structure.calls import Calls, Inputs, calls_of
from kirigami.models.structure.surgery import length, remove, widen
from kirigami.models.structure.tensors import check_links
from kirigami.models.structure.torch_pruning_private import Coupling, is_opaque, is_operation
from kirigami.models.structure.units import CONVOLUTIONS, Axis, Role, Units, axis_of, role_of

ROLES = ("out", "along", "in")


def units(network: nn.Module, inputs: Inputs, names: Iterable[str] | None = None) -> list[Units]:
    """Return the units of a network that can be removed, in order of registration of the layers that make them.

    The coupling is read off the autograd graph of a forward pass (Fang et al., DepGraph, CVPR 2023; torch-pruning),
    and then tried out: on a copy with random weights, removing half of the units must do to the outputs what it does
    to set the weights that read them to 0. What is coupled to the network's inputs or outputs, to modules that are not
    understood (see `axis_of`; recurrent layers, attention), to parameters outside of modules, or to weights that
    stand in two places, is left out. A group norm's units are its whole groups. The network, its mode, gradients,
    and the random state stay as they were.

    Args:
        network: any module.
        inputs: an example of the network's inputs, see `kirigami.models.structure.calls`.
        names: of the layers whose units are wanted, as in `Units.name`; by default all.

    Raises:
        ValueError: where the network cannot be copied or run, a layer that would change shares its weight, or a name
            has no units.
    """
    chosen = None if names is None else set(names)
    calls = calls_of(inputs).plain()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        bare = _bare(network)
        groups = [group for group in _coupled(bare, calls) if chosen is None or group.name in chosen]
        groups = _proven(bare, groups, calls)
    for group in groups:
        group.family = groups
        for axis in group.axes:
            check_links(axis.module, network.get_submodule(axis.module))
    missing = sorted((chosen or set()) - {group.name for group in groups})
    if missing:
        raise ValueError(f"{missing[0]!r} has no units that can be removed. Leave it out of the names.")
    return groups


def _bare(network: nn.Module) -> nn.Module:
    """Return a copy to trace, in evaluation mode, without links and hooks, and with new random weights: none is 0.

    It is in float32 on the CPU, since with less precision outputs that should be equal would not be.
    """
    try:
        bare = plain(network).cpu().float().eval()
    except RuntimeError as error:
        raise ValueError(f"{type(network).__name__} cannot be copied: {str(error).splitlines()[0]}") from error
    for module in bare.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks):
            hooks.clear()
    with torch.no_grad():
        for parameter in bare.parameters():
            if parameter.is_floating_point():
                parameter.requires_grad_(True)
                fan = parameter[0].numel() if parameter.dim() > 1 else 4
                parameter.normal_(std=max(1, fan) ** -0.5).add_(0.5 if parameter.dim() == 1 else 0)
    for module in bare.modules():
        if isinstance(module, LEARNED):  # one number for all units couples none of them
            module.requires_grad_(False)
    return bare


def _coupled(bare: nn.Module, calls: Calls) -> Iterator[Units]:
    """Yield groups of coupled channels whose modules are all understood."""
    coupling, names, tied = Coupling(bare, calls), _names(bare), _tied(bare)
    done: dict[nn.Module, set[int]] = {}
    for module, name in names.items():
        producer = isinstance(module, (nn.Linear, *CONVOLUTIONS)) and role_of(module, True) == "out"
        if not producer or not coupling.reaches(module):
            continue
        free = sorted(set(range(coupling.channels(module))) - done.setdefault(module, set()))
        sides = []
        for side in coupling.of(module, free) if free else []:
            target, role = side.target, role_of(side.target, side.out)
            if target in names and role == "out":
                done.setdefault(target, set()).update(side.positions)
            if id(target) in tied or not _passes(target):
                break
            if target in names:
                sides.append((names[target], target, role, side.positions, side.roots))
        else:
            group = _units(name, free, sides)
            if group is not None:
                yield group


def _names(bare: nn.Module) -> dict[nn.Module, str]:
    return {module: name for name, module in bare.named_modules()}


def _passes(target: Any) -> bool:
    """Tell whether a node of the graph is understood: a module with a known axis, or an operation without weights."""
    if is_operation(target):
        return not is_opaque(target)
    empty = torch.zeros(0, dtype=torch.long)
    return isinstance(target, nn.Module) and axis_of("", target, role_of(target, True), empty, empty) is not None


def _units(name: str, free: list[int], sides: list[tuple[str, nn.Module, Role, list[int], list[int]]]) -> Units | None:
    """Return the units of a group, None where no layer reads them or their channels do not fit together."""
    number = {root: unit for unit, root in enumerate(free)}
    axes = []
    for place, module, role, positions, roots in sides:
        if not set(roots) <= set(number):
            return None
        index, unit = torch.tensor(positions), torch.tensor([number[root] for root in roots])
        order = index.argsort()
        axis = axis_of(place, module, role, index[order], unit[order])
        if axis is not None and axis.attributes:
            if int(axis.index[-1]) >= length(module, axis):
                return None
            axes.append(axis)
    axes.sort(key=lambda axis: ROLES.index(axis.role))
    group = Units(name, len(free), axes)
    return _blocks(group) if group.of("in") else None


def _blocks(group: Units) -> Units | None:
    """Return the units with the channels of each group of a group norm made one; None where the groups do not fit."""
    block = max(step for axis in group.axes for step in axis.attributes.values())
    if group.count % block:
        return None
    for axis in group.axes:
        for step in axis.attributes.values():
            if block % step or (step > 1 and not _aligned(axis, step)):
                return None
        axis.unit = axis.unit // block
    group.count //= block
    return group


def _aligned(axis: Axis, step: int) -> bool:
    """Tell whether the units of one group of a norm are neighbours that begin where a group begins."""
    return len(axis.index) % step == 0 and bool((axis.index // step - axis.unit // step).unique().numel() == 1)


def _tied(bare: nn.Module) -> set[int]:
    """Return the ids of modules that hold a parameter which another module, or another name, holds too."""
    holders: dict[int, list[nn.Module]] = {}
    for module in bare.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                holders.setdefault(id(parameter), []).append(module)
    return {id(module) for modules in holders.values() if len(modules) > 1 for module in modules}


def _proven(bare: nn.Module, groups: Iterable[Units], calls: Calls) -> list[Units]:
    """Return the units whose removal is verified: all at once if possible, else those that pass one after another."""
    everything = list(groups)
    if _holds(bare, everything, calls):
        return everything
    good: list[Units] = []
    for group in everything:
        good += [group] if _holds(bare, [*good, group], calls) else []
    return good


@torch.no_grad()
def _holds(bare: nn.Module, groups: list[Units], calls: Calls) -> bool:
    """Tell whether removing half of the units equals setting to 0 what reads them; a single unit is copied instead."""
    zeroed, removed = copy.deepcopy(bare), copy.deepcopy(bare)
    trial = copy.deepcopy(groups)
    for group in trial:
        group.family = trial
    halves = [torch.randperm(group.count)[: group.count // 2] for group in groups]
    for group, half in zip(groups, halves, strict=True):
        for axis in group.of("in"):
            for tensor, dim in axis.tensors.items():
                zeroed.get_submodule(axis.module).get_parameter(tensor).index_fill_(dim, axis.entries(half), 0)
    try:
        for group, half in zip(trial, halves, strict=True):
            remove(removed, group, half) if group.count > 1 else widen(removed, group, [0])
        after = calls.outputs(removed)
    except (RuntimeError, ValueError, IndexError, AttributeError, TypeError):  # whatever a forward pass makes of it
        return False
    return all(_alike(*pair) for pair in zip(calls.outputs(zeroed), after, strict=True))


def _alike(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or not first.is_floating_point():
        return first.shape == second.shape
    return torch.allclose(first, second, rtol=1e-3, atol=1e-4 * float(first.abs().max()))
