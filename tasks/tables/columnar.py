"""Read Parquet files into raw cells: numbers, decimals, booleans, dates and texts; other types by their name alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.tasks.files import first_line
from kirigami.tasks.tables.cells import Cells, Frame, complaint, named

MAGIC = b"PAR1"
EXACT = 2**53  # whole numbers up to it are floats without loss


def read_names(where: str, file: Path) -> tuple[str, ...]:
    """Return the names of the columns; no row is read."""
    from pyarrow import parquet

    schema = _tried(where, file, parquet.read_schema)
    return named([name.strip() for name in schema.names if name not in _index(schema)])[0]


def read_columnar(where: str, file: Path) -> Frame:
    """Read a Parquet file.

    Raises:
        ArgumentError: where it cannot be read.
    """
    from pyarrow import parquet

    table = _tried(where, file, parquet.read_table)
    if not table.num_rows:
        raise complaint(where, f"{str(file)!r} has no rows.")
    index = _index(table.schema)
    places = [place for place, name in enumerate(table.column_names) if name not in index]
    unique, repeated = named([table.column_names[place].strip() for place in places])
    columns = {name: _column(table.column(place)) for name, place in zip(unique, places, strict=True)}
    origin = np.stack([np.zeros(table.num_rows, np.int64), np.arange(1, table.num_rows + 1)], axis=1)
    return Frame(columns, (file.name,), origin, repeated, tuple(_passed_over(file, name) for name in index))


def _passed_over(file: Path, name: str) -> str:
    return f"{file.name!r}: {name!r} names the rows (it is the index of the frame that was written), and is left out."


def _tried(where: str, file: Path, read: Any) -> Any:
    import pyarrow as arrow

    try:
        return read(file)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise complaint(where, f"{str(file)!r} cannot be read as Parquet: {first_line(error)}") from None


def _index(schema: Any) -> tuple[str, ...]:
    """Name the columns that a data frame's index was written to."""
    about = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    names = [name for name in about.get("index_columns", ()) if isinstance(name, str)]
    return tuple(name for name in schema.names if name in names)


def _column(column: Any) -> Cells:
    import pyarrow as arrow
    from pyarrow import types

    written, kind = str(column.type), column.type
    if types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if types.is_null(kind):
        return Cells("text", np.full(len(column), "", dtype=object), written)
    if types.is_boolean(kind):
        return Cells("boolean", _floats(column.cast(arrow.uint8())), written)
    if types.is_integer(kind) or types.is_decimal(kind):
        return _numbers(column, kind, written)
    if types.is_floating(kind):
        return Cells("number", _floats(column.cast(arrow.float64())), written)
    if types.is_temporal(kind):
        return _moments(column, kind, written)
    if types.is_string(kind) or types.is_large_string(kind) or str(kind) == "string_view":
        return Cells("text", _texts(column.to_pylist()), written)
    return Cells("unread", np.full(len(column), "", dtype=object), written)


def _floats(column: Any) -> NDArray[np.float64]:
    """Return float64 (N,) with NaN for null."""
    import pyarrow as arrow

    return np.array(column.cast(arrow.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _numbers(column: Any, kind: Any, written: str) -> Cells:
    """Return whole numbers and decimals as floats, or as texts where a float would not hold them all."""
    from pyarrow import compute, types

    if types.is_decimal(kind):
        values = column.to_pylist()
        large = kind.precision > 15 and any(value is not None and abs(value) > EXACT for value in values)
        if large:
            return Cells("text", _texts([None if value is None else f"{value:f}" for value in values]), written)
        return Cells("number", np.array([np.nan if value is None else float(value) for value in values]), written)
    ends = compute.min_max(column)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is not None and max(abs(low), abs(high)) > EXACT:
        return Cells("text", _texts([None if value is None else str(value) for value in column.to_pylist()]), written)
    return Cells("number", _floats(column), written)


def _moments(column: Any, kind: Any, written: str) -> Cells:
    """Return dates as seconds since 1970, times of day as seconds since midnight, durations as seconds."""
    import pyarrow as arrow
    from pyarrow import types

    if types.is_date(kind):
        column, unit = column.cast(arrow.timestamp("s")), "s"
    elif types.is_interval(kind):
        return Cells("unread", np.full(len(column), "", dtype=object), written)
    else:
        unit = kind.unit
    whole = column.cast(arrow.int32() if types.is_time32(kind) else arrow.int64())
    parts = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    seconds = np.array(
        [np.nan if value is None else value // parts + (value % parts) / parts for value in whole.to_pylist()]
    )
    return Cells("number" if types.is_duration(kind) else "date", seconds, written)


def _texts(values: list[Any]) -> NDArray[np.object_]:
    from kirigami.tasks.tables.delimited import plain

    cells = np.empty(len(values), dtype=object)
    cells[:] = ["" if value is None else plain(value) for value in values]
    return cells
