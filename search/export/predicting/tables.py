"""Rows of tables that a user has, as the numbers that a network takes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kirigami.search.errors import InputError, one_line
from kirigami.search.export.predicting.notices import say
from kirigami.search.export.predicting.types import numpy_type

if TYPE_CHECKING:
    from kirigami.tasks.tables.cells import Frame

TABLES = (".csv", ".parquet")


def read_table(data: Path, argument: Any, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]]:
    """Return the numbers of the rows of a table and the rows."""
    return _by_rules(data, rules) if "columns" in rules else _as_it_stands(data, argument)


def _by_rules(data: Path, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]]:
    """Read a table by the rules that training learnt; say on stderr what training did not have."""
    from kirigami.tasks.tables import reader
    from kirigami.tasks.tables.features import Features

    if "reader" not in rules:
        raise InputError(
            f"{data}: the network's file has no rules of reading, as older versions wrote it. Export again."
        )
    features = Features.from_dict(rules)
    try:
        frame = reader.read("", (data,), features.reading)
        rows = features.raw(frame, "")
    except ValueError as error:
        raise InputError(one_line(error)) from error
    for remark in frame.remarks:
        say(remark)
    unseen = features.unseen(frame)
    if unseen:
        say(f"{data}: {'; '.join(unseen)}. They count as none of the known ones.")
    return range(len(frame)), rows


def _as_it_stands(data: Path, argument: Any) -> tuple[Sequence[Any], NDArray[Any]]:
    """Read a table of as many numbers a row as the network takes."""
    from kirigami.tasks.tables import reader
    from kirigami.tasks.tables.columns import Reading

    try:
        frame = reader.read("", (data,), Reading())
    except ValueError as error:
        raise InputError(one_line(error)) from error
    shape = [int(size) for size in argument.shape[1:]]
    columns = [column for name in frame.names if (column := _plain_numbers(frame, name)) is not None]
    numbers = np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))
    if numbers.shape[1] != int(np.prod(shape)):
        raise InputError(
            f"{data}: has {numbers.shape[1]} columns of numbers, but the network takes {int(np.prod(shape))} a row."
        )
    return range(len(frame)), _cast(data, numbers, numpy_type(argument)).reshape(-1, *shape)


def _plain_numbers(frame: "Frame", name: str) -> NDArray[np.float64] | None:
    """Return a column of numbers (N,), or None where it is none.

    Raises:
        InputError: where a number is missing.
    """
    from kirigami.tasks.tables.columns import Rule

    try:
        values = Rule(name, "number").floats(frame, "")
    except ValueError:
        return None
    gaps = np.flatnonzero(np.isnan(values))
    if 0 < len(gaps) < len(values):
        raise InputError(f"{frame.place(int(gaps[0]))}: the column {name!r} is empty, and the network fills no gaps.")
    return None if len(gaps) else values


def _cast(data: Path, numbers: NDArray[Any], kind: type) -> NDArray[Any]:
    """Return numbers as the network takes them; whole ones must be whole, and in their range."""
    with np.errstate(invalid="ignore"):
        cast: NDArray[Any] = numbers.astype(kind)
    if np.issubdtype(kind, np.integer) and (cast != numbers).any():
        row, column = np.argwhere(cast != numbers)[0]
        problem = f"{numbers[row, column]:g} is no whole number of {np.iinfo(kind).min} to {np.iinfo(kind).max}"
        raise InputError(f"{data}: row {row}, number {column}: {problem}, as the network takes them.")
    return cast
