"""The numpy type of what an ONNX network takes."""

from typing import Any

import numpy as np


def numpy_type(argument: Any) -> type:
    """Return the numpy type of an argument of an ONNX Runtime session."""
    return {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64}.get(argument.type, np.float32)
