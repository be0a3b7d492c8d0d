"""Load a compact file into a module: the built-in network that it names, or the user's own."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from kirigami.models import compact
from kirigami.models.growth.deeper import insert
from kirigami.models.networks import build_network
from kirigami.models.structure import resize

TRAINING = ("dropout",)  # arguments of networks that play no part after training


def about(network: Mapping[str, Any], shapes: Mapping[str, Any], recipes: list[dict[str, Any]]) -> bytes:
    """Return the shortest description in a compact file from which `load` can build the network again.

    Args:
        network: config of the network.
        shapes: of the data, as `build_network` takes them.
        recipes: of the techniques; only inserted layers are stored, since other changes show in the tensors' shapes.
    """
    inserted = [layer for recipe in recipes for layer in recipe.get("inserted", [])]
    config = {key: value for key, value in network.items() if key not in TRAINING}
    description: dict[str, Any] = {"network": config, "shapes": {key: value for key, value in shapes.items() if value}}
    if inserted:
        description["inserted"] = inserted
    return json.dumps(description, separators=(",", ":")).encode()


def load(path: str | PathLike[str], network: nn.Module | None = None) -> nn.Module:
    """Load a compact file and return the module in evaluation mode, on the CPU.

    Args:
        path: a `.kgm` file.
        network: a module of the same tensors, untrained, such as the user's own class; by default the file names one
            of the built-in networks. Code that a file names is never imported.

    Raises:
        ValueError: where the file is damaged, foreign or of another network.
        OSError: where it cannot be read.
    """
    data = Path(path).read_bytes()
    file = compact.read(data)
    if network is None:
        network = _built(file.extra.get("about", b"{}"))
    resize(network, {name: list(values.shape) for name, values in file.patterns.items()})
    return compact.decode(data, network).eval()


def _built(text: bytes) -> nn.Module:
    description = json.loads(text)
    config = description.get("network", {})
    if "name" not in config:
        named = config.get("_target_")
        raise ValueError(
            f"the file's network is {named or 'not named'}, which is no built-in one. "
            "Build it and pass it: load(path, network=...)."
        )
    built = build_network(config, **{"vocabulary": None, "dense": False, **description["shapes"]})
    for layer in description.get("inserted", []):
        insert(built, layer)
    return built
