"""The search space of a study: which leaves of the config vary, how, and when."""

from collections.abc import Iterable, Mapping
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import BaseTrial

from kirigami.spaces.condition import Condition
from kirigami.spaces.dimension import Dimension
from kirigami.spaces.order import check_conditions, ordered, required, setting
from kirigami.spaces.paths import copied, leaves, replace_leaf
from kirigami.spaces.reading import read_space


class Space:
    """Hold the dimensions of a search, in dependency order, and turn trials into configs.

    Args:
        dimensions: the leaves that vary.
        defaults: value of every leaf of the config by dotted path, which conditions on fixed leaves look up.

    Raises:
        ValueError: conditions that name an unknown path or an impossible value, contradict each other, or form a
            cycle.
    """

    def __init__(self, dimensions: Iterable[Dimension], defaults: Mapping[str, Any]) -> None:
        self._by_path: dict[str, Dimension] = {}
        for dimension in dimensions:
            if dimension.path in self._by_path:
                raise ValueError(f"space.{dimension.path} is given twice. Remove one of them.")
            self._by_path[dimension.path] = dimension
        self._defaults = dict(defaults)
        for dimension in self._by_path.values():
            check_conditions(dimension, self._by_path, self._defaults)
        self.dimensions: tuple[Dimension, ...] = ordered(self._by_path)
        self._plan = tuple(self._planned())
        self._routes = {dimension.path: self._route(dimension) for dimension, _ in self._plan}

    @classmethod
    def from_config(cls, space: Mapping[str, Any] | None, config: Mapping[str, Any]) -> "Space":
        """Read a space that mirrors `config`, the resolved config without `space`.

        Raises:
            ValueError: a path that the config lacks or a dimension that makes no sense, in one line.
        """
        return cls(read_space(space, config), dict(leaves(config)))

    def __len__(self) -> int:
        return len(self.dimensions)

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """Ask `trial` for a value of every active dimension, by dotted path."""
        values: dict[str, Any] = {}
        for dimension, conditions in self._plan:
            # A parent without a value is inactive, and so is all that depends on it.
            if all(condition.path in values and condition.holds(values[condition.path]) for condition in conditions):
                values[dimension.path] = dimension.suggest(trial)
        return values

    def apply(self, config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a deep copy of `config` with the leaves replaced by `values`.

        The parameters that Optuna stores may be given as they are: JSON text of a choice becomes the choice.

        Raises:
            ValueError: a path that is no leaf of `config`.
        """
        applied: dict[str, Any] = copied(config)
        for path, value in values.items():
            dimension = self._by_path.get(path)
            replace_leaf(applied, path, copied(value) if dimension is None else copied(dimension.decode(value)))
        return applied

    def probes(self) -> list[dict[str, Any]]:
        """Return one assignment per choice and per end of a range, each with the parents that make it active.

        All else is meant to stay at the config's defaults. Applied and built one by one, they show before the first
        trial whether any single value of the space breaks. Dimensions that a fixed leaf switches off have none.
        """
        return [
            {**self._routes[dimension.path], dimension.path: copied(value)}
            for dimension, _ in self._plan
            if dimension.path in self._routes
            for value in dimension.ends
        ]

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the Optuna distribution of every dimension by dotted path, active or not."""
        return {dimension.path: dimension.distribution for dimension in self.dimensions}

    def to_dict(self) -> dict[str, Any]:
        """Return the canonical form, plain data sorted by dotted path, which `from_config` reads back."""
        return {path: self._by_path[path].to_config() for path in sorted(self._by_path)}

    def _planned(self) -> Iterable[tuple[Dimension, tuple[Condition, ...]]]:
        """Yield the dimensions that no fixed leaf switches off, with the conditions left to look at in a trial."""
        open_paths: set[str] = set()
        for dimension in self.dimensions:
            on_leaves = [condition for condition in dimension.when if condition.path not in self._by_path]
            on_dimensions = tuple(condition for condition in dimension.when if condition.path in self._by_path)
            possible = all(condition.holds(self._defaults[condition.path]) for condition in on_leaves)
            if possible and all(condition.path in open_paths for condition in on_dimensions):
                open_paths.add(dimension.path)
                yield dimension, on_dimensions

    def _route(self, dimension: Dimension) -> dict[str, Any]:
        """Return values of all parents of `dimension` under which it is active."""
        route: dict[str, Any] = {}
        for path, conditions in required(dimension, self._by_path).items():
            if path in self._by_path:
                parent_value = setting(self._by_path[path], conditions, self._defaults.get(path))
                if parent_value is None:
                    advice = f"its conditions on {path} contradict each other. Correct them or remove it."
                    raise ValueError(f"space.{dimension.path} can never be active: {advice}")
                route[path] = copied(parent_value[0])
        return route
