"""Raw cells of a table, column by column, and where each row stands in its file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError


def complaint(where: str, problem: str, advice: tuple[str, object] | None = None) -> ArgumentError:
    """Return an error about the files of an argument, such as "train"; with none ("") there is no knob to advise."""
    return ArgumentError(where, f": {problem}", advice) if where else ArgumentError("", problem)


@dataclass(frozen=True)
class Cells:
    """The cells of one column.

    Attributes:
        kind: "text" (values are str, "" for an empty cell), or "number", "boolean" and "date" (values are float64, NaN
            for an empty cell; dates are seconds since 1970), or "unread" for a type that no rule reads.
        values: (N,).
        type: the name that the file has for it.
    """

    kind: str
    values: NDArray[np.generic]
    type: str

    def take(self, rows: NDArray[np.int64]) -> "Cells":
        """Return the cells of some rows."""
        return Cells(self.kind, self.values[rows], self.type)

    def texts(self) -> list[str]:
        """Return every cell as text, "" where it is empty; whole numbers have no decimals."""
        if self.kind == "text":
            return list(self.values)
        write = {"boolean": lambda value: str(bool(value)), "date": _date}.get(self.kind, _number)
        return ["" if value != value else write(float(value)) for value in self.values.tolist()]


def _number(value: float) -> str:
    return str(int(value)) if np.isfinite(value) and value == int(value) else repr(value)


def _date(seconds: float) -> str:
    return str(np.datetime64(round(seconds * 1e6), "us"))


@dataclass(frozen=True)
class Frame:
    """Columns of raw cells, from one file or several.

    Attributes:
        columns: cells by the column's name.
        files: the name of each file.
        origin: (N, 2) the number of each row's file, and its place in it, counted from 1.
        repeated: for the second column of one name (`kind.1`), that name.
        remarks: what was passed over in reading, in words.
    """

    columns: Mapping[str, Cells]
    files: tuple[str, ...]
    origin: NDArray[np.int64]
    repeated: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.origin)

    @property
    def names(self) -> tuple[str, ...]:
        """Name the columns."""
        return tuple(self.columns)

    def place(self, row: int) -> str:
        """Say where a row stands: `'rows.csv', row 3`, counted from 1 below the header."""
        file, number = self.origin[row].tolist()
        return f"{self.files[file]!r}, row {number}"

    def take(self, rows: NDArray[np.int64]) -> "Frame":
        """Return some of the rows."""
        columns = {name: cells.take(rows) for name, cells in self.columns.items()}
        return Frame(columns, self.files, self.origin[rows], self.repeated)

    def drop(self, names: Sequence[str]) -> "Frame":
        """Return the frame without some of its columns."""
        columns = {name: cells for name, cells in self.columns.items() if name not in names}
        return Frame(columns, self.files, self.origin, self.repeated, self.remarks)


def joined(frames: Sequence[Frame]) -> Frame:
    """Put frames of the same columns below one another."""
    first = frames[0]
    if len(frames) == 1:
        return first
    columns = {name: _stacked([frame.columns[name] for frame in frames]) for name in first.names}
    shift = np.cumsum([0, *(len(frame.files) for frame in frames)])
    origin = np.concatenate([frame.origin + np.array([at, 0]) for frame, at in zip(frames, shift, strict=False)])
    files = tuple(file for frame in frames for file in frame.files)
    return Frame(columns, files, origin, first.repeated, tuple(line for frame in frames for line in frame.remarks))


def _stacked(parts: Sequence[Cells]) -> Cells:
    kinds = {cells.kind for cells in parts}
    if len(kinds) == 1:
        return Cells(parts[0].kind, np.concatenate([cells.values for cells in parts]), parts[0].type)
    unread = next((cells for cells in parts if cells.kind == "unread"), None)
    kind = "unread" if unread is not None else "text"
    texts = [
        text for cells in parts for text in (cells.texts() if cells.kind != "unread" else [""] * len(cells.values))
    ]
    return Cells(kind, np.array(texts, dtype=object), unread.type if unread is not None else "text")


def named(names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return column names without a second of each, and what each changed one was.

    A name that occurs again gets a number (name, name.1), a column without a name its place (Unnamed: 0).
    """
    unique: list[str] = []
    repeated: dict[str, str] = {}
    for place, name in enumerate(names):
        wanted = name or f"Unnamed: {place}"
        number, free = 0, wanted
        while free in unique:
            number += 1
            free = f"{wanted}.{number}"
        if free != wanted:
            repeated[free] = wanted
        unique.append(free)
    return tuple(unique), repeated
