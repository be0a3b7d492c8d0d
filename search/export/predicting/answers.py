"""The answers of a network as columns of a table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.search.errors import InputError


def require_numbers(outputs: NDArray[Any], names: Sequence[Any], data: Path) -> NDArray[Any]:
    """Return outputs, all of which are numbers.

    Raises:
        InputError: naming the first row whose answer is none.
    """
    wrong = ~np.isfinite(outputs).reshape(len(outputs), -1).all(axis=1)
    if wrong.any():
        raise InputError(
            f"{data}: input {names[int(wrong.argmax())]}: the network's answer is no number. A value of it is missing, "
            "or far from those of training."
        )
    return outputs


def columns(outputs: NDArray[Any], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns of the answer: the class and its probability, the labels, shares of pixels, or the values."""
    classes = json.loads(metadata.get("classes", "[]"))
    if metadata.get("kind", "classes") == "classes" and outputs.ndim == 2 and outputs.shape[1] > 1:
        shifted = np.exp(outputs - outputs.max(1, keepdims=True))
        best = outputs.argmax(1)
        named = [classes[index] if index < len(classes) else str(index) for index in best]
        return {"class": named, "share": (shifted.max(1) / shifted.sum(1)).round(4)}
    if metadata.get("kind") == "labels":
        chances = 1 / (1 + np.exp(-outputs.astype(np.float64)))
        joined = ["; ".join(np.array(classes)[row]) for row in outputs > 0]
        return {"labels": joined, **{name: chances[:, place].round(4) for place, name in enumerate(classes)}}
    if metadata.get("kind") == "pixels" and outputs.ndim == 4:
        answers = outputs.argmax(1)
        return {name: (answers == place).mean((1, 2)).round(4) for place, name in enumerate(classes)}
    flat = outputs.reshape(len(outputs), -1)
    return {"value": flat[:, 0]} if flat.shape[1] == 1 else {f"output {i}": flat[:, i] for i in range(flat.shape[1])}
