"""Labels of pictures as names of classes, so that parts are matched by name, never by order."""

import math
from collections.abc import Sequence
from typing import Any

from kirigami.errors import ArgumentError
from kirigami.tasks.pictures.folders import class_name


def class_of(label: Any, names: Sequence[str] | None, where: str) -> str:
    """Return the name of a label's class.

    Args:
        label: a number or a text, as the file has it.
        names: of the classes, where the file has them and its labels are numbers.
        where: the picture.

    Raises:
        ArgumentError: where there is no label, or it is none of these.
    """
    is_gap = isinstance(label, float) and not math.isfinite(label)
    if label is None or is_gap or (isinstance(label, str) and not label.strip()):
        raise ArgumentError("label_column", f": {where} has no label.")
    if isinstance(label, float) and label.is_integer():
        label = int(label)
    if not isinstance(label, str | int | float):
        raise ArgumentError("label_column", f": {where} has a label of type {type(label).__name__}, no number or text.")
    if names is None or isinstance(label, str | bool):
        return class_name(label)
    if not isinstance(label, int) or not 0 <= label < len(names):
        raise ArgumentError("label_column", f": the label {label!r} ({where}) is none of the {len(names)} classes.")
    return class_name(names[label])


def in_order(names: set[str]) -> tuple[str, ...]:
    """Return names of classes in their order: of numbers where all are numbers, else of letters."""
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))
