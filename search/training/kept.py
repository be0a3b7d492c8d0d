"""A trial's network on disk: its weights, its config, and the form that techniques gave it, in one safetensors file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from kirigami import models, tasks
from kirigami.errors import at
from kirigami.models.technique import Technique, network_of
from kirigami.search.errors import InputError
from kirigami.search.files import replaced
from kirigami.search.training import techniques

FORMAT = 1
KEY = "kirigami"
LEFT_OUT = ("space", "storage")


def shapes_of(task: tasks.Task) -> dict[str, Any]:
    """Return what a network has to know of its data."""
    return {
        "in_shape": list(task.in_shape),
        "out_features": task.out_features,
        "vocabulary": task.vocabulary,
        "dense": task.kind == "pixels",
    }


def save(
    path: Path,
    network: nn.Module,
    made: Sequence[Technique],
    config: Mapping[str, Any],
    shapes: Mapping[str, Any],
) -> None:
    """Write a network; a reader never sees half a file.

    Raises:
        OSError: where it cannot be written.
    """
    about = {
        "format": FORMAT,
        "config": {key: part for key, part in config.items() if key not in LEFT_OUT},
        "shapes": dict(shapes),
        "recipes": [technique.recipe() for technique in made],
    }
    try:
        with replaced(path) as temporary:
            save_model(network, str(temporary), metadata={KEY: json.dumps(about)})
    except SafetensorError as error:  # a full disk
        raise OSError(" ".join(str(error).split())) from error


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Build a kept network anew, in its final form and with its weights; return it with the config it was made from.

    Raises:
        InputError: where the file is no network that a trial kept, or its own code has changed since.
    """
    about = about_file(path)
    config = about["config"]
    try:
        with at("network"):
            network = network_of(models.build_network(config["network"], **about["shapes"]))
        for technique, recipe in zip(techniques.build(config), about["recipes"], strict=True):
            technique.restore(network, recipe)
        load_model(network, str(path))
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        raise InputError(f"{path}: its network cannot be built again: {' '.join(str(error).split())[:300]}") from error
    return network.eval(), config


def about_file(path: Path) -> dict[str, Any]:
    """Return the config, shapes and recipes in a kept network's file.

    Raises:
        InputError: where the file cannot be read, or no trial wrote it.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no readable safetensors file ({' '.join(str(error).split())}).") from error
    about = json.loads(text) if text is not None else {}
    if about.get("format") != FORMAT:
        raise InputError(f"{path}: no network of a trial (format {about.get('format')}, this version reads {FORMAT}).")
    return dict(about)
