"""What a compact file holds, tensor by tensor."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.models import compact

WIDTHS = {"half": 16}


def table(file: compact.File, costs: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Return a row for each tensor: name, shape, form, share of entries that are not zero, bits an entry, and bytes.

    Args:
        file: which one.
        costs: bytes by tensor, of `kirigami.models.compact.costs`; a file alone does not tell them.
    """
    rows = [_row(name, values, file.parts[name]) for name, values in file.patterns.items()]
    return rows if costs is None else [{**row, "bytes": round(costs[row["name"]], 1)} for row in rows]


def _row(name: str, patterns: NDArray[Any], part: Any) -> dict[str, Any]:
    share = np.count_nonzero(patterns) / max(patterns.size, 1)
    return {
        "name": name,
        "shape": list(patterns.shape),
        "form": part.form,
        "kept": f"{share:.1%}",
        "bits": _bits(patterns, part),
    }


def _bits(patterns: NDArray[Any], part: Any) -> float | str:
    """Return the mean bits of the entries kept, where they are codes, else those of their type."""
    if part.levels is None or part.bits is None:
        return WIDTHS.get(part.form, 8 * patterns.itemsize)
    bits = np.broadcast_to(part.bits, patterns.shape)[part.levels.reshape(patterns.shape) != 0]
    return round(float(bits.mean(dtype=np.float64)), 2) if bits.size else 0.0
