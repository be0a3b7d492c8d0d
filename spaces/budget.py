"""How much a whole study may spend, and how much its winner."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from spaces.condition import is_number
from spaces.paths import listed, nearest


@dataclass(frozen=True)
class Budget:
    """End a study when it has spent enough, and refuse networks that are too large; None sets no limit.

    Args:
        trials: number of trials of the study, over all workers.
        wall_s: wall-clock seconds in which at least one trial runs.
        failures_in_a_row: how many trials may fail without another outcome between them.
        params: parameters of the network, a shared one counted once.
        macs: multiply-accumulates of a forward pass for one sample.
        bytes: of the network's encoded file.
        latency_ms: median milliseconds of a forward pass for one sample on the trial's device.
    """

    trials: int | None = None
    wall_s: float | None = None
    failures_in_a_row: int = 10
    params: int | None = None
    macs: int | None = None
    bytes: int | None = None
    latency_ms: float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """Return what a network may cost, by the name of the metric: constraints of the study."""
        limits = {"params": self.params, "macs": self.macs, "bytes": self.bytes, "latency_ms": self.latency_ms}
        return {name: limit for name, limit in limits.items() if limit is not None}

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
        failures = config.get("failures_in_a_row", cls.failures_in_a_row)
        return cls(
            **{name: _count_or_none(name, config.get(name)) for name in ("trials", "params", "macs", "bytes")},
            wall_s=_above_0("wall_s", "seconds", config.get("wall_s")),
            latency_ms=_above_0("latency_ms", "milliseconds", config.get("latency_ms")),
            failures_in_a_row=_count("failures_in_a_row", failures),
        )


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else _count(name, value, ", or null for no limit")


def _count(name: str, value: Any, otherwise: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"budget.{name} must be a whole number above 0{otherwise}, but got {value!r}.")
    return value


def _above_0(name: str, unit: str, value: Any) -> float | None:
    if value is None:
        return None
    if not is_number(value) or not isfinite(value) or value <= 0:
        raise ValueError(f"budget.{name} must be {unit} above 0, or null for no limit, but got {value!r}.")
    return float(value)
