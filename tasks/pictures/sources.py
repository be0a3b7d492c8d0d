"""Find the parts of a set of labelled pictures, and open one: Parquet files, folders of classes, or a data set of
the Hugging Face hub."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.files import count_rows, expanded, find_part_folders, find_parts, first_line, near
from kirigami.tasks.pictures.folders import class_folders, class_name, is_leftover, is_picture, others_in_words, walk
from kirigami.tasks.pictures.labels import class_of, in_order
from kirigami.tasks.pictures.modes import Encoded
from kirigami.tasks.pictures.parquet import (
    IMAGE_NAMES,
    LABEL_NAMES,
    choose_column,
    choose_image,
    choose_label,
    names_of,
    open_parquet,
)
from kirigami.tasks.pictures.source import Source, unknown_class

Columns = tuple[str | None, str | None]
Stamp = tuple[tuple[int, int], ...]
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def stamp_of(path: str) -> Stamp:
    """Return what changes when files of a source come, go or are written: times and sizes, none for the hub.

    Of folders of classes their own times are looked at, not those of all pictures in them.
    """
    place = expanded(path)
    if not place.is_dir():
        return _stamps([place]) if place.exists() else ()
    folders = [place, *find_part_folders(place).values()]
    return _stamps([*folders, *(child for folder in folders for child in sorted(folder.iterdir()))])


def _stamps(places: Iterable[Path]) -> Stamp:
    stats = [place.stat() for place in places if place.exists()]
    return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def parts_of(path: str) -> tuple[str, ...]:
    """Name the parts ("train", "validation", "test") a source has; "train" is among them or it is an error."""
    parts = tuple(_locate(path))
    if "train" not in parts:
        others = f"holds a {parts[0]} part, but" if parts else "holds"
        neither = "neither train-*.parquet nor a folder of pictures for each class"
        raise ArgumentError("path", f": {path!r} {others} {neither}.")
    return parts


def open_part(path: str, part: str, columns: Columns, drop: tuple[str, ...]) -> Source:
    """Open one part of a source without the classes of `drop`; no other part is read."""
    parts = _locate(path)
    place = parts[part]
    if isinstance(place, Path):
        source = _open_folder(place, part, drop)
        names = {name for folder in parts.values() for name in class_folders(folder)}
        beside = _beside(expanded(path), parts) if part == "train" else ()
        return replace(_known(source, names, drop), passed_over=(*source.passed_over, *beside))
    source = open_parquet(place, *columns) if isinstance(place, tuple) else _open_hub(place, part, *columns)
    return (_known(source, source.classes, drop) if part == "train" else source).without(drop)


def _known(source: Source, names: Collection[str], drop: tuple[str, ...]) -> Source:
    for name in drop:
        choose("drop", name, sorted(names))
    return source


def _beside(folder: Path, parts: Mapping[str, Any]) -> tuple[str, ...]:
    """Say which folders lie beside those of the parts, and are not read."""
    if folder in parts.values():
        return ()
    others = [name for name, child in class_folders(folder).items() if child not in parts.values()]
    return (f"the folders ({', '.join(others)}) beside it were passed over.",) if others else ()


def check_classes(path: str, part: str, columns: Columns, drop: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Check that a part's classes are those of the train part, as far as names of folders and columns tell.

    Raises:
        ArgumentError: naming the class that the train part lacks; no picture and no row is opened.
    """
    place = _locate(path)[part]
    if isinstance(place, Path):
        for name, folder in class_folders(place).items():
            if name not in classes and name not in drop:
                raise unknown_class(name, part, str(folder), classes)
        count = len(open_part(path, part, columns, drop).labels)
    elif isinstance(place, tuple):
        for file in place:
            choose_image(file, columns[0])
            for name in names_of(file, choose_label(file, columns[1])) or ():
                if class_name(name) not in (*classes, *drop):
                    raise unknown_class(name, part, str(file), classes)
        count = sum(count_rows(file) for file in place)
    else:
        return
    if not count:
        raise no_pictures(path, part)


def no_pictures(path: str, part: str) -> ArgumentError:
    """Return the error that says that a part is empty."""
    return ArgumentError("path", f": the {part} part of {path!r} holds no pictures.")


def counts_of(path: str, part: str, drop: tuple[str, ...]) -> Counter[str] | None:
    """Count the pictures of each class of a part that consists of folders, by their files; None for other parts."""
    place = _locate(path).get(part)
    return Counter(_open_folder(place, part, drop).labels) if isinstance(place, Path) else None


def _locate(path: str) -> dict[str, Any]:
    place = expanded(path)
    if place.is_file() and place.suffix.lower() == ".parquet":
        return {"train": (place,)}
    if not place.is_dir():
        return _hub_splits(path, place)
    parts: dict[str, Any] = dict(find_parts(place, ".parquet")) or dict(find_part_folders(place))
    return parts or ({"train": place} if class_folders(place) else {})


def _open_folder(folder: Path, part: str, drop: tuple[str, ...]) -> Source:
    folders = {name: child for name, child in class_folders(folder).items() if name not in drop}
    walks = {name: walk(child) for name, child in folders.items()}
    for name, content in walks.items():
        if not content.pictures and (part == "train" or content.others):
            holds = f", but {others_in_words(content.others)}" if content.others else ""
            problem = (
                f": the folder {str(folders[name])!r} holds no picture that can be read{holds}. Remove it, or leave"
            )
            raise ArgumentError("path", f"{problem} it out.", ("drop", f"[{name}]"))
    files = [file for content in walks.values() for file in content.pictures]
    labels = [name for name, content in walks.items() for _ in content.pictures]

    def read(rows: NDArray[np.int64]) -> Iterable[Encoded]:
        return (files[row] for row in rows)

    return Source(labels, tuple(walks), lambda row: str(files[row]), read, _passed_over(folder, walks.values()))


def _passed_over(folder: Path, walks: Iterable[Any]) -> tuple[str, ...]:
    others: Counter[str] = sum((content.others for content in walks), Counter())
    loose = [
        child for child in folder.iterdir() if child.is_file() and is_picture(child) and not is_leftover(child.name)
    ]
    lines = []
    if others:
        lines.append(f"{others_in_words(others)} of other suffixes were passed over.")
    if loose:
        lines.append(f"{len(loose)} pictures in no folder of a class, such as {str(loose[0])!r}, passed over.")
    return tuple(lines)


def _hub_splits(path: str, place: Path) -> dict[str, Any]:
    is_near = place.parent != Path() and place.parent.is_dir()
    if not HUB_NAME.fullmatch(path) or place.exists() or is_near:
        what = "is no folder and no Parquet file." if place.exists() else f"is not there.{near(place)}"
        raise ArgumentError("path", f": {path!r} {what}", ("path", "FOLDER"))
    return _asked_splits(path)


@lru_cache(maxsize=8)
def _asked_splits(path: str) -> dict[str, Any]:
    import datasets

    datasets.disable_progress_bars()
    try:
        splits = datasets.get_dataset_split_names(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            "path", f": there is no folder {path!r}, and the Hugging Face hub does not give it: {first_line(error)}"
        ) from None
    return {part: path for part in ("train", "validation", "test") if part in splits}


def _open_hub(name: str, part: str, image_column: str | None, label_column: str | None) -> Source:
    import datasets

    rows = datasets.load_dataset(name, split=part)
    features = rows.features
    marked = [key for key, feature in features.items() if isinstance(feature, datasets.Image)]
    image = choose_column("image_column", image_column, rows.column_names, (*marked, *IMAGE_NAMES), name)
    label = choose_column("label_column", label_column, rows.column_names, LABEL_NAMES, name)
    raw = rows.select_columns([image]).cast_column(image, datasets.Image(decode=False))

    def read(indices: NDArray[np.int64]) -> Iterable[Encoded]:
        for cell in raw.select(indices)[image]:
            yield cell["bytes"] if cell["bytes"] is not None else Path(cell["path"])

    def where(row: int) -> str:
        return f"{name}, {part}, row {row}"

    names = getattr(features[label], "names", None)
    labels = [class_of(value, names, where(row)) for row, value in enumerate(rows[label])]
    return Source(labels, tuple(names or in_order(set(labels))), where, read, column=image)
