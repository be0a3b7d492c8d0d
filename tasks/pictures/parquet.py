"""Pictures in Parquet files, as the Hugging Face hub keeps them: which columns they and their labels are in."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.files import read_parquet, read_schema
from kirigami.tasks.pictures.labels import class_of, in_order
from kirigami.tasks.pictures.modes import Encoded, UnusablePicture
from kirigami.tasks.pictures.source import Source

IMAGE_NAMES = ("image", "img", "picture", "pixels")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")


def open_parquet(files: tuple[Path, ...], image_column: str | None, label_column: str | None) -> Source:
    """Open the pictures of Parquet files; the labels of each file are named by its own metadata."""
    labels: list[str] = []
    known: list[str] = []
    starts: list[int] = []
    for file in files:
        choose_image(file, image_column)
        column = choose_label(file, label_column)
        names = names_of(file, column)
        values = read_parquet([file], [column]).column(column).to_pylist()
        starts.append(len(labels))
        labels += [class_of(value, names, f"{file}, row {row}") for row, value in enumerate(values)]
        known += [name for name in names or () if name not in known]

    def where(row: int) -> str:
        number = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{files[number]}, row {row - starts[number]}"

    def read(rows: NDArray[np.int64]) -> Iterable[Encoded]:
        numbers = np.searchsorted(starts, rows, side="right") - 1
        for number in np.unique(numbers):
            inside = rows[numbers == number] - starts[number]
            yield from cells(files[number], choose_image(files[number], image_column), inside)

    classes = (*known, *in_order(set(labels) - set(known)))
    return Source(labels, classes, where, read, column=choose_image(files[0], image_column))


def cells(file: Path, column: str, rows: NDArray[np.int64] | None = None) -> Iterable[Encoded]:
    """Give the encoded pictures of a column, of all rows or of some.

    Raises:
        UnusablePicture: where a cell holds none.
    """
    values = read_parquet([file], [column]).column(column)
    for row in range(len(values)) if rows is None else rows:
        value = values[int(row)].as_py()
        encoded = value.get("bytes") if isinstance(value, dict) else value
        if encoded is None and isinstance(value, dict) and value.get("path"):
            encoded = file.parent / value["path"]
        if not isinstance(encoded, bytes | Path):
            held = "empty" if encoded is None else f"of type {type(encoded).__name__}"
            raise UnusablePicture(f"{file}, row {row}", f"holds no encoded picture: its {column!r} is {held}")
        yield encoded


def names_of(file: Path, column: str) -> tuple[str, ...] | None:
    """Return the names of the classes that a file's metadata has for a column, in the order of their numbers."""
    names = _features(read_schema(file)).get(column, {}).get("names")
    return tuple(names) if names else None


def choose_image(file: Path, chosen: str | None) -> str:
    """Return the column of the pictures: the chosen one, one that the metadata calls so, or one with a likely name.

    Raises:
        ArgumentError: where there is none.
    """
    schema = read_schema(file)
    marked = [name for name, feature in _features(schema).items() if feature.get("_type") == "Image"]
    name = choose_column("image_column", chosen, schema.names, (*marked, *IMAGE_NAMES), file)
    kind = schema.field(name).type
    if not _may_hold(kind):
        problem = f": the column {name!r} of {str(file)!r} holds {kind}, no encoded pictures (bytes)."
        raise ArgumentError("image_column", problem)
    return name


def picture_column(file: Path, trained: str | None) -> str | None:
    """Return the column of the pictures of a file without labels, or None where no column holds encoded pictures.

    It is the one that training read, else one that is marked or named as such, else the only one of bytes.

    Raises:
        ArgumentError: where several may be meant.
    """
    schema = read_schema(file)
    holding = [field.name for field in schema if _may_hold(field.type)]
    marked = [name for name, feature in _features(schema).items() if feature.get("_type") == "Image"]
    likely = [name for name in (trained, *marked, *IMAGE_NAMES) if name in holding]
    if likely or len(holding) < 2:
        return (likely or holding or [None])[0]
    raise ArgumentError("", f"which column of {str(file)!r} holds the pictures? ({', '.join(holding)}). Leave one.")


def _may_hold(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def choose_label(file: Path, chosen: str | None) -> str:
    """Return the column of the labels: the chosen one, or one with a likely name.

    Raises:
        ArgumentError: where there is none.
    """
    return choose_column("label_column", chosen, read_schema(file).names, LABEL_NAMES, file)


def choose_column(key: str, chosen: str | None, names: Sequence[str], likely: Sequence[str], where: object) -> str:
    """Return the column that is chosen, or the first that is likely.

    Raises:
        ArgumentError: where there is none.
    """
    if chosen is not None:
        return choose(key, chosen, names)
    for name in likely:
        if name in names:
            return name
    listed = ", ".join(names)
    raise ArgumentError(key, f"is not set and none of ({listed}) of {str(where)!r} looks like it. Set it to one.")


def _features(schema: Any) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
