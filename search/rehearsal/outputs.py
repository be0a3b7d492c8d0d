"""Whether what a network gives is what its task takes."""

from typing import Any

import torch
from torch import Tensor

from kirigami import tasks
from kirigami.search.errors import InputError


def check_outputs(outputs: Any, task: tasks.Task, targets: Tensor, name: str, place: str | None) -> None:
    """Check type, shape and numbers of a network's outputs.

    Args:
        outputs: for some rows.
        task: whose targets the rows have.
        targets: theirs.
        name: of the network, for the user.
        place: its place in the user's file.

    Raises:
        InputError: saying what it gives and what it must give.
    """
    wanted = shapes(task, targets)
    where = f" ({place})" if place else ""
    if not isinstance(outputs, Tensor) or (wanted and tuple(outputs.shape) not in wanted):
        must = f"it must give {_tensor(wanted[0], len(targets))}{_why(task)}" if wanted else "it must give a tensor"
        raise InputError(f"{name} gives {_described(outputs, len(targets))}; {must}{where}.")
    if not outputs.dtype.is_floating_point:
        raise InputError(f"{name} gives numbers of {outputs.dtype}; it must give floating-point numbers{where}.")
    if bool((torch.isnan(outputs) | (outputs == torch.inf)).any()):
        what = "NaN" if bool(torch.isnan(outputs).any()) else "infinite numbers"
        raise InputError(f"{name} gives {what} before any training, for rows without one{where}.")


def is_softmax(outputs: Tensor, kind: str) -> bool:
    """Tell whether scores of classes are probabilities that add up to one in each row."""
    sums = outputs.sum(dim=1)
    is_share = bool((outputs >= 0).all()) and bool(torch.isclose(sums, torch.ones_like(sums), atol=1e-3).all())
    return kind == "classes" and is_share


def shapes(task: tasks.Task, targets: Tensor) -> list[tuple[int, ...]]:
    """Return the shapes that outputs may have, the usual one first; nothing for a kind of task that is not known."""
    rows, several = tuple(targets.shape), task.out_features
    match task.kind:
        case "classes" | "labels":
            return [(rows[0], several)]
        case "characters":
            return [(*rows, several)]
        case "values":
            return [rows, rows[:1]] if rows[1:] == (1,) else [rows]
        case "pixels":
            return [(rows[0], several, *rows[1:])] if task.classes else [rows]
        case _:
            return []


def _described(outputs: Any, rows: int) -> str:
    if isinstance(outputs, Tensor):
        other = f" for {rows} rows" if not outputs.dim() or len(outputs) != rows else ""
        return f"{_tensor(tuple(outputs.shape), rows)}{other}"
    if isinstance(outputs, dict):
        return f"a dict of ({', '.join(map(str, outputs))})"
    if isinstance(outputs, tuple | list):
        return f"a {type(outputs).__name__} of {len(outputs)}"
    return "None" if outputs is None else f"a {type(outputs).__name__}"


def _tensor(shape: tuple[int, ...], rows: int) -> str:
    first = ["rows"] if shape and shape[0] == rows else [str(size) for size in shape[:1]]
    return f"a tensor ({', '.join([*first, *map(str, shape[1:])])}{',' * (len(shape) == 1)})"


def _why(task: tasks.Task) -> str:
    if task.kind == "classes" and task.classes:
        names = ", ".join(task.classes[:5]) + (", …" if len(task.classes) > 5 else "")
        return f", one score for each class of ({names})"
    return {"values": ", a value for each row", "pixels": ", one score for each pixel"}.get(task.kind, "")
