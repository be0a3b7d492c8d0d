"""Predictions of an exported file for a table or a folder of images, with nothing but ONNX Runtime behind it."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.search.errors import InputError, one_line
from kirigami.search.export.parity import onnx_session
from kirigami.search.files import write_text

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
TABLES = (".csv", ".parquet")


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

    session = onnx_session(onnx_bytes(file), threads=0)
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


def columns(outputs: NDArray[Any], metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the columns of the answer: the class and its probability, or the values."""
    classes = json.loads(metadata.get("classes", "[]"))
    if metadata.get("kind", "classes") == "classes" and outputs.ndim == 2 and outputs.shape[1] > 1:
        shifted = np.exp(outputs - outputs.max(1, keepdims=True))
        best = outputs.argmax(1)
        named = [classes[index] if index < len(classes) else str(index) for index in best]
        return {"class": named, "share": (shifted.max(1) / shifted.sum(1)).round(4)}
    flat = outputs.reshape(len(outputs), -1)
    return {"value": flat[:, 0]} if flat.shape[1] == 1 else {f"output {i}": flat[:, i] for i in range(flat.shape[1])}


def _rows(data: Path, argument: Any, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]]:
    if data.is_dir() or data.suffix.lower() in IMAGES:
        return _images(data, argument)
    if data.suffix.lower() not in TABLES:
        raise InputError(f"{data}: must be a folder of images, an image, or one of (*{', *'.join(TABLES)}).")
    return _table(data, argument, rules)


def _table(data: Path, argument: Any, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]]:
    import pandas

    try:
        frame = pandas.read_csv(data) if data.suffix.lower() == ".csv" else pandas.read_parquet(data)
    except (ValueError, OSError) as error:
        raise InputError(f"{data}: cannot be read ({one_line(error)}).") from error
    if rules.get("columns") is not None or rules.get("categories"):
        from kirigami.tasks.features import Features

        features = Features.from_dict({"log1p": [], "fill": [], "indicators": [], "categories": {}, **rules})
        missing = [name for name in (*features.numbers, *dict(features.categories)) if name not in frame.columns]
        if missing:
            raise InputError(f"{data}: has no column {missing[0]!r}. It needs ({', '.join(features.numbers)}).")
        try:
            return range(len(frame)), features.raw(frame, str(data)).numpy()
        except ValueError as error:
            raise InputError(f"{data}: {one_line(error)}") from error
    pictures = next((name for name in frame.columns if isinstance(_first(frame[name]), bytes | dict)), None)
    if pictures is not None:
        cells = (cell["bytes"] if isinstance(cell, dict) else cell for cell in frame[pictures])
        return range(len(frame)), _decoded(((f"row {i}", io.BytesIO(cell)) for i, cell in enumerate(cells)), argument)
    shape = [int(size) for size in argument.shape[1:]]
    numbers = frame.select_dtypes("number").to_numpy(np.float32)
    if numbers.shape[1] != int(np.prod(shape)):
        raise InputError(
            f"{data}: has {numbers.shape[1]} columns of numbers, but the network takes {int(np.prod(shape))} a row."
        )
    return range(len(frame)), numbers.reshape(-1, *shape).astype(_type(argument))


def _images(data: Path, argument: Any) -> tuple[Sequence[Any], NDArray[Any]]:
    files = [data] if data.is_file() else sorted(file for file in data.rglob("*") if file.suffix.lower() in IMAGES)
    if not files:
        raise InputError(f"{data}: holds no images (*{', *'.join(IMAGES)}).")
    return [str(file) for file in files], _decoded(((str(file), file) for file in files), argument)


def _decoded(sources: Iterable[tuple[str, Any]], argument: Any) -> NDArray[Any]:
    """Return images (n, c, h, w) brought to the network's size."""
    from PIL import Image, UnidentifiedImageError

    if len(argument.shape) != 4:
        raise InputError(f"the network takes rows of shape {argument.shape[1:]}, no images.")
    channels, height, width = (int(size) for size in argument.shape[1:])
    images = []
    for name, source in sources:
        try:
            with Image.open(source) as image:
                sized = image.convert("L" if channels == 1 else "RGB").resize((width, height))
        except (UnidentifiedImageError, OSError) as error:
            raise InputError(f"{name}: is no readable image ({one_line(error)}).") from error
        images.append(np.asarray(sized).reshape(height, width, channels).transpose(2, 0, 1))
    return np.stack(images).astype(_type(argument))


def _first(column: Any) -> Any:
    return column.iloc[0] if len(column) else None


def _type(argument: Any) -> type:
    return {"tensor(uint8)": np.uint8, "tensor(int64)": np.int64}.get(argument.type, np.float32)
