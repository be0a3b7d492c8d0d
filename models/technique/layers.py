"""Which layers of a network have weights that techniques take on."""

from collections.abc import Iterable, Iterator

from lightning.pytorch import LightningModule
from torch import nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def network_of(module: LightningModule) -> nn.Module:
    """Return the network inside a module that holds one under `network`, else the module itself."""
    network = getattr(module, "network", None)
    return network if isinstance(network, nn.Module) else module


def weighted(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, layer) of every linear and convolutional layer, in order of registration."""
    for name, layer in network.named_modules():
        if isinstance(layer, WEIGHTED):
            yield name, layer


def chosen(network: nn.Module, names: Iterable[str] | None) -> dict[str, nn.Module]:
    """Return the layers of the names, or by default all weighted layers but the last.

    Raises:
        ValueError: where a name is no linear or convolutional layer, or no layer is left.
    """
    layers = dict(weighted(network))
    if names is None:
        but_the_last = dict(list(layers.items())[:-1])
        if not but_the_last:
            raise ValueError(f"{type(network).__name__} has no linear or convolutional layer besides its last one.")
        return but_the_last
    for name in names:
        if name not in layers:
            raise ValueError(f"{name!r} must name a linear or convolutional layer, one of ({', '.join(layers)}).")
    return {name: layers[name] for name in names}
