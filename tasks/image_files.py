"""Open labelled images where they lie: Parquet files, folders of classes, or a data set of the Hugging Face hub."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.files import find_part_folders, find_parts, first_line, read_parquet, read_schema

_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm"}
_IMAGE_NAMES = ("image", "img", "picture", "pixels")
_LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")


@dataclass(frozen=True)
class Encoded:
    """Images that are still encoded: their labels as given, class names if the source has them, and their bytes."""

    labels: list[Any]
    names: tuple[str, ...] | None
    read: Callable[[np.ndarray], Iterable[bytes]]


def parts_of(path: str) -> tuple[str, ...]:
    """Name the parts ("train", "validation", "test") a source has; "train" is among them or it is an error."""
    parts = tuple(_locate(path))
    if "train" not in parts:
        raise ArgumentError("path", f": {path!r} holds neither train-*.parquet nor a folder of images for each class.")
    return parts


def open_part(path: str, part: str, image_column: str | None, label_column: str | None) -> Encoded:
    """Open one part of a source; no other part is read."""
    place = _locate(path)[part]
    if isinstance(place, Path):
        return _open_folder(place)
    if isinstance(place, tuple):
        return _open_parquet(place, image_column, label_column)
    return _open_hub(place, part, image_column, label_column)


def _locate(path: str) -> dict[str, Any]:
    folder = Path(path).expanduser()
    if not folder.is_dir():
        return _hub_splits(path)
    parts: dict[str, Any] = dict(find_parts(folder, ".parquet")) or dict(find_part_folders(folder))
    if not parts and _class_folders(folder):
        parts = {"train": folder}
    return parts


def _class_folders(folder: Path) -> list[Path]:
    children = sorted(child for child in folder.iterdir() if child.is_dir())
    return [child for child in children if any(file.suffix.lower() in _SUFFIXES for file in child.iterdir())]


def _open_folder(folder: Path) -> Encoded:
    classes = _class_folders(folder)
    files = [
        (file, number)
        for number, child in enumerate(classes)
        for file in sorted(child.iterdir())
        if file.suffix.lower() in _SUFFIXES
    ]
    labels = [number for _, number in files]
    return Encoded(
        labels, tuple(child.name for child in classes), lambda rows: (files[r][0].read_bytes() for r in rows)
    )


def _open_parquet(files: tuple[Path, ...], image_column: str | None, label_column: str | None) -> Encoded:
    schema = read_schema(files[0])
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    images = [name for name in schema.names if features.get(name, {}).get("_type") == "Image"]
    image = _column("image", image_column, schema.names, (*images, *_IMAGE_NAMES))
    label = _column("label", label_column, schema.names, _LABEL_NAMES)
    names = features.get(label, {}).get("names")
    labels = read_parquet(files, [label]).column(label).to_pylist()
    return Encoded(labels, tuple(names) if names else None, lambda rows: _parquet_bytes(files, image, rows))


def _parquet_bytes(files: tuple[Path, ...], column: str, rows: np.ndarray) -> Iterable[bytes]:
    cells = read_parquet(files, [column]).column(column).take(rows)
    for cell in cells:
        value = cell.as_py()
        yield value["bytes"] if isinstance(value, dict) else value


def _column(key: str, chosen: str | None, names: list[str], likely: tuple[str, ...]) -> str:
    if chosen is not None:
        choose(f"{key}_column", chosen, names)
        return chosen
    for name in likely:
        if name in names:
            return name
    raise ArgumentError(f"{key}_column", f"is not set and none of ({', '.join(names)}) looks like it. Set it to one.")


@lru_cache(maxsize=8)
def _hub_splits(path: str) -> dict[str, Any]:
    import datasets

    datasets.disable_progress_bars()
    try:
        splits = datasets.get_dataset_split_names(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            "path", f": there is no folder {path!r}, and the Hugging Face hub does not give it: {first_line(error)}"
        ) from None
    return {part: path for part in ("train", "validation", "test") if part in splits}


def _open_hub(name: str, part: str, image_column: str | None, label_column: str | None) -> Encoded:
    import datasets

    rows = datasets.load_dataset(name, split=part)
    images = [key for key, feature in rows.features.items() if isinstance(feature, datasets.Image)]
    image = _column("image", image_column, rows.column_names, (*images, *_IMAGE_NAMES))
    label = _column("label", label_column, rows.column_names, _LABEL_NAMES)
    names = getattr(rows.features[label], "names", None)
    raw = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))

    def read(indices: np.ndarray) -> Iterable[bytes]:
        for cell in raw.select(indices)[image]:
            yield cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()

    return Encoded(list(rows[label]), tuple(names) if names else None, read)
