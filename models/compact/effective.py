"""A network's tensors under the names that they have in the plain network, with every chain of links computed."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from kirigami.models.technique import Link, Place, check_ties, links_of, soft_titles, stored

COUNTER = "num_batches_tracked"  # matters to training alone


@dataclass(frozen=True)
class Entry:
    """A tensor of the plain network.

    Attributes:
        name: its name there.
        value: the tensor, on the CPU.
        parts: the stored tensors of each link of its chain, by stage; empty without links.
        ones: the result of the links after a mix of templates for a weight of ones; None without such a mix.
    """

    name: str
    value: Tensor
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    ones: Tensor | None = None


def entries(network: nn.Module) -> Iterator[Entry]:
    """Yield the parameters and lasting buffers of a network, in order of registration, without batch counters.

    Raises:
        ValueError: where a technique is still soft, a tensor has no values, a module keeps a state that is no tensor,
            or a tie would be lost.
    """
    for title in soft_titles(network):
        raise ValueError(f"{title} is still soft: shapes may still change. Harden it before the network is encoded.")
    check_ties(network)
    for prefix, module in outside_links(network):
        empty = [name for name, value in module.named_parameters() if value.is_meta]
        if empty:
            raise ValueError(f"{prefix}{empty[0]} has no values, being on the meta device, and cannot be encoded.")
        if not is_linked(module) and type(module).get_extra_state is not nn.Module.get_extra_state:
            raise ValueError(
                f"{prefix or type(module).__name__} keeps a state that is no tensor and cannot be encoded."
            )
        for name, value in held(module):
            yield Entry(prefix + name, value.detach().cpu())
        if is_linked(module):
            for name in module.parametrizations:
                yield computed(prefix + name, module, name)


def outside_links(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (prefix of its tensors' names, module) of every module that is not part of a chain of links."""
    inside: set[int] = set()
    for name, module in network.named_modules(remove_duplicate=False):
        if id(module) not in inside:
            if is_linked(module):
                inside |= {id(part) for part in module.parametrizations.modules()}
            yield f"{name}." if name else "", module


def is_linked(module: nn.Module) -> bool:
    """Tell whether some tensor of a module is computed by a chain, of our links or anybody's."""
    return parametrize.is_parametrized(module)


def held(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield (name, tensor) of a module's own parameters and lasting buffers, without the counter of batches."""
    for name, value in {**module._parameters, **module._buffers}.items():
        if value is not None and name != COUNTER and name not in module._non_persistent_buffers_set:
            yield name, value


def computed(name: str, layer: nn.Module, attribute: str) -> Entry:
    """Return the effective tensor of a chain, and the parts of its links.

    Raises:
        ValueError: where a link is still soft.
    """
    chain = layer.parametrizations[attribute]
    values: tuple[Tensor, ...] = (
        (chain.original,) if chain.is_tensor else tuple(getattr(chain, f"original{i}") for i in range(chain.ntensors))
    )
    parts: dict[str, dict[str, Tensor]] = {}
    ones: Tensor | None = None
    with torch.no_grad():
        for link in chain:
            if isinstance(link, Link):
                if not link.hard:
                    raise ValueError(f"{name} is still soft. Harden its {type(link).__name__} before it is encoded.")
                parts[link.stage] = link.parts(*values)
            values = (link(*values),)
            if "share" in parts:
                ones = torch.ones_like(values[0]) if ones is None else link(ones)
    return Entry(name, values[0].detach().cpu(), parts, None if ones is None else ones.cpu())


def plain(network: nn.Module) -> nn.Module:
    """Return a copy of a network with plain tensors in place of chains of links; what is tied stays tied."""
    copied = copy.deepcopy(network)
    linked = [module for module in copied.modules() if is_linked(module)]
    chains = [module.parametrizations for module in linked]  # kept until the end: identities tell what is tied
    replaced: dict[tuple[int, ...], nn.Parameter] = {}
    for module in linked:
        _unlink(module, replaced)
    del chains
    return copied


def _unlink(module: nn.Module, replaced: dict[tuple[int, ...], nn.Parameter]) -> None:
    """Replace chains by their values, on a copy: torch's own removal would break the class it shares with its model.

    Args:
        replaced: the Parameters that stand in place of chains, by the identities of what a chain consists of.
    """
    keys = {}
    for name, chain in module.parametrizations.items():
        parameter = stored(Place(module, name))
        keys[name] = (id(chain if parameter is None else parameter), *links_of(Place(module, name)))
    with torch.no_grad():
        values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
    trained = {name: any(True for _ in chain.parameters()) for name, chain in module.parametrizations.items()}
    del module.parametrizations
    module.__class__ = module.__class__.__bases__[0]
    for name, value in values.items():
        if trained[name]:
            module.register_parameter(name, replaced.setdefault(keys[name], nn.Parameter(value)))
        else:
            module.register_buffer(name, value)
