"""Save the shapes of a network whose units were removed or added, and bring a fresh network to them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models.bits.inputs import CHILD, InputQuantiser
from kirigami.models.structure.tensors import check_links, reindex
from kirigami.models.structure.units import axis_of

CHAIN = ".parametrizations."


def shapes(network: nn.Module) -> dict[str, list[int]]:
    """Return {name: shape} of the parameters and buffers of a network, under the names of the plain one.

    A weight with links stands there once, by the name that it has without them. A norm without tensors has its numbers
    there instead, such as `norm.num_features: [16]`.
    """
    sizes = {name: list(getattr(holder, tensor).shape) for name, holder, tensor in _held(network)}
    return sizes | {name: [getattr(module, attribute)] for name, module, attribute in _bare(network)}


def resize(network: nn.Module, shapes: Mapping[str, Sequence[int]]) -> None:
    """Bring a network's tensors to shapes, so that the weights saved with them load.

    What values there are is of no account: those at the front stay, new ones are neutral. `out_features`, `groups` and
    the like follow for every kind of layer that `kirigami.models.structure.units` understands.

    Args:
        network: built as the one saved was before its units were changed; links may be attached.
        shapes: {name: shape}, of `models.structure.shapes` or of a state dictionary. Tensors of links are passed over,
            since those follow their weight, and of what rounds inputs, which have no units.

    Raises:
        ValueError: where the network has no tensor of a name, one has another number of dimensions, or a layer that
            would change shares its weight.
    """
    targets = {_plain(name): tuple(shape) for name, shape in shapes.items() if _plain(name)}
    changed: dict[str, nn.Module] = {}
    held = list(_held(network))
    names = {name for name, *_ in (*held, *_bare(network))}
    for name in targets:
        if name not in names:
            raise ValueError(f"{type(network).__name__} has no {name!r}: the shapes are of another network.")
    for name, holder, tensor in held:
        shape, now = targets.get(name), tuple(getattr(holder, tensor).shape)
        if shape is None or shape == now:
            continue
        if len(shape) != len(now):
            raise ValueError(f"{name} must have {len(now)} dimensions, but got the shape {shape}.")
        check_links(name.rpartition(".")[0], holder)
        for dim, (size, old) in enumerate(zip(shape, now, strict=True)):
            if size != old:
                source = torch.arange(size)
                source[source >= old] = -1
                reindex(holder, tensor, dim, source)
        changed[name.rpartition(".")[0]] = holder
    for module in changed.values():
        settle(module)
    for name, module, attribute in _bare(network):
        if name in targets:
            setattr(module, attribute, targets[name][0])


def to_shapes(network: nn.Module, state: Mapping[str, Any], prefix: str, *_: Any) -> None:
    """Bring a network to the shapes of the state that it is about to load: a hook before `load_state_dict`.

    What is missing or too much, loading itself tells.
    """
    names = network.state_dict().keys()
    tensors = {name: state[prefix + name] for name in names if prefix + name in state}
    resize(network, {name: value.shape for name, value in tensors.items() if isinstance(value, Tensor)})


def settle(module: nn.Module) -> None:
    """Update a layer's size attributes to match its tensors; other modules are not changed."""
    empty = torch.zeros(0, dtype=torch.long)
    for role in ("out", "along", "in"):
        axis = axis_of("", module, role, empty, empty)
        if axis is None or not axis.tensors:
            continue
        tensor, dim = next(iter(axis.tensors.items()))
        size = getattr(module, tensor).shape[dim]
        for attribute, step in axis.attributes.items():
            setattr(module, attribute, size // step)


def _held(network: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield (plain name, module, tensor) of every parameter and buffer outside of links, and of computed weights."""
    inside: set[int] = set()
    for prefix, module in network.named_modules():
        if id(module) in inside or isinstance(module, InputQuantiser):
            continue
        names = [*module._parameters, *module._buffers]
        if parametrize.is_parametrized(module):
            inside |= {id(part) for part in module.parametrizations.modules()}
            names += list(module.parametrizations)
        for name in names:
            if (
                name in getattr(module, "parametrizations", {})
                or module._parameters.get(name, module._buffers.get(name)) is not None
            ):
                yield f"{prefix}.{name}" if prefix else name, module, name


def _bare(network: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield (name, module, attribute) of the sizes that norms without tensors keep."""
    empty = torch.zeros(0, dtype=torch.long)
    for prefix, module in network.named_modules():
        axis = axis_of("", module, "along", empty, empty)
        for attribute in () if axis is None or axis.tensors else axis.attributes:
            yield f"{prefix}.{attribute}" if prefix else attribute, module, attribute


def _plain(name: str) -> str:
    """Return the name of a tensor without links, and "" for the tensors of links and of input quantisers."""
    if f".{CHILD}." in f".{name}":
        return ""
    prefix, chain, rest = name.rpartition(CHAIN)
    if not chain:
        return name
    tensor, _, last = rest.partition(".")
    return f"{prefix}.{tensor}" if last == "original" else ""
