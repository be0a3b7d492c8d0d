"""Parameters that stand in several places of a network: a weight that layers share, an embedding tied to a softmax."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList


class Place(NamedTuple):
    """Where a tensor stands: a module, and the name of its attribute."""

    module: nn.Module
    attribute: str


def stored(place: Place) -> Tensor | None:
    """Return the Parameter in a place, under the chain of links where there is one; None where a chain has several."""
    if not parametrize.is_parametrized(place.module, place.attribute):
        return place.module._parameters.get(place.attribute)
    links = place.module.parametrizations[place.attribute]
    return links.original if links.is_tensor else None


def places(network: nn.Module) -> Iterator[tuple[str, Place]]:
    """Yield (dotted name, place) of every parameter of a network, those of chains of links where they are used."""
    inside: set[int] = set()
    for name, module in network.named_modules():
        if id(module) in inside:
            continue
        linked = []
        if parametrize.is_parametrized(module):
            inside |= {id(part) for part in module.parametrizations.modules()}
            linked = list(module.parametrizations)
        for attribute in [*module._parameters, *linked]:
            yield f"{name}.{attribute}" if name else attribute, Place(module, attribute)


def same(network: nn.Module, first: Place) -> list[Place]:
    """Return all places of the Parameter that stands in a place, that one first."""
    parameter = stored(first)
    others = [place for _, place in places(network) if place != first and stored(place) is parameter]
    return [first, *(others if parameter is not None else [])]


def ties(network: nn.Module) -> dict[int, list[str]]:
    """Return the names of the places of each Parameter that stands in more than one, by its identity."""
    names: dict[int, list[str]] = {}
    for name, place in places(network):
        if (parameter := stored(place)) is not None:
            names.setdefault(id(parameter), []).append(name)
    return {key: where for key, where in names.items() if len(where) > 1}


def links_of(place: Place) -> tuple[int, ...]:
    """Return the identities of the links of a place: places of one Parameter have the same."""
    if not parametrize.is_parametrized(place.module, place.attribute):
        return ()
    links = place.module.parametrizations[place.attribute]
    assert isinstance(links, ParametrizationList)
    return tuple(id(link) for link in links)


def check_ties(network: nn.Module) -> None:
    """Check that places of one Parameter have one chain of links.

    Raises:
        ValueError: naming two that would be stored as two tensors, of which a network with the tie takes only one.
    """
    chains: dict[int, tuple[str, tuple[int, ...]]] = {}
    for name, place in places(network):
        if (parameter := stored(place)) is None:
            continue
        first, links = chains.setdefault(id(parameter), (name, links_of(place)))
        if links != links_of(place):
            raise ValueError(
                f"{first} and {name} are one Parameter with links of their own in each place, so that no file could "
                "bring both back. Attach the technique to the whole network, which gives them one link."
            )
