"""Read CSV and other files of separated values into texts, exactly as they stand there."""

import bz2
import csv
import gzip
import io
import lzma
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kirigami.tasks.files import encoding_of
from kirigami.tasks.tables.cells import Cells, Frame, complaint, named

SEPARATORS = (",", ";", "\t", "|")
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}


def separator_of(header: str) -> str:
    """Return what separates the names in a header line: what divides it most; blanks where there is nothing else."""
    counts = {separator: len(next(csv.reader([header], delimiter=separator))) for separator in SEPARATORS}
    best = max(counts, key=lambda separator: counts[separator])
    return " " if counts[best] == 1 and '"' not in header and len(header.split()) > 1 else best


def read_header(where: str, file: Path, separator: str | None, encoding: str | None) -> tuple[str, ...]:
    """Return the names of the columns; of the file no row is read.

    Raises:
        ArgumentError: where it cannot be read.
    """
    with _opened(where, file, encoding) as text:
        line = _first_line(where, file, text, encoding)
        names, _ = _names(where, file, line, text, separator, encoding)
        return named(names)[0]


def read_delimited(where: str, file: Path, separator: str | None, encoding: str | None) -> Frame:
    """Read a file whose first line names the columns.

    Args:
        where: the argument that names the file.
        separator: None finds it by the header.
        encoding: None is UTF-8, or UTF-16 where the file's first bytes say so.

    Raises:
        ArgumentError: where it cannot be read; the message has the file, the line and the knob.
    """
    with _opened(where, file, encoding) as text:
        line = _first_line(where, file, text, encoding)
        names, separator = _names(where, file, line, text, separator, encoding)
        records, lines = _records(where, file, text, separator, encoding, len(names))
    if not records:
        raise complaint(where, f"{str(file)!r} has no rows.")
    names, records, remarks = _even(where, file, names, records, lines)
    unique, repeated = named(names)
    columns = {
        name: Cells("text", _cells(column), "text")
        for name, column in zip(unique, zip(*records, strict=True), strict=True)
    }
    origin = np.stack([np.zeros(len(records), np.int64), np.arange(1, len(records) + 1)], axis=1)
    return Frame(columns, (file.name,), origin, repeated, remarks)


def _opened(where: str, file: Path, encoding: str | None) -> io.TextIOWrapper:
    with file.open("rb") as start:
        head = start.read(8)
    opener = next((opener for magic, opener in _PACKED.items() if head.startswith(magic)), None)
    if opener is not None:
        with opener(file, "rb") as packed:
            head = packed.read(8)
    if head.startswith(b"PK\x03\x04"):
        raise complaint(where, f"{str(file)!r} is a ZIP archive or an Excel workbook. Save it as CSV or Parquet.")
    stream = file.open("rb") if opener is None else opener(file, "rb")
    return io.TextIOWrapper(stream, encoding=encoding_of(head, encoding), newline="")


def _first_line(where: str, file: Path, text: io.TextIOWrapper, encoding: str | None) -> str:
    """Return the first line with a word in it; a line `sep=;`, as spreadsheets write it, is returned as it stands."""
    try:
        for line in text:
            if line.strip():
                return line
    except UnicodeDecodeError as error:
        raise _undecoded(where, file, text, error, encoding) from None
    raise complaint(where, f"{str(file)!r} cannot be read as CSV: it is empty.")


def _names(
    where: str, file: Path, line: str, text: io.TextIOWrapper, separator: str | None, encoding: str | None
) -> tuple[list[str], str]:
    said = re.fullmatch(r'"?sep=(.)"?\s*', line)
    if said is not None:
        line, separator = _first_line(where, file, text, encoding), separator or said[1]
    separator = separator or separator_of(line)
    while line.count('"') % 2:  # a name that goes over several lines
        more = text.readline()
        if not more:
            break
        line += more
    names = next(_parsed([line], separator))
    return [plain(name) for name in names], separator


def _parsed(lines: object, separator: str) -> Iterator[list[str]]:
    if separator == " ":
        lines = (line.strip() for line in lines)  # type: ignore[attr-defined]
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)  # type: ignore[arg-type]


def _records(
    where: str, file: Path, text: io.TextIOWrapper, separator: str, encoding: str | None, columns: int
) -> tuple[list[list[str]], list[int]]:
    records, lines = [], []
    reader = _parsed(text, separator)
    try:
        for record in reader:
            if len(record) > 1 or (record and (columns == 1 or record[0].strip())):  # else a blank line
                records.append(record)
                lines.append(reader.line_num)  # type: ignore[attr-defined]
    except UnicodeDecodeError as error:
        raise _undecoded(where, file, text, error, encoding) from None
    except csv.Error as error:
        line = reader.line_num + 1  # type: ignore[attr-defined]
        raise complaint(where, f"{str(file)!r} cannot be read as CSV: {error}, near line {line}.") from None
    except (OSError, EOFError) as error:
        raise complaint(where, f"{str(file)!r} cannot be read: {error}.") from None
    return records, lines


def _undecoded(
    where: str, file: Path, text: io.TextIOWrapper, error: UnicodeDecodeError, encoding: str | None
) -> Exception:
    """Name the line of the first byte that does not decode."""
    with _opened(where, file, encoding) as again:
        data = bytes(again.buffer.read())
    try:
        data.decode(text.encoding)
    except UnicodeDecodeError as precise:
        error = precise
    line = data[: error.start].count(b"\n") + 1
    byte = f"the byte 0x{data[error.start]:02X}"
    return complaint(where, f"{str(file)!r}, line {line}: {byte} is no {text.encoding}.", ("encoding", "latin-1"))


def _even(
    where: str, file: Path, names: list[str], records: list[list[str]], lines: list[int]
) -> tuple[list[str], list[list[str]], tuple[str, ...]]:
    """Bring all rows to the header's length: row names get a column, empty ends are cut, what lacks is a gap."""
    sizes = {len(record) for record in records}
    if sizes == {len(names)}:
        return names, records, ()
    if sizes == {len(names) + 1} and any(record[-1].strip() for record in records):
        return ["", *names], records, ()  # R names the rows and not their column
    short = 0
    for record, line in zip(records, lines, strict=True):
        if any(cell.strip() for cell in record[len(names) :]):
            raise complaint(
                where, f"{str(file)!r}, line {line}: has {len(record)} cells, but the header names {len(names)}."
            )
        short += len(record) < len(names)
        record[len(names) :] = [""] * max(0, len(names) - len(record))
        del record[len(names) :]
    some = f"{file.name!r}: {short} rows have fewer cells than the header names; those that lack count as empty."
    return names, records, (some,) if short else ()


def _cells(column: tuple[str, ...]) -> np.ndarray:
    cells = np.empty(len(column), dtype=object)
    cells[:] = [plain(cell) for cell in column]
    return cells


def plain(cell: str) -> str:
    """Return a cell without blanks at its ends, its letters with marks written in the one way of NFC."""
    cell = cell.strip()
    return cell if cell.isascii() else unicodedata.normalize("NFC", cell).strip("\ufeff")
