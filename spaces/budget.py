"""How much a whole study may spend."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from spaces.condition import is_number
from spaces.paths import listed, nearest


@dataclass(frozen=True)
class Budget:
    """End a study at the first limit reached; None sets no limit.

    Args:
        trials: number of trials of the study, over all workers.
        wall_s: wall-clock seconds in which at least one trial runs.
        failures_in_a_row: how many trials may fail without another outcome between them.
    """

    trials: int | None = None
    wall_s: float | None = None
    failures_in_a_row: int = 10

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> "Budget":
        """Read a budget such as `{trials: 100, wall_s: 3600}`.

        Raises:
            ValueError: an unknown key or a value out of bounds, in one line.
        """
        if config is None:
            return cls()
        if not isinstance(config, Mapping):
            raise ValueError(f"budget must be a mapping such as {{trials: 100}}, but got {config!r}.")
        known = tuple(field.name for field in fields(cls))
        for key in config:
            if key not in known:
                advice = nearest(key, known, "budget.")
                raise ValueError(f"budget.{key} is unknown; a budget takes {listed(known)}.{advice}")
        trials, failures = config.get("trials"), config.get("failures_in_a_row", cls.failures_in_a_row)
        return cls(
            None if trials is None else _count("trials", trials, ", or null for no limit"),
            _seconds(config.get("wall_s")),
            _count("failures_in_a_row", failures),
        )


def _count(name: str, value: Any, otherwise: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"budget.{name} must be a whole number above 0{otherwise}, but got {value!r}.")
    return value


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if not is_number(value) or not isfinite(value) or value <= 0:
        raise ValueError(f"budget.wall_s must be seconds above 0, or null for no limit, but got {value!r}.")
    return float(value)
