"""Columns of a table that name or count its rows: nothing can be learnt from them that holds for other rows."""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError
from kirigami.tasks.tables.cells import Frame
from kirigami.tasks.tables.columns import Reading, learn

FEWEST = 10
"""Rows from which on it is no chance that every value occurs once."""
NAMES_ROWS = re.compile(
    r"(.*[\s_.-])?(id|ids|nr|no|num|number|key|uuid|guid|index|idx|row|code)|.*[a-z](Id|ID|Nr|No|Key)", re.DOTALL
)


def naming_rows(frame: Frame, target: str, reading: Reading) -> dict[str, str]:
    """Return the columns that name or count rows, or that nothing reads, and for each why."""
    reasons = {}
    for name in frame.names:
        if name != target and (reason := _reason(name, frame, reading)) is not None:
            reasons[name] = reason
    return reasons


def at_fault(error: ArgumentError, frame: Frame, settings: Mapping[str, object]) -> str | None:
    """Return the column that an error advises to leave out; None for any other error."""
    if error.argument != "drop" and "task.drop" not in error.problem:
        return None
    left = {settings["target"], *settings["drop"]}  # type: ignore[misc]
    names = [name for name in frame.names if name not in left and f"the column {name!r}" in error.problem]
    return max(names, key=len, default=None)


def _reason(name: str, frame: Frame, reading: Reading) -> str | None:
    cells = frame.columns[name]
    if cells.kind == "unread":
        return f"its type, {cells.type}, is not read"
    try:
        rule = learn(name, frame, reading)
    except ArgumentError:
        return None  # the task says it better
    if rule.kind != "number" or len(frame) < FEWEST:
        return None
    values = rule.floats(frame, "train")
    if bool((np.diff(values) == 1).all()):
        return "it counts the rows"
    is_name = NAMES_ROWS.fullmatch(name) or NAMES_ROWS.fullmatch(name.lower())
    return "it names the rows: every value occurs once" if is_name and _are_names(values) else None


def _are_names(values: NDArray[np.float64]) -> bool:
    return bool((values == np.round(values)).all()) and len(np.unique(values)) == len(values)
