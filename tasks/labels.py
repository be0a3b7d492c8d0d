"""Turn the target column of a table into the targets of a network: class numbers, or values."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError

KINDS = ("auto", "classes", "values")
_COMPARISONS = {
    ">=": np.greater_equal,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
}
_MOST_CLASSES = 20


@dataclass(frozen=True)
class Labeller:
    """The rules from a target column to targets: its name, kind, class names, and the condition of a positive row."""

    target: str
    kind: str
    classes: tuple[str, ...] | None
    positive: str | None

    @classmethod
    def fit(cls, column: Any, target: str, positive: str | None, kind: str) -> "Labeller":
        """Decide from the train column; `ValueError` if it is empty in places or holds one class only."""
        _require_full(column, target)
        if positive is not None:
            holds = int(_is_positive(column, positive).sum())
            if holds in (0, len(column)):
                raise ArgumentError(
                    "positive",
                    f": {target}{_sign(positive)} holds for {holds} of {len(column)} rows, but two classes are "
                    "needed. Set positive to a value or comparison that divides them.",
                )
            name = f"{target}{_sign(positive)}"
            return cls(target, "classes", (f"not {name}", name), positive)
        kind = _guess(column) if kind == "auto" else kind
        if kind == "values":
            if not _numeric(column):
                raise ArgumentError(
                    "kind", f"must be classes, but got 'values': the target {target!r} is not a number."
                )
            return cls(target, "values", None, None)
        classes = tuple(str(value) for value in sorted(column.unique()))
        if len(classes) < 2:
            raise ArgumentError(
                "target", f": {target!r} is {classes[0]} in every train row, but two classes are needed."
            )
        return cls(target, "classes", classes, None)

    def __call__(self, column: Any) -> Tensor:
        """Return targets: int64 (N,) class numbers, or float32 (N, 1) values."""
        _require_full(column, self.target)
        if self.kind == "values":
            return torch.from_numpy(column.to_numpy(dtype=np.float32, copy=True)).unsqueeze(1)
        if self.positive is not None:
            return torch.from_numpy(_is_positive(column, self.positive).astype(np.int64))
        place = {name: number for number, name in enumerate(self.classes or ())}
        numbers = np.array([place.get(str(value), -1) for value in column])
        if (numbers < 0).any():
            wrong = column.iloc[int(np.flatnonzero(numbers < 0)[0])]
            raise ArgumentError("target", f": the class {wrong!r} of {self.target!r} does not occur in the train rows.")
        return torch.from_numpy(numbers)


def _require_full(column: Any, target: str) -> None:
    empty = int(column.isna().sum())
    if empty:
        raise ArgumentError("target", f": {target!r} is empty in {empty} of {len(column)} rows. Remove those rows.")


def _numeric(column: Any) -> bool:
    return column.dtype.kind in "iufb"


def _guess(column: Any) -> str:
    if not _numeric(column):
        return "classes"
    values = column.unique()
    whole = bool((values == np.round(values.astype(float))).all())
    return "classes" if whole and len(values) <= _MOST_CLASSES else "values"


def _sign(positive: str) -> str:
    return positive if positive.startswith(tuple("<>=!")) else f"={positive}"


def _is_positive(column: Any, positive: str) -> np.ndarray:
    """Apply a comparison such as ">0", or equality with a plain value, to a column: bool (N,)."""
    match = re.fullmatch(r"(>=|<=|==|!=|>|<)?\s*(.*?)\s*", positive.strip())
    assert match is not None
    sign, value = match[1] or "==", match[2]
    if sign in ("==", "!=") and not (_numeric(column) and _is_number(value)):
        return _COMPARISONS[sign](column.astype(str).to_numpy(dtype=str), value)
    if not _numeric(column) or not _is_number(value):
        raise ArgumentError("positive", f"compares with a number, but got {positive!r} for the target {column.name!r}.")
    return _COMPARISONS[sign](column.to_numpy(dtype=float), float(value))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True
