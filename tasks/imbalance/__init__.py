"""Rare classes: weigh them, repeat their rows or make new ones, among the kept train rows alone.

task = tasks.build({"name": "breast_cancer"}, seed=0)
task.imbalance = kirigami.tasks.imbalance.build({"method": "smote", "ratio": 1.0})
task.setup("fit")
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from kirigami.errors import ArgumentError, choose, did_you_mean
from kirigami.tasks.imbalance.base import Imbalance, Oversampler
from kirigami.tasks.imbalance.neighbours import Smote
from kirigami.tasks.imbalance.repeats import Repeats
from kirigami.tasks.imbalance.rings import Fuzzy, Radial
from kirigami.tasks.imbalance.weights import Weights

METHODS: dict[str, Callable[..., Imbalance]] = {kind.method: kind for kind in (Weights, Repeats, Smote, Fuzzy, Radial)}


def build(config: Mapping[str, Any]) -> Imbalance | None:
    """Build the method of a config `{method: smote, ratio: 1.0, ...}`; None for the method `none`.

    Keys of other methods are left out in silence, so that a search may switch between methods.

    Raises:
        ValueError: the method or a key is unknown, or a value is out of its range.
    """
    method = config.get("method", "none")
    choose("method", method, ("none", *METHODS))
    options = {str(key): value for key, value in config.items() if key != "method"}
    arguments = {name: tuple(inspect.signature(kind).parameters) for name, kind in METHODS.items()}
    all_arguments = tuple(dict.fromkeys(key for keys in arguments.values() for key in keys))
    for key in options:
        if key not in all_arguments:
            meant = did_you_mean(key, all_arguments) or f" They have ({', '.join(all_arguments)})."
            raise ArgumentError(key, f"is no argument of any method.{meant}")
    if method == "none":
        return None
    return METHODS[method](**{key: value for key, value in options.items() if key in arguments[method]})


__all__ = ["METHODS", "Fuzzy", "Imbalance", "Oversampler", "Radial", "Repeats", "Smote", "Weights", "build"]
