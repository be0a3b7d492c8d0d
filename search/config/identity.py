"""What makes the trials of a study comparable, and how two of them differ."""

from collections.abc import Iterator, Mapping
from typing import Any

from kirigami.search.config import groups

# What may change between two runs of one study without making its trials incomparable, by dotted path.
FREE = (
    *groups.FREE,
    *("trainer.device", "trainer.logger", "task.path"),
    *("budget.trials", "budget.wall_s", "budget.device_s", "budget.money", "budget.failures_in_a_row"),
)
# What a study does without that was begun before there was a knob for it, by dotted path.
BEFORE: Mapping[str, Any] = {
    **{f"{group}.method": "none" for group in groups.TECHNIQUES},
    "trainer.callbacks": [],
    "metrics": {},
    **{f"task.{key}": None for key in ("separator", "encoding", "decimal", "thousands", "missing_words")},
    "task.missing_category": "own",
    "task.scale": "standard",
    "task.background": 255,
    "task.drop": [],
}


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat part of a resolved config that makes its trials comparable: dotted path -> value."""
    return {
        path: value
        for path, value in leaves(config)
        if not any(path == free or path.startswith(f"{free}.") for free in FREE)
    }


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one `path: old -> new` entry per leaf that differs.

    What was begun before there was a knob did without: then its value counts as that of `BEFORE`.
    """
    lines = []
    for path in sorted({*old, *new}):
        absent = BEFORE.get(path, "(absent)")
        before, after = old.get(path, absent), new.get(path, absent)
        if before != after:
            lines.append(f"{path}: {before} -> {after}")
    return lines


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of every leaf; lists are leaves."""
    if isinstance(node, Mapping) and node:
        for key, child in node.items():
            yield from leaves(child, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
