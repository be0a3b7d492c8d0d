"""The techniques of a trial: built from its config, attached in the order of the chain, read at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kirigami import models
from kirigami.errors import at
from kirigami.models.technique import Technique

ROOMS = {
    "growth": models.growth.build,
    "sharing": models.sharing.build,
    "sparsity": models.sparsity.build,
    "bits": models.bits.build,
}


def build(config: Mapping[str, Any]) -> list[Technique]:
    """Build the techniques that the config asks for, in the order grow, share, mask, quantise.

    Raises:
        ValueError: for an unknown method or key, or a value out of its range.
    """
    techniques = []
    for room, make in ROOMS.items():
        with at(room):
            techniques.append(make(config[room]))
    return [technique for technique in techniques if technique is not None]


def attach(techniques: Sequence[Technique], network: nn.Module) -> None:
    """Attach them to a network.

    Raises:
        ValueError: where a network has no layers for a technique, or two of them do not go together.
    """
    for technique in techniques:
        with at(room_of(technique), otherwise=("method", "none")):
            technique.attach(network)
    for technique in techniques:
        with at(room_of(technique), otherwise=("method", "none")):
            technique.check()


def room_of(technique: Technique) -> str:
    """Return the group of the config that a technique is built from: its package has the same name."""
    return next(room for room in ROOMS if type(technique).__module__.startswith(f"{models.__name__}.{room}."))


def least_bytes(techniques: Sequence[Technique], network: nn.Module) -> int:
    """Return the bytes that the network's file will exceed, from the least that the techniques can come to."""
    least = [technique.least() for technique in techniques]
    bits = [each.bits for each in least if each.bits is not None]
    density = min((each.density for each in least), default=1.0)
    return models.compact.lower_bound(network, density=density, bits=min(bits, default=None))


def figures(techniques: Sequence[Technique]) -> dict[str, Any]:
    """Return what the techniques tell of the state reached, such as density, bits and the similarity of layers."""
    return {name: value for technique in techniques for name, value in technique.figures().items()}
