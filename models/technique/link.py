"""The chain of links by which a layer's weight is computed, always in the order mix of templates -> mask -> quantiser.

A link is a torch parametrization, soft while it trains and hard at the end.
"""

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

from kirigami.models.technique.hooks import hook
from kirigami.models.technique.layers import weighted

ORDER = ("share", "mask", "quantise")


class Link(nn.Module, ABC):
    """One link in the chain of a weight: maps it to the input of the next link, or of the layer.

    A subclass is either abstract or final. It defines `stage`, its position in `ORDER`, a pure `forward`, which reads
    `hard`, and `parts`.
    """

    stage: str

    def __init__(self) -> None:
        super().__init__()
        self.hard = False

    @final
    def harden(self) -> None:
        """Fix the link: from now on it computes its final form, in training too."""
        if not self.hard:
            self.fix()
        self.hard = True

    @hook
    def fix(self) -> None:
        """Choose the final form."""

    @abstractmethod
    def parts(self, weight: Tensor) -> dict[str, Tensor]:
        """Return the tensors to store, from which the hard form of the incoming weight can be computed again."""

    @final
    def get_extra_state(self) -> Tensor:
        """Save whether the link is hard with its tensors; as a tensor, since files of tensors take nothing else."""
        return torch.tensor(self.hard)

    @final
    def set_extra_state(self, state: Tensor) -> None:
        """Restore whether the link is hard."""
        self.hard = bool(state)


def chain(layer: nn.Module) -> list[Link]:
    """Return the links of a layer's weight, in order."""
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    return [link for link in layer.parametrizations.weight if isinstance(link, Link)]


def check_order(name: str, layer: nn.Module, link: Link) -> None:
    """Refuse a link that would stand before one that is there already, or twice.

    Raises:
        ValueError: naming both stages and the order.
    """
    for other in chain(layer):
        if ORDER.index(other.stage) >= ORDER.index(link.stage):
            raise ValueError(
                f"layer {name!r} already has the link {other.stage!r}, and {link.stage!r} cannot follow it: "
                f"a weight is built in the order {' -> '.join(ORDER)}, each once."
            )


def incoming(layer: nn.Module, link: Link) -> Tensor:
    """Return the weight that enters a link of a layer: its stored tensors through the links before it, no gradient."""
    links = layer.parametrizations.weight
    assert isinstance(links, ParametrizationList)
    with torch.no_grad():
        if links.is_tensor:
            values = (links.original,)
        else:
            values = tuple(getattr(links, f"original{index}") for index in range(links.ntensors))
        for other in links:
            if other is link:
                break
            values = (other(*values),)
        return values[0].detach()


def stored_parameters(network: nn.Module) -> int:
    """Return the parameters of a network without those of links that only train; templates are stored."""
    links = {id(link): link for _, layer in weighted(network) for link in chain(layer) if link.stage != "share"}
    training = {id(parameter) for link in links.values() for parameter in link.parameters()}
    return sum(parameter.numel() for parameter in network.parameters() if id(parameter) not in training)
