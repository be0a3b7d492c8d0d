"""What a user's file or folder holds: opened as a search will open it, without what nothing can be learnt from."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kirigami import tasks
from kirigami.errors import ArgumentError
from kirigami.search.drafting.columns import at_fault, naming_rows
from kirigami.search.errors import InputError
from kirigami.tasks.files import find_parts, read_schema
from kirigami.tasks.pictures.folders import is_picture
from kirigami.tasks.pictures.parquet import IMAGE_NAMES
from kirigami.tasks.tables import reader
from kirigami.tasks.tables.columns import Reading

FEW = 200
"""Rows below which more of them have to choose than is usual for pictures."""
LARGEST_SIDE = 64
"""Pixels of a picture that a search on few cores can afford."""


@dataclass(frozen=True)
class Look:
    """Data as a search sees them.

    Attributes:
        name: of the task.
        knobs: of the task, beside its name, that are not the default ones.
        task: with train and validation rows read.
        remarks: lines about what was left out or changed.
    """

    name: str
    knobs: Mapping[str, Any]
    task: tasks.Task
    remarks: tuple[str, ...]

    @property
    def rows(self) -> int:
        """How many rows train."""
        return len(self.task.train.targets)

    def counts(self) -> dict[str, int]:
        """Count the train and validation rows of each class; {} where there are no classes."""
        if self.task.kind != "classes" or self.task.classes is None:
            return {}
        numbers = Counter([*self.task.train.targets.tolist(), *self.task.validation.targets.tolist()])
        return {name: numbers[number] for number, name in enumerate(self.task.classes)}


def look(data: Path, target: str, knobs: Mapping[str, Any]) -> Look:
    """Open data and find out what suits them.

    Args:
        data: a table, a folder of pictures, Parquet files of pictures, or a text.
        target: the column to learn; empty for pictures and texts.
        knobs: of the task, as the user set them.

    Raises:
        InputError: where the data are not there or no such data.
        ArgumentError: for what the task refuses.
    """
    if not data.exists():
        raise InputError(f"{data}: no such file or folder.")
    named = next((key for key in ("name", "path", "train", "target", "_target_") if key in knobs), None)
    if named is not None:
        raise InputError(f"task.{named} is said by the file and target=. Leave it out here.")
    try:
        return _look(data, target, knobs)
    except ArgumentError as error:
        if error.argument != "target":
            error.move("task")
        raise


def _look(data: Path, target: str, knobs: Mapping[str, Any]) -> Look:
    name = _name(data, target)
    if name == "table":
        return _table(data, target, dict(knobs))
    return _images(data, dict(knobs)) if name == "images" else _opened("text", {"path": str(data), **knobs}, ())


def _name(data: Path, target: str) -> str:
    """Return the name of the task for data."""
    if data.is_dir():
        return "text" if find_parts(data, ".txt") else "images"
    if is_picture(data):
        raise InputError(f"{data}: is one picture. Name the folder that holds a subfolder of pictures for each class.")
    suffix = data.suffix.lower()
    if target:
        return "table"
    if suffix == ".parquet" and set(read_schema(data).names) & set(IMAGE_NAMES):
        return "images"
    if suffix in (".txt", ".md"):
        return "text"
    columns = reader.names("train", data, Reading())
    named = f"Columns: {', '.join(columns[:40])}. Set target={columns[-1]}, say."
    raise InputError(f"target= is not set: the column of {data} to learn. {named}")


def _table(data: Path, target: str, knobs: dict[str, Any]) -> Look:
    words = knobs.get("missing_words")
    reading = Reading(
        **{key: knobs.get(key) for key in ("separator", "decimal", "thousands", "encoding")},
        missing_words=None if words is None else tuple(str(word).casefold() for word in words),
    )
    frame = reader.read("train", (data,), reading)
    dropped = knobs.pop("drop", [])
    dropped = [dropped] if isinstance(dropped, str) else dropped
    if not isinstance(dropped, list):
        raise InputError(f"task.drop must be a list of columns, but got {dropped!r}. Set task.drop=[COLUMN].")
    reasons = {
        name: why for name, why in naming_rows(frame.drop(tuple(dropped)), target, reading).items() if name != target
    }
    while True:
        settings = {"train": str(data), "target": target, "drop": [*dropped, *reasons], **knobs}
        try:
            return _opened("table", settings, tuple(f"left out {name!r}: {why}." for name, why in reasons.items()))
        except ArgumentError as error:
            column = at_fault(error, frame, settings)
            if column is None:
                raise
            reasons[column] = error.problem.strip(": ").partition(". Add it")[0].rstrip(".")


def _images(data: Path, knobs: dict[str, Any]) -> Look:
    settings: dict[str, Any] = {"path": str(data), **knobs}
    remarks: tuple[str, ...] = ()
    try:
        seen = _opened("images", settings, ())
    except ArgumentError as error:
        if error.argument != "size" or error.advice is None or "size" in knobs:
            raise
        settings["size"] = min(LARGEST_SIDE, int(str(error.advice[1])))
        remarks = (f"pictures of several sizes are brought to {settings['size']} pixels.",)
        seen = _opened("images", settings, remarks)
    if max(seen.task.in_shape[1:]) > LARGEST_SIDE and "size" not in knobs:
        settings["size"] = LARGEST_SIDE
        remarks = (f"pictures are brought to {LARGEST_SIDE} pixels, which train in seconds.",)
    if len(seen.task.validation.targets) < FEW and "validation" not in knobs:
        settings["validation"] = 0.25
    return seen if dict(seen.knobs) == settings else _opened("images", settings, remarks)


def _opened(name: str, settings: Mapping[str, Any], remarks: tuple[str, ...]) -> Look:
    task = tasks.build({"name": name, **settings}, seed=0)
    task.setup("fit")
    knobs = {key: value for key, value in settings.items() if value not in ([], None)}
    return Look(name, knobs, task, (*remarks, *task.notices_at("task")))
