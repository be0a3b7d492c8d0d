"""Predictions of an exported file for a table or a folder of images, with nothing but ONNX Runtime behind it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from kirigami.search.errors import InputError, one_line
from kirigami.search.export.predicting.answers import columns
from kirigami.search.export.predicting.pictures import IMAGES, read_pictures
from kirigami.search.export.predicting.tables import TABLES, read_table
from kirigami.search.export.session import open_session
from kirigami.search.files import write_text


def predict(file: Path, data: Path, to: Path | None) -> Path | None:
    """Classify rows or images; write a CSV, or print it where no place is given.

    Args:
        file: `.onnx` or `.kgm`.
        data: a CSV, a Parquet file, an image, or a folder of images.
        to: the CSV to write.

    Raises:
        InputError: where a file cannot be used.
    """
    import pandas

    session = open_session(onnx_bytes(file), threads=0)
    metadata = session.get_modelmeta().custom_metadata_map
    argument = session.get_inputs()[0]
    if not data.exists():
        raise InputError(f"{data}: no such file or folder.")
    names, rows = _rows(data, argument, json.loads(metadata.get("preparation", "{}")))
    outputs = session.run(None, {argument.name: rows})[0]
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


def _rows(data: Path, argument: Any, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]]:
    if data.is_dir() or data.suffix.lower() in IMAGES:
        return read_pictures(data, argument)
    if data.suffix.lower() not in TABLES:
        raise InputError(f"{data}: must be a folder of images, an image, or one of (*{', *'.join(TABLES)}).")
    return read_table(data, argument, rules)
