"""Read tables of any make, CSV and its like, packed or not, and Parquet: for training, export and `predict`."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from kirigami.tasks.tables import columnar, delimited
from kirigami.tasks.tables.cells import Frame, complaint, joined
from kirigami.tasks.tables.columns import Reading


def read(where: str, files: tuple[Path, ...], reading: Reading) -> Frame:
    """Read tables of the same columns below one another; `where` is the argument that names them.

    Raises:
        ArgumentError: where one cannot be read, or lacks a column that the first has.
    """
    try:
        stamps = tuple((state.st_mtime_ns, state.st_size) for state in (file.stat() for file in files))
    except OSError as error:
        raise complaint(where, f"{str(error.filename)!r} cannot be read: {error.strerror}.") from None
    return _read_all(where, files, reading, stamps)


@lru_cache(maxsize=4)
def _read_all(where: str, files: tuple[Path, ...], reading: Reading, stamps: tuple[tuple[int, int], ...]) -> Frame:
    """Read files once for as long as they stay as they are, which `stamps` tell."""
    frames = [_read(where, file, reading) for file in files]
    for frame in frames[1:]:
        require_columns(where, frame.files[0], frame.names, frames[0].names)
    return joined(frames)


def names(where: str, file: Path, reading: Reading) -> tuple[str, ...]:
    """Return the names of a file's columns; no row is read."""
    if _is_columnar(where, file):
        return columnar.read_names(where, file)
    return delimited.read_header(where, file, reading.separator, reading.encoding)


def require_columns(where: str, file: str, present: Sequence[str], needed: Sequence[str]) -> None:
    """Refuse a file that lacks columns.

    Raises:
        ArgumentError: naming file and columns.
    """
    lacking = [str(name) for name in needed if name not in present]
    if lacking:
        raise complaint(where, f"{file!r} lacks the columns ({', '.join(lacking)}), which the train rows have.")


def _read(where: str, file: Path, reading: Reading) -> Frame:
    if _is_columnar(where, file):
        return columnar.read_columnar(where, file)
    return delimited.read_delimited(where, file, reading.separator, reading.encoding)


def _is_columnar(where: str, file: Path) -> bool:
    try:
        with file.open("rb") as data:
            return data.read(4) == columnar.MAGIC or file.suffix.lower() in (".parquet", ".pq")
    except OSError as error:
        raise complaint(where, f"{str(file)!r} cannot be read: {error.strerror}.") from None
