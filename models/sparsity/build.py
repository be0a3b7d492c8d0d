"""Build a technique of sparsity from its config."""

from collections.abc import Mapping
from typing import Any

from kirigami.arguments import accept, names
from kirigami.errors import ArgumentError, choose
from kirigami.models.sparsity.continuous import ContinuousSparsification
from kirigami.models.sparsity.magnitude import GradualPruning, MagnitudePruning, RandomPruning
from kirigami.models.sparsity.saliency import SaliencyPruning
from kirigami.models.sparsity.structured import StructuredPruning
from kirigami.models.technique import Technique

METHODS: dict[str, type[Technique]] = {
    "continuous": ContinuousSparsification,
    "magnitude": MagnitudePruning,
    "gradual": GradualPruning,
    "influence": SaliencyPruning,
    "random": RandomPruning,
    "structured": StructuredPruning,
}


def build(config: Mapping[str, Any]) -> Technique | None:
    """Build the technique of a config.

    Args:
        config: `{method: continuous, density: 0.1, ...}`: a name in `METHODS` and arguments of its class, or
            `{method: none}`. Arguments of the other methods are left out.

    Returns:
        A technique that is not yet attached; None for `method: none`.

    Raises:
        ValueError: The method or a key is unknown, or a value is out of its range.
    """
    if "method" not in config:
        raise ArgumentError("method", f"is not set. Choose one of (none, {', '.join(METHODS)}).")
    method = choose("method", config["method"], ("none", *METHODS))
    if method == "none":
        return None
    options = {key: value for key, value in config.items() if key != "method"}
    siblings = {key for technique in METHODS.values() for key in names(technique)}
    technique = METHODS[method]
    return technique(**accept(technique, options, name=method, siblings=siblings))
