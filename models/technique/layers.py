"""Which layers of a network have weights that techniques take on."""

from collections.abc import Iterable, Iterator

from lightning.pytorch import LightningModule
from torch import nn

from kirigami.models.technique.ties import Place, stored

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def network_of(module: LightningModule) -> nn.Module:
    """Return the network inside a module that holds one under `network`, else the module itself."""
    network = getattr(module, "network", None)
    return network if isinstance(network, nn.Module) else module


SOFT = "_soft_techniques"  # a plain attribute of a network, so that a copy of it has it too


def note_soft(network: nn.Module, title: str) -> None:
    """Note on a network that a technique without links has not fixed its form yet."""
    network.__dict__[SOFT] = [*network.__dict__.get(SOFT, ()), title]


def note_hard(network: nn.Module, title: str) -> None:
    """Take a technique's note away."""
    network.__dict__[SOFT] = [other for other in network.__dict__.get(SOFT, ()) if other != title]


def soft_titles(network: nn.Module) -> list[str]:
    """Return the titles of the techniques whose notes are on a network or in it."""
    return [title for module in network.modules() for title in module.__dict__.get(SOFT, ())]


def weighted(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) of every linear and convolutional layer, in order of registration."""
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED):
            yield name, layer


def chosen(network: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Module]:
    """Return the layers of the names, or by default all weighted layers but the last and those that share its weight.

    Raises:
        ValueError: where a name is no linear or convolutional layer, or no layer is left.
    """
    layers = dict(weighted(network))
    if names is None:
        last = stored(Place(list(layers.values())[-1], "weight")) if layers else None
        but_the_last = {
            name: layer
            for name, layer in list(layers.items())[:-1]
            if last is None or stored(Place(layer, "weight")) is not last
        }
        if not but_the_last:
            raise ValueError(f"{type(network).__name__} has no linear or convolutional layer besides its last one.")
        return but_the_last
    for name in names:
        if name not in layers:
            raise ValueError(f"{name!r} must name a linear or convolutional layer, one of ({', '.join(layers)}).")
    return {name: layers[name] for name in names}
