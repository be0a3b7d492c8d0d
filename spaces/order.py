"""Order dimensions so that each follows its parents, and find the settings that make one active."""

from collections.abc import Iterator, Mapping
from typing import Any

from kirigami.errors import did_you_mean
from kirigami.spaces.condition import Condition
from kirigami.spaces.dimension import Dimension
from kirigami.spaces.paths import listed, nearest_path

Dimensions = Mapping[str, Dimension]


def ordered(dimensions: Dimensions) -> tuple[Dimension, ...]:
    """Return the dimensions by path, each after those its conditions name.

    The order does not depend on the order in the config: it decides which random number goes where.

    Raises:
        ValueError: the conditions form a cycle, which is printed.
    """
    done: dict[str, Dimension] = {}
    for path in sorted(dimensions):
        _visit(path, dimensions, done, ())
    return tuple(done.values())


def _visit(path: str, dimensions: Dimensions, done: dict[str, Dimension], trail: tuple[str, ...]) -> None:
    if path in trail:
        cycle = " -> ".join((*trail[trail.index(path) :], path))
        raise ValueError(f"space: the when conditions form a cycle, {cycle}. Remove one of them.")
    if path in done or path not in dimensions:
        return
    for condition in dimensions[path].when:
        _visit(condition.path, dimensions, done, (*trail, path))
    done[path] = dimensions[path]


def check_conditions(dimension: Dimension, dimensions: Dimensions, defaults: Mapping[str, Any]) -> None:
    """Check that each condition names a dimension or a leaf among `defaults`, and a value it can take.

    Raises:
        ValueError: it does not, in one line.
    """
    for condition in dimension.when:
        where = f"space.{dimension.path}.when.{condition.path}"
        if condition.path in dimensions:
            _check_on_dimension(where, condition, dimensions[condition.path])
        elif condition.path not in defaults:
            raise ValueError(f"{where}: {_why_unknown(condition.path, defaults)}")
        elif condition.values is None and isinstance(defaults[condition.path], str | bool):
            raise ValueError(
                f"{where} is a range, but {condition.path} is {defaults[condition.path]!r}. List values instead."
            )


def _why_unknown(path: str, defaults: Mapping[str, Any]) -> str:
    below = [name for name in defaults if name.startswith(f"{path}.")]
    if below:
        return f"{path} is a branch of the config, not a leaf. Name a leaf such as {below[0]}."
    return f"no such path in the config.{nearest_path(path, defaults)}"


def _check_on_dimension(where: str, condition: Condition, parent: Dimension) -> None:
    if condition.values is None and parent.choices is not None:
        choices = listed(parent.choices)
        raise ValueError(f"{where} is a range, but {parent.path} has the choices {choices}. List some of them instead.")
    for value in condition.values or ():
        if not parent.contains(value):
            advice = did_you_mean(value, parent.choices) if parent.choices is not None else ""
            raise ValueError(f"{where}: {parent.path} never takes {value!r}; it takes {_taken(parent)}.{advice}")
    if condition.values is None and setting(parent, (condition,)) is None:
        raise ValueError(f"{where}: {parent.path} never lies in {condition.to_config()}; it takes {_taken(parent)}.")


def _taken(dimension: Dimension) -> str:
    if dimension.choices is not None:
        return listed(dimension.choices)
    return f"{dimension.low!r} to {dimension.high!r}" + (f" in steps of {dimension.step!r}" if dimension.step else "")


def setting(dimension: Dimension, conditions: tuple[Condition, ...], default: Any = None) -> tuple[Any] | None:
    """Return (value,) of `dimension` that satisfies all `conditions`, the default if it does; None if no value does."""
    for value in (default, *_candidates(dimension, conditions)):
        if dimension.contains(value) and all(condition.holds(value) for condition in conditions):
            return (value,)
    return None


def _candidates(dimension: Dimension, conditions: tuple[Condition, ...]) -> Iterator[Any]:
    """Yield values among which one satisfies the conditions if any does."""
    for condition in conditions:
        if condition.values is not None:
            yield from condition.values
        elif condition.low is not None:
            yield from _at_or_above(dimension, condition.low)
    yield from dimension.ends


def _at_or_above(dimension: Dimension, number: float) -> Iterator[Any]:
    nearest_value = dimension.snap(number)
    yield nearest_value
    yield dimension.snap(nearest_value + (dimension.step or 1))


def required(dimension: Dimension, dimensions: Dimensions) -> dict[str, tuple[Condition, ...]]:
    """Return all conditions for `dimension` to exist, those of its parents included, by path, parents first."""
    conditions_of: dict[str, tuple[Condition, ...]] = {}
    for condition in dimension.when:
        if condition.path in dimensions:
            for path, conditions in required(dimensions[condition.path], dimensions).items():
                conditions_of[path] = conditions_of.get(path, ()) + conditions
        conditions_of[condition.path] = (*conditions_of.get(condition.path, ()), condition)
    return conditions_of
