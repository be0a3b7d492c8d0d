"""How few bits a weight needs: uniform quantisation, and SMOL, which learns the bits."""

from collections.abc import Mapping
from typing import Any

from kirigami.arguments import accept, names
from kirigami.errors import choose
from kirigami.models.bits.quantise import Quantisation
from kirigami.models.bits.smol import SMOL
from kirigami.models.bits.uniform import Uniform

METHODS: dict[str, type[Quantisation]] = {"uniform": Uniform, "smol": SMOL}

__all__ = ["METHODS", "SMOL", "Quantisation", "Uniform", "build"]


def build(config: Mapping[str, Any]) -> Quantisation | None:
    """Build the technique of a config, `{method: smol, bits: 1.15, ...}`; None for `method: none`.

    Raises:
        ValueError: The method or a key is unknown, or a value is out of its range.
    """
    method = choose("method", config.get("method", "none"), ("none", *METHODS))
    if method == "none":
        return None
    options = {key: value for key, value in config.items() if key != "method"}
    siblings = {key for technique in METHODS.values() for key in names(technique)}
    return METHODS[method](**accept(METHODS[method], options, name=method, siblings=siblings))
