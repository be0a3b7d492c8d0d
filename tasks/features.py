"""Turn the columns of a table into numbers, by rules learnt from the train rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError, choose

MISSING = ("median", "mean", "zero", "error")
_MOST_CATEGORIES = 100


@dataclass(frozen=True)
class Features:
    """Rules for each column, learnt from train rows by `fit` and applied to any rows by calling.

    The result's columns: numbers first (log1p where asked, missing ones filled), then one 0/1 column for each
    column that had missing numbers in training (if asked), then one for each category seen in training. A missing
    or unseen category is 0 in all of them.
    """

    numbers: tuple[str, ...]
    logs: tuple[str, ...]
    fill: tuple[float, ...]
    indicators: tuple[str, ...]
    categories: tuple[tuple[str, tuple[str, ...]], ...]
    missing: str

    @classmethod
    def fit(cls, frame: Any, *, log: bool | tuple[str, ...], missing: str, indicator: bool) -> "Features":
        """Learn the rules; `ValueError` for columns that cannot be features or cannot be logged."""
        numbers = tuple(name for name in frame.columns if _kind(frame[name]) == "number")
        others = tuple(name for name in frame.columns if _kind(frame[name]) == "category")
        if not numbers and not others:
            raise ArgumentError("drop", "leaves no column to learn from. Drop fewer.")
        raw = _matrix(frame, numbers, "the train rows")
        logs = _logs(raw, numbers, log)
        raw = _log1p(raw, numbers, logs)
        gaps = np.isnan(raw).any(axis=0)
        return cls(
            numbers,
            logs,
            tuple(_fill(raw, missing).tolist()),
            tuple(name for name, gap in zip(numbers, gaps, strict=True) if gap and indicator),
            tuple((name, _categories(frame[name], name)) for name in others),
            missing,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Name the columns of the result."""
        one_hot = (f"{name}={value}" for name, values in self.categories for value in values)
        return (*self.numbers, *(f"{name} missing" for name in self.indicators), *one_hot)

    @property
    def flags(self) -> int:
        """Count the columns of the result, the last ones, that are 0 or 1."""
        return len(self.names) - len(self.numbers)

    def __call__(self, frame: Any, where: str = "the train rows") -> Tensor:
        """Return float32 rows (N, F)."""
        raw = _log1p(_matrix(frame, self.numbers, where), self.numbers, self.logs)
        gaps = np.isnan(raw)
        if self.missing == "error" and gaps.any():
            name = self.numbers[int(gaps.any(axis=0).argmax())]
            raise ArgumentError(
                "missing", f"is error, but {name!r} has missing values in {where}.", ("missing", "median")
            )
        blocks = [np.where(gaps, np.array(self.fill), raw)]
        blocks += [gaps[:, [self.numbers.index(name)]] for name in self.indicators]
        blocks += _one_hot(frame, self.categories)
        return torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32))

    def raw(self, frame: Any, where: str) -> Tensor:
        """Return float32 rows: numbers as they are, NaN where one is missing, then 0/1 for each category."""
        blocks = [_matrix(frame, self.numbers, where), *_one_hot(frame, self.categories)]
        return torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32))

    @classmethod
    def from_dict(cls, rules: Mapping[str, Any]) -> "Features":
        """Rebuild from the dict of `to_dict`."""
        return cls(
            tuple(rules["columns"]),
            tuple(rules["log1p"]),
            tuple(rules["fill"]),
            tuple(rules["indicators"]),
            tuple((name, tuple(values)) for name, values in rules["categories"].items()),
            "median",
        )

    def to_dict(self) -> dict[str, object]:
        """Return the rules as plain values."""
        return {
            "columns": list(self.numbers),
            "log1p": list(self.logs),
            "fill": list(self.fill),
            "indicators": list(self.indicators),
            "categories": {name: list(values) for name, values in self.categories},
        }


def _one_hot(frame: Any, categories: tuple[tuple[str, tuple[str, ...]], ...]) -> list[np.ndarray]:
    """Return a block (N, values) of 0/1 for each column of categories."""
    cells = ((frame[name].astype(str).to_numpy(dtype=str), values) for name, values in categories)
    return [found[:, None] == np.array(values)[None, :] for found, values in cells]


def _kind(column: Any) -> str:
    if column.dtype.kind == "M" or column.dtype.kind == "m":
        raise ArgumentError("drop", f": the column {column.name!r} holds dates, which are not read. Add it to drop.")
    return "number" if column.dtype.kind in "iufb" or column.isna().all() else "category"


def _matrix(frame: Any, names: tuple[str, ...], where: str) -> np.ndarray:
    """Read number columns as float64 (N, F); infinities count as missing."""
    for name in names:
        if frame[name].dtype.kind not in "iufb" and not frame[name].isna().all():
            raise ArgumentError("drop", f": the column {name!r} holds text in {where}, but numbers in the train rows.")
    raw = np.empty((len(frame), len(names)))
    for index, name in enumerate(names):
        raw[:, index] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
    raw[np.isinf(raw)] = np.nan
    return raw


def _logs(raw: np.ndarray, names: tuple[str, ...], log: bool | tuple[str, ...]) -> tuple[str, ...]:
    """Choose the columns to log: those named, which must not be negative, or all that are not."""
    fits = {name: not (raw[:, index] < 0).any() for index, name in enumerate(names)}
    if isinstance(log, bool):
        return tuple(name for name in names if log and fits[name])
    for name in log:
        choose("log", name, names)
        if not fits[name]:
            raise ArgumentError("log", f": the column {name!r} has negative values. Take it out of log.")
    return tuple(log)


def _log1p(raw: np.ndarray, names: tuple[str, ...], logs: tuple[str, ...]) -> np.ndarray:
    logged = np.isin(np.array(names, dtype=str), np.array(logs, dtype=str))
    raw[:, logged] = np.log1p(np.maximum(raw[:, logged], 0))
    return raw


def _fill(raw: np.ndarray, missing: str) -> np.ndarray:
    """Return the replacement of a missing value of each column (F,); 0 for a column that is missing throughout."""
    fill = np.zeros(raw.shape[1])
    full = ~np.isnan(raw).all(axis=0)
    if missing in ("median", "mean") and full.any():
        fill[full] = (np.nanmedian if missing == "median" else np.nanmean)(raw[:, full], axis=0)
    return fill


def _categories(column: Any, name: str) -> tuple[str, ...]:
    values = sorted(column.dropna().astype(str).unique())
    if len(values) > min(_MOST_CATEGORIES, max(20, len(column) // 2)):
        raise ArgumentError(
            "drop",
            f": the column {name!r} holds {len(values)} different texts in {len(column)} rows, so it looks like "
            "a name rather than a category. Add it to drop.",
        )
    return tuple(values)
