"""When a dimension exists: a condition on another path of the config."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

from kirigami.errors import did_you_mean
from kirigami.spaces.paths import copied


def is_number(value: Any) -> bool:
    """Tell whether `value` is an int or a float; booleans are neither here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Condition:
    """State that the value at `path` is one of `values`, or lies within [`low`, `high`] when `values` is None.

    Either end of the range may be None, which leaves that side open.
    """

    path: str
    values: tuple[Any, ...] | None = None
    low: float | None = None
    high: float | None = None

    def holds(self, value: Any) -> bool:
        """Return whether `value` satisfies the condition; a value that is no number lies in no range."""
        if self.values is not None:
            return value in self.values
        if not is_number(value):
            return False
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def to_config(self) -> Any:
        """Return the canonical form: a list of values, or a mapping with the ends of the range."""
        if self.values is not None:
            return copied(self.values)
        ends = {"low": self.low, "high": self.high}
        return {key: end for key, end in ends.items() if end is not None}


def read_conditions(where: str, node: Any) -> tuple[Condition, ...]:
    """Read `{other.path: value | [values] | {low: a, high: b}}`, sorted by path; `where` begins each error.

    Raises:
        ValueError: it is no such mapping.
    """
    if node is None:
        return ()
    if not isinstance(node, Mapping):
        raise ValueError(f"{where} must be a mapping {{other.path: value}}, but got {node!r}.")
    return tuple(sorted((_read(f"{where}.{path}", str(path), wanted) for path, wanted in node.items()), key=_path))


def _path(condition: Condition) -> str:
    return condition.path


def _read(where: str, path: str, wanted: Any) -> Condition:
    if isinstance(wanted, Mapping):
        _check_range(where, wanted)
        return Condition(path, low=wanted.get("low"), high=wanted.get("high"))
    values = tuple(wanted) if isinstance(wanted, list | tuple) else (wanted,)
    if not values:
        raise ValueError(f"{where} must name at least one value, but got []. Remove it or list the values.")
    return Condition(path, values=values)


def _check_range(where: str, node: Mapping[str, Any]) -> None:
    for key, end in node.items():
        if key not in ("low", "high"):
            advice = did_you_mean(key, ("low", "high")) or " Write a path below it with dots, as in {a.b: value}."
            raise ValueError(f"{where} has the unknown key {key!r}; a range takes (low, high).{advice}")
        if not is_number(end) or isnan(end):
            raise ValueError(f"{where}.{key} must be a number, but got {end!r}.")
    if not node:
        raise ValueError(f"{where} must be a value, a list of values or {{low: a, high: b}}, but got {{}}.")
    if "low" in node and "high" in node and node["low"] > node["high"]:
        raise ValueError(f"{where}: low must not exceed high, but got low={node['low']!r} and high={node['high']!r}.")
