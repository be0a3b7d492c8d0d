"""Predictions of an exported file for a table, pictures or a text, with nothing but ONNX Runtime behind it."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.search.errors import InputError, one_line
from kirigami.search.export.predicting.answers import columns, require_numbers
from kirigami.search.export.predicting.arrays import ARRAYS, read_arrays
from kirigami.search.export.predicting.pictures import read_picture_rows, read_pictures
from kirigami.search.export.predicting.tables import TABLES, read_table
from kirigami.search.export.predicting.texts import answer_texts
from kirigami.search.export.session import open_session
from kirigami.search.files import check_place, write_text
from kirigami.tasks.pictures.folders import is_picture

Feed = Mapping[str, NDArray[Any]]
AT_ONCE = 1024  # rows; more would take memory for what lies between the layers of all of them


def predict(file: Path, data: Path, to: Path | None) -> Path | None:
    """Answer for rows, pictures or a text; write a CSV, or print it where no place is given.

    Args:
        file: `.onnx` or `.kgm`.
        data: a CSV, a Parquet file, a picture, a folder of pictures, a text, or arrays in an .npy or .npz.
        to: the CSV to write.

    Raises:
        InputError: where a file cannot be used.
    """
    import pandas

    if to is not None:
        check_place(to, "to")
    session = open_session(onnx_bytes(file), threads=0)
    metadata = session.get_modelmeta().custom_metadata_map
    if not data.exists():
        raise InputError(f"{data}: no such file or folder.")
    arguments, rules = session.get_inputs(), json.loads(metadata.get("preparation", "{}"))

    def run(rows: NDArray[Any]) -> NDArray[Any]:
        return _outputs(data, session, _batches({arguments[0].name: rows}))

    if "characters" in rules:
        table = pandas.DataFrame(answer_texts(data, rules, int(arguments[0].shape[1]), run))
    else:
        names, batches = _feed(data, arguments, rules)
        outputs = require_numbers(_outputs(data, session, batches), names, data)
        table = pandas.DataFrame({"input": names, **columns(outputs, metadata)})
    if to is None:
        print(table.to_csv(index=False), end="")
        return None
    write_text(to, table.to_csv(index=False))
    return to


def onnx_bytes(file: Path) -> bytes:
    """Return the ONNX in a file: its own bytes, or those that a compact file decodes to.

    Raises:
        InputError: where it is neither, or damaged.
    """
    from kirigami.models import compact, graph

    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}).") from error
    if file.suffix == ".onnx":
        return data
    try:
        content = compact.read(data)
        if "graph" not in content.extra:
            raise ValueError("it holds a network's tensors but no graph.")
        return graph.fill(content.extra["graph"], content)
    except ValueError as error:
        raise InputError(f"{file}: {one_line(error)}") from error


def _outputs(data: Path, session: Any, batches: Iterable[Feed]) -> NDArray[Any]:
    """Return the network's outputs for all rows."""
    outputs = [session.run(None, dict(batch))[0] for batch in batches]
    if not outputs:
        raise InputError(f"{data}: has no rows.")
    return np.concatenate(outputs)


def _batches(feed: Feed) -> Iterator[Feed]:
    count = len(next(iter(feed.values())))
    for first in range(0, count, AT_ONCE):
        yield {name: rows[first : first + AT_ONCE] for name, rows in feed.items()}


def _feed(data: Path, arguments: Sequence[Any], rules: Mapping[str, Any]) -> tuple[Sequence[Any], Iterator[Feed]]:
    """Return the names of the rows, and batches of the rows by the names of the network's inputs."""
    if data.suffix.lower() in ARRAYS:
        feed = read_arrays(data, arguments)
        return range(len(next(iter(feed.values())))), _batches(feed)
    if len(arguments) > 1:
        needed = ", ".join(argument.name for argument in arguments)
        raise InputError(f"{data}: must be an .npz with the arrays ({needed}), since the network has several inputs.")
    name = arguments[0].name
    pictures = _pictures(data, rules)
    if pictures is not None:
        return pictures[0], ({name: batch} for batch in pictures[1])
    names, rows = read_table(data, arguments[0], rules)
    return names, _batches({name: rows})


def _pictures(data: Path, rules: Mapping[str, Any]) -> tuple[Sequence[Any], Iterator[NDArray[Any]]] | None:
    """Return the names of pictures and batches of them; None for a table."""
    if data.is_dir() or is_picture(data):
        if "picture" not in rules:
            raise InputError(f"{data}: the network's file has no rules for pictures. It takes rows of a table.")
        return read_pictures(data, rules["picture"])
    if "columns" not in rules and data.suffix.lower() not in TABLES:
        suffixes = ", *".join([*TABLES, *ARRAYS])
        raise InputError(f"{data}: must be a folder of pictures, a picture, or one of (*{suffixes}).")
    is_parquet = data.suffix.lower() == ".parquet"
    return read_picture_rows(data, rules["picture"]) if "picture" in rules and is_parquet else None
