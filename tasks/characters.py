"""Texts as characters, and characters as numbers, for training and for `predict`. No torch here."""

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.files import encoding_of, first_line, read_parquet, read_schema

MOST_NAMED = 8


def read_text(files: Sequence[Path], column: str, encoding: str | None) -> str:
    """Read text files, or the text column of Parquet files, into one string; rows are joined by line ends.

    Line ends of text files become those of Unix.

    Args:
        files: of one kind.
        column: of Parquet files.
        encoding: of text files; None is UTF-8. The mark that a file begins with is believed before.

    Raises:
        ArgumentError: naming the file that cannot be read as text.
    """
    rows: list[Any] = []
    for file in files:
        rows += _rows(file, column) if file.suffix.lower() == ".parquet" else [_decode(file, encoding)]
    text = "\n".join(row for row in rows if row is not None)
    if not text:
        raise ArgumentError("path", f": {str(files[0])!r} holds no text.")
    return text


def check_text(files: Sequence[Path], column: str) -> None:
    """Check that files are there and have the column, opening no row.

    Raises:
        ArgumentError: naming the column that is not there.
    """
    for file in files:
        if file.suffix.lower() == ".parquet":
            choose("column", column, read_schema(file).names)


def _rows(file: Path, column: str) -> list[Any]:
    check_text([file], column)
    rows: list[Any] = read_parquet([file], [column]).column(column).to_pylist()
    wrong = next((row for row in rows if row is not None and not isinstance(row, str)), None)
    if wrong is not None:
        raise ArgumentError("column", f": {column!r} of {str(file)!r} holds {type(wrong).__name__}, no text.")
    return rows


def _decode(file: Path, encoding: str | None) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ArgumentError("path", f": {str(file)!r} cannot be read: {error.strerror}.") from None
    name = encoding_of(data, encoding)
    try:
        text = io.TextIOWrapper(io.BytesIO(data), encoding=name).read()
    except LookupError:
        raise ArgumentError("encoding", f"must be one that Python knows, but got {encoding!r}.") from None
    except UnicodeError as error:
        problem = f": {str(file)!r} cannot be read as {name} text: {first_line(error)}."
        raise ArgumentError("path", problem, ("encoding", "cp1252")) from None
    if "\0" in text:
        problem = f": {str(file)!r} holds null characters, so it is no {name} text."
        raise ArgumentError("path", problem, ("encoding", "utf-16-le"))
    return text


def code_points(text: str) -> NDArray[np.uint32]:
    """Return a text's characters as code points: (L,)."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def numbered(points: NDArray[np.uint32], alphabet: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Number code points (L,) by their place in the sorted alphabet (V,), those outside it V: (L,)."""
    place = np.searchsorted(alphabet, points)
    is_known = alphabet[np.minimum(place, len(alphabet) - 1)] == points
    return np.where(is_known, place, len(alphabet)).astype(np.int64)


def unknown_in_words(points: NDArray[np.uint32], alphabet: NDArray[np.uint32]) -> str | None:
    """Return `3 of 1200 characters are none of the 27 known ones ('é' 2, '☂' 1)`; None where all are known."""
    unknown = Counter(points[~np.isin(points, alphabet)].tolist())
    if not unknown:
        return None
    named = ", ".join(f"{chr(point)!r} {count}" for point, count in unknown.most_common(MOST_NAMED))
    more = ", ..." if len(unknown) > MOST_NAMED else ""
    return f"{unknown.total()} of {len(points)} characters are none of the {len(alphabet)} known ones ({named}{more})"
