"""The groups of a config that build techniques."""

from collections.abc import Mapping
from typing import Any

TECHNIQUES = ("growth", "sharing", "sparsity", "bits")
"""In the order of attaching: grow, share, mask, quantise. `kirigami.models.GROUP.build` builds a group's technique."""


def methods(config: Mapping[str, Any]) -> dict[str, str]:
    """Return group -> method of the techniques that a config asks for."""
    chosen = {group: config[group]["method"] for group in TECHNIQUES}
    return {group: method for group, method in chosen.items() if method != "none"}


def without_techniques(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the same trial without any technique."""
    return {**config, **{group: {"method": "none"} for group in TECHNIQUES}}
