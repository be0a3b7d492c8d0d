"""Tables of every make, drawn by hypothesis: cells as their owners write them, and files of any format."""

import csv
import gzip
import io
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path

import pyarrow as arrow
from hypothesis import strategies as st
from pyarrow import parquet

WORDS = ["red", "Red", "None", "NA", "?", "n/a", "1", "01", "1.0", "2.50", "grün", "a,b", "x;y", '"so"', "yes"]
GAPS = ["", "NA", "?", "-", "null", "nan"]
ROWS = 40


def _number(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def _written(decimal: str, thousands: str, unit: str) -> st.SearchStrategy[str]:
    def write(value: float) -> str:
        text = f"{value:,.2f}".replace(",", "T").replace(".", decimal).replace("T", thousands)
        return f"{text}{unit}" if unit in ("", "%", " €") else f"{unit}{text}"

    return _number(-1e6, 1e6).map(write)


CELLS: dict[str, st.SearchStrategy[str]] = {
    "floats": _number(-1e6, 1e6).map(repr),
    "tiny": _number(-1e-9, 1e-9).map(repr),
    "counts": st.integers(-50, 10**6).map(str),
    "stamps": st.integers(0, 10**8).map(lambda value: str(1_700_000_000_000 + value)),
    "mixed": st.one_of(st.integers(0, 99).map(str), _number(0, 99).map(lambda value: f"{value:.1e}")),
    "commas": _written(",", "", ""),
    "german": _written(",", ".", " €"),
    "english": _written(".", ",", "$"),
    "swiss": _written(".", "'", ""),
    "french": _written(",", "\u202f", ""),
    "percent": _written(".", "", "%"),
    "flags": st.sampled_from(["True", "False", "true", "1", "0"]),
    "days": st.dates().map(str),
    "moments": st.datetimes().map(lambda moment: moment.isoformat(" ", "milliseconds")),
    "words": st.sampled_from(WORDS),
    "blanks": st.sampled_from(["yes", "yes ", " no", "no", "\u00a0no"]),
}


def _values(read: Callable[[str], object]) -> Callable[[list[str]], list[object]]:
    return lambda cells: [None if cell in GAPS else read(cell) for cell in cells]


TYPED: dict[str, Callable[[list[str]], list[object]]] = {
    **dict.fromkeys(("floats", "tiny"), _values(float)),
    **dict.fromkeys(("counts", "stamps"), _values(int)),
    "flags": _values(lambda cell: cell in ("True", "true", "1")),
    "days": _values(date.fromisoformat),
    "moments": _values(datetime.fromisoformat),
}
"""What a Parquet file holds in place of texts."""


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[str]]:
    """Draw columns of cells, some with gaps, and a target of two classes."""
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    columns = {}
    for place, kind in enumerate(kinds):
        cells = draw(st.lists(CELLS[kind], min_size=ROWS, max_size=ROWS))
        gap = draw(st.sampled_from(GAPS if kind not in ("words", "blanks") else [""]))
        for row in draw(st.sets(st.integers(0, ROWS - 1), max_size=5)):
            cells[row] = gap
        columns[f"{kind} {place}"] = cells
    return columns | {"kind": ["no", "yes"] * (ROWS // 2)}


@st.composite
def formats(draw: st.DrawFn) -> dict[str, str]:
    """Draw a separator, an encoding and whether the file is packed, or Parquet of texts."""
    return {
        "separator": draw(st.sampled_from([",", ";", "\t", "|"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])),
        "suffix": draw(st.sampled_from([".csv", ".tsv", ".txt", ".csv.gz", ".parquet"])),
    }


def write(folder: Path, name: str, columns: dict[str, list[str]], form: dict[str, str]) -> Path:
    """Write a table in a format."""
    file = folder / f"{name}{form['suffix']}"
    if form["suffix"] == ".parquet":
        typed = {name: TYPED.get(name.split()[0], list)(cells) for name, cells in columns.items()}
        parquet.write_table(arrow.table(typed), file)
        return file
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=form["separator"])
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    data = text.getvalue().encode(form["encoding"])
    file.write_bytes(gzip.compress(data) if form["suffix"].endswith(".gz") else data)
    return file
