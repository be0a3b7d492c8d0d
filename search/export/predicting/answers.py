"""The answers of a network as columns of a table."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def columns(outputs: NDArray[Any], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns of the answer: the class and its probability, or the values."""
    classes = json.loads(metadata.get("classes", "[]"))
    if metadata.get("kind", "classes") == "classes" and outputs.ndim == 2 and outputs.shape[1] > 1:
        shifted = np.exp(outputs - outputs.max(1, keepdims=True))
        best = outputs.argmax(1)
        named = [classes[index] if index < len(classes) else str(index) for index in best]
        return {"class": named, "share": (shifted.max(1) / shifted.sum(1)).round(4)}
    flat = outputs.reshape(len(outputs), -1)
    return {"value": flat[:, 0]} if flat.shape[1] == 1 else {f"output {i}": flat[:, i] for i in range(flat.shape[1])}
