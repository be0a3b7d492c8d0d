"""Sharing of weights between layers, softly by mixing templates, and folding of layers that became alike."""

from collections.abc import Callable, Mapping
from typing import Any

from kirigami.arguments import accept, names
from kirigami.errors import ArgumentError, choose, did_you_mean
from kirigami.models.sharing.fold import Folding, fold, normalise, shuffled
from kirigami.models.sharing.groups import find, split
from kirigami.models.sharing.loops import Loop, loops
from kirigami.models.sharing.sharing import Sharing
from kirigami.models.sharing.similarity import Null, Similarity, lsm, null, similarity
from kirigami.models.sharing.soft import SoftSharing
from kirigami.models.sharing.tied import TiedLayers
from kirigami.models.technique import Technique

METHODS: dict[str, Callable[..., Technique]] = {"soft": SoftSharing, "tied": TiedLayers}


def build(config: Mapping[str, Any]) -> Technique | None:
    """Build the technique of a config `{method: soft, templates: 4, ...}`; None for the method `none`.

    Raises:
        ValueError: The method or a key is unknown, or a value is out of its range.
    """
    method = choose("method", config.get("method", "none"), ("none", *METHODS))
    options = {key: value for key, value in config.items() if key != "method"}
    siblings = {key for technique in METHODS.values() for key in names(technique)}
    if method == "none":
        for key in options.keys() - siblings:
            raise ArgumentError(key, f"is no argument of any method.{did_you_mean(key, siblings)}")
        return None
    return METHODS[method](**accept(METHODS[method], options, name=method, siblings=siblings))


__all__ = [
    "METHODS",
    "Folding",
    "Loop",
    "Null",
    "Sharing",
    "Similarity",
    "SoftSharing",
    "TiedLayers",
    "build",
    "find",
    "fold",
    "loops",
    "lsm",
    "normalise",
    "null",
    "shuffled",
    "similarity",
    "split",
]
