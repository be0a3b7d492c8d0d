"""What fills an empty cell of a number, which are logged, and which are marked: learnt from the train rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, choose


@dataclass(frozen=True)
class Filling:
    """Rules for columns of numbers.

    Attributes:
        logs: columns whose numbers become log(1 + x); what is negative counts as 0.
        fill: what stands for an empty cell, in the unit after the logarithm, for each column.
        indicators: columns whose empty cells are marked by a column of 0 and 1.
    """

    columns: tuple[str, ...]
    logs: tuple[str, ...]
    fill: tuple[float, ...]
    indicators: tuple[str, ...]

    @classmethod
    def fit(
        cls,
        raw: NDArray[np.float64],
        columns: tuple[str, ...],
        *,
        log: bool | tuple[str, ...],
        missing: str,
        indicator: bool,
    ) -> "Filling":
        """Learn from the raw numbers of train rows (N, F), NaN where one is missing.

        Raises:
            ArgumentError: for a column that cannot be logged.
        """
        logs = _logs(raw, columns, log)
        logged = np.isin(np.array(columns, dtype=str), np.array(logs, dtype=str))
        values = raw.copy()
        values[:, logged] = np.log1p(np.maximum(values[:, logged], 0))
        gaps = [bool(np.isnan(column).any()) for column in values.T]
        marked = tuple(name for name, gap in zip(columns, gaps, strict=True) if gap and indicator)
        return cls(columns, logs, tuple(_fill(values, missing).tolist()), marked)

    def to_dict(self) -> dict[str, Any]:
        """Return the rules as plain values."""
        return {"log1p": list(self.logs), "fill": list(self.fill), "indicators": list(self.indicators)}


def _logs(raw: NDArray[np.float64], names: tuple[str, ...], log: bool | tuple[str, ...]) -> tuple[str, ...]:
    """Choose the columns to log: those named, which must not be negative, or all that are not."""
    fits = {name: not (raw[:, index] < 0).any() for index, name in enumerate(names)}
    if isinstance(log, bool):
        return tuple(name for name in names if log and fits[name])
    for name in log:
        choose("log", name, names)
        if not fits[name]:
            raise ArgumentError("log", f": the column {name!r} has negative values. Take it out of log.")
    return tuple(log)


def _fill(values: NDArray[np.float64], missing: str) -> NDArray[np.float64]:
    """Return the replacement of a missing value of each column (F,); 0 for a column that is missing throughout."""
    fill = np.zeros(values.shape[1])
    full = ~np.isnan(values).all(axis=0)
    if missing in ("median", "mean") and full.any():
        fill[full] = (np.nanmedian if missing == "median" else np.nanmean)(values[:, full], axis=0)
    return fill
