"""Build a technique of growth from its config."""

from collections.abc import Mapping
from typing import Any

from kirigami.arguments import accept, names
from kirigami.errors import ArgumentError, choose
from kirigami.models.growth.initial import INITS
from kirigami.models.growth.loop import GrowAndShrink

METHODS = tuple(INITS)


def build(config: Mapping[str, Any]) -> GrowAndShrink | None:
    """Build the technique of a config.

    Args:
        config: `{method: gradmax, latency_ms: 2.5, ...}`: the init of new units, a name in `METHODS`, and the other
            arguments of `GrowAndShrink`, among them exactly one budget; or `{method: none}`.

    Returns:
        A technique that is not yet attached; None for `method: none`.

    Raises:
        ValueError: The method or a key is unknown, a value is out of its range, or there is not exactly one budget.
    """
    if "method" not in config:
        raise ArgumentError("method", f"is not set. Choose one of (none, {', '.join(METHODS)}).")
    method = choose("method", config["method"], ("none", *METHODS))
    if method == "none":
        return None
    options = {key: value for key, value in config.items() if key not in ("method", "init")}
    siblings = names(GrowAndShrink)
    return GrowAndShrink(init=method, **accept(GrowAndShrink, options, name=method, siblings=siblings))
