"""Build a network from its config: one of ours by name, or anybody's by the path of its class."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from kirigami.arguments import accept, names
from kirigami.errors import ArgumentError, choose
from kirigami.models.networks.convnet import ConvNet
from kirigami.models.networks.gru import GRU
from kirigami.models.networks.mlp import MLP
from kirigami.models.networks.resnet import ResNet
from kirigami.models.networks.transformer import Transformer
from kirigami.models.networks.vgg import VGG
from kirigami.models.networks.wrn import wrn
from kirigami.targets import KEY, called

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": MLP,
    "convnet": ConvNet,
    "resnet": ResNet,
    "wrn": wrn,
    "vgg": VGG,
    "gru": GRU,
    "transformer": Transformer,
}


def build_network(
    config: Mapping[str, Any],
    *,
    in_shape: Any,
    out_features: int,
    vocabulary: Any = None,
    dense: bool = False,
) -> nn.Module:
    """Build the network of a config.

    Args:
        config: `{name: mlp, width: 128, ...}`, or `{_target_: "package.module.Class", ...}` for a module of the
            user's, which gets the config's other keys and those of the arguments below that its signature names.
        in_shape: Shape of one sample; of several inputs one for each, in a list or by name.
        out_features: Outputs a sample, or a pixel.
        vocabulary: Number of characters, where the input is text; of several inputs one for each.
        dense: Outputs are for each pixel.

    Raises:
        ValueError: The name or a key is unknown, or the network cannot serve the task.
    """
    shapes = {"in_shape": _shape(in_shape), "out_features": out_features, "vocabulary": vocabulary, "dense": dense}
    if config.get(KEY):
        return _foreign(config, shapes)
    if "name" not in config:
        raise ArgumentError("name", f"is not set. Choose one of ({', '.join(NETWORKS)}).")
    name = choose("name", config["name"], NETWORKS)
    options = {key: value for key, value in config.items() if key != "name"}
    _check_task(name, shapes)
    siblings = {key for network in NETWORKS.values() for key in names(network)} - set(shapes)
    network = NETWORKS[name]
    return network(**accept(network, options, name=name, provided=shapes, siblings=siblings))


def _shape(in_shape: Any) -> Any:
    """Return shapes as tuples, which a file has as lists."""
    if isinstance(in_shape, Mapping):
        return {name: tuple(shape) for name, shape in in_shape.items()}
    return tuple(tuple(part) if isinstance(part, Sequence) else part for part in in_shape)


def _check_task(name: str, shapes: Mapping[str, Any]) -> None:
    """Raise unless the network called `name` takes this kind of input and gives this kind of output."""
    shape = shapes["in_shape"]
    if isinstance(shape, Mapping) or any(isinstance(part, tuple) for part in shape):
        takes = f"={name} takes one input, but the task has {len(shape)}, for a module of your own."
        raise ArgumentError("name", takes, ("_target_", "mine.Net"))
    served = {key: _serves(key, shapes) for key in NETWORKS}
    if not served[name]:
        able = ", ".join(key for key, good in served.items() if good)
        raise ArgumentError("name", f"must be one of ({able}) for {_describe(shapes)}, but got '{name}'.")


def _serves(name: str, shapes: Mapping[str, Any]) -> bool:
    """Tell by the signature: text needs `vocabulary`, pixels need `dense`, and a network with `dense` needs images."""
    accepted = names(NETWORKS[name])
    if shapes["vocabulary"] is not None or "vocabulary" in accepted:
        return shapes["vocabulary"] is not None and "vocabulary" in accepted
    return len(shapes["in_shape"]) == 3 if "dense" in accepted else not shapes["dense"]


def _describe(shapes: Mapping[str, Any]) -> str:
    if shapes["vocabulary"] is not None:
        return "a task of characters"
    return f"samples of shape {shapes['in_shape']}" + (" and an output for each pixel" if shapes["dense"] else "")


def _foreign(config: Mapping[str, Any], shapes: Mapping[str, Any]) -> nn.Module:
    """Build the user's own module."""
    network = called(config, shapes)
    if not isinstance(network, nn.Module):
        path = config[KEY]
        raise ArgumentError(KEY, f"must build a torch.nn.Module, but {path} gave {type(network).__name__}.")
    return network
