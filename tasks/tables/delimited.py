"""Read CSV and other files of separated values into texts, exactly as they stand there."""

import bz2
import csv
import gzip
import io
import lzma
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kirigami.tasks.files import encoding_of
from kirigami.tasks.tables.cells import Cells, Frame, complaint, named

SEPARATORS = (",", ";", "\t", "|")
_NOTHING = "\x1f"
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


class _Lines:
    """The lines of a file, and how many were read."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text = text
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.text)
        self.number += 1
        return line

    def first(self) -> str:
        """Return the next line with a word in it; "" at the end."""
        return next((line for line in self if line.strip()), "")


def separator_of(header: str) -> str:
    """Return what divides a header line most; where nothing does, a character that is in no file."""
    counts = {separator: len(next(csv.reader([header], delimiter=separator))) for separator in SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    return best if counts[best] > 1 else _NOTHING


def read_header(where: str, file: Path, separator: str | None, encoding: str | None) -> tuple[str, ...]:
    """Return the names of the columns; of the file no row is read.

    Raises:
        ArgumentError: where it cannot be read.
    """
    with _opened(where, file, encoding) as lines:
        return named(_header(where, file, lines, separator)[0])[0]


def read_delimited(where: str, file: Path, separator: str | None, encoding: str | None) -> Frame:
    """Read a file whose first line names the columns.

    Args:
        where: the argument that names the file.
        separator: None finds it by the header.
        encoding: None is UTF-8, or UTF-16 where the file's first bytes say so.

    Raises:
        ArgumentError: where it cannot be read; the message has the file, the line and the knob.
    """
    with _opened(where, file, encoding) as lines:
        names, separator = _header(where, file, lines, separator)
        records, ends = [], []
        for record in _parsed(lines, separator):
            if len(record) > 1 or (record and (len(names) == 1 or record[0].strip())):  # else a blank line
                records.append(record)
                ends.append(lines.number)
    if not records:
        raise complaint(where, f"{str(file)!r} has no rows.")
    names, records, remarks = _even(where, file, names, records, ends)
    unique, repeated = named(names)
    columns = {
        name: Cells("text", _cells(column), "text")
        for name, column in zip(unique, zip(*records, strict=True), strict=True)
    }
    origin = np.stack([np.zeros(len(records), np.int64), np.arange(1, len(records) + 1)], axis=1)
    return Frame(columns, (file.name,), origin, repeated, remarks)


@contextmanager
def _opened(where: str, file: Path, encoding: str | None) -> Iterator[_Lines]:
    """Open a file for reading; what is wrong with it meanwhile becomes an error of the argument."""
    try:
        with _bytes(where, file) as stream:
            head = stream.peek(4)
            lines = _Lines(io.TextIOWrapper(stream, encoding=encoding_of(head, encoding), newline=""))
            yield lines
    except UnicodeDecodeError as error:
        raise _undecoded(where, file, error) from None
    except csv.Error as error:
        problem = f"{str(file)!r} cannot be read as CSV: {error}, near line {lines.number}."
        raise complaint(where, problem) from None
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise complaint(where, f"{str(file)!r} cannot be read: {error}.") from None


def _bytes(where: str, file: Path) -> Any:
    """Open a file, unpacked where it is packed."""
    with file.open("rb") as start:
        head = start.read(8)
    if head.startswith(b"PK\x03\x04"):
        raise complaint(where, f"{str(file)!r} is a ZIP archive or an Excel workbook. Save it as CSV or Parquet.")
    opener = next((opener for magic, opener in _PACKED.items() if head.startswith(magic)), None)
    return file.open("rb") if opener is None else io.BufferedReader(opener(file, "rb"))


def _undecoded(where: str, file: Path, error: UnicodeDecodeError) -> Exception:
    """Name the line of the first byte that does not decode."""
    with _bytes(where, file) as stream:
        data = stream.read()
    try:
        data.decode(error.encoding)
    except UnicodeDecodeError as whole:
        error = whole
    line, byte = data[: error.start].count(b"\n") + 1, data[error.start]
    problem = f"{str(file)!r}, line {line}: the byte 0x{byte:02X} is no {error.encoding}."
    return complaint(where, problem, ("encoding", "latin-1"))


def _header(where: str, file: Path, lines: _Lines, separator: str | None) -> tuple[list[str], str]:
    """Return the names and the separator, which a line `sep=;` may say, as spreadsheets write it."""
    line = lines.first()
    announced = re.fullmatch(r'"?sep=(.)"?\s*', line)
    if announced is not None:
        line, separator = lines.first(), separator or announced[1]
    if not line:
        raise complaint(where, f"{str(file)!r} cannot be read as CSV: it is empty.")
    separator = separator or separator_of(line)
    while line.count('"') % 2 and (more := next(lines, "")):  # a name that goes over several lines
        line += more
    return [plain(name) for name in next(_parsed([line], separator))], separator


def _parsed(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    if separator == " ":
        lines = (line.strip() for line in lines)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)


def _even(
    where: str, file: Path, names: list[str], records: list[list[str]], ends: list[int]
) -> tuple[list[str], list[list[str]], tuple[str, ...]]:
    """Bring all rows to the header's length: row names get a column, empty ends are cut, what lacks is a gap."""
    size = len(names)
    if all(len(record) == size for record in records):
        return names, records, ()
    if _has_row_names(records, size):
        remark = f"{file.name!r}: rows have one cell more than the header; the first is taken for the name of the row."
        return ["", *names], records, (remark,)
    short = 0
    for record, line in zip(records, ends, strict=True):
        if any(cell.strip() for cell in record[size:]):
            problem = f"{str(file)!r}, line {line}: has {len(record)} cells, but the header names {size}."
            raise complaint(where, f"{problem} Put cells that hold the separator in quotes.")
        short += len(record) < size
        record[size:] = []
        record += [""] * (size - len(record))
    some = f"{file.name!r}: {short} rows have fewer cells than the header names; those that lack count as empty."
    return names, records, (some,) if short else ()


def _has_row_names(records: list[list[str]], size: int) -> bool:
    """Return whether all rows begin with a cell of their own that the header does not name, as R writes them."""
    if any(len(record) != size + 1 for record in records) or not any(record[-1].strip() for record in records):
        return False
    return len({record[0] for record in records}) == len(records)


def _cells(column: tuple[str, ...]) -> np.ndarray:
    cells = np.empty(len(column), dtype=object)
    cells[:] = [plain(cell) for cell in column]
    return cells


def plain(cell: str) -> str:
    """Return a cell without blanks at its ends, its letters with marks written in the one way of NFC."""
    cell = cell.strip()
    return cell if cell.isascii() else unicodedata.normalize("NFC", cell).strip("\ufeff")
