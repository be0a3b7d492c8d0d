"""What a compact file holds, tensor by tensor."""

from collections.abc import Mapping
from typing import Any

import torch

from kirigami.models import compact

WIDTHS = {"half": 16}


def table(file: compact.File, costs: Mapping[str, float] | None = None) -> list[dict[str, Any]]:
    """Return a row for each tensor: name, shape, form, share of entries that are not zero, bits an entry, and bytes.

    Args:
        file: which one.
        costs: bytes by tensor, of `kirigami.models.compact.costs`; a file alone does not tell them.
    """
    rows = [_row(name, value, file.parts[name]) for name, value in file.state.items()]
    return rows if costs is None else [{**row, "bytes": round(costs[row["name"]], 1)} for row in rows]


def _row(name: str, value: torch.Tensor, part: Any) -> dict[str, Any]:
    count = max(value.numel(), 1)
    share = int(torch.count_nonzero(value)) / count
    return {
        "name": name,
        "shape": list(value.shape),
        "form": part.form,
        "kept": f"{share:.1%}",
        "bits": _bits(value, part),
    }


def _bits(value: torch.Tensor, part: Any) -> float | str:
    """Return the mean bits of the entries kept, where they are codes, else those of their type."""
    if part.levels is None or part.bits is None:
        return WIDTHS.get(part.form, 8 * value.element_size())
    levels = torch.as_tensor(part.levels).reshape(value.shape)
    bits = torch.as_tensor(part.bits).expand(value.shape)[levels != 0]
    return round(float(bits.double().mean()), 2) if bits.numel() else 0.0
