"""How much a whole study may spend, and how much its winner."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from kirigami.errors import closest
from kirigami.spaces.condition import is_number
from kirigami.spaces.costs import COSTS, LIMITS
from kirigami.spaces.paths import listed

KEYS = ("trials", "wall_s", "failures_in_a_row", *LIMITS, "device_s", "money")
PRICE_KEYS = ("per_device_hour", "currency")


@dataclass(frozen=True)
class Budget:
    """End a study when it has spent enough, and refuse networks that are too large; None sets no limit.

    Args:
        trials: number of trials of the study, over all workers.
        wall_s: wall-clock seconds in which at least one trial runs.
        device_s: seconds that trials hold a device, summed over devices and workers, interrupted attempts included.
        money: what these device seconds cost, in `currency`.
        failures_in_a_row: how many trials may fail without another outcome between them.
        limits: what a network may cost, by the name of the cost (`kirigami.spaces.costs`): constraints of the study.
        per_device_hour: what a device costs for an hour; None where it is not known.
        currency: of all figures of money.
    """

    trials: int | None = None
    wall_s: float | None = None
    failures_in_a_row: int = 10
    limits: Mapping[str, float] = field(default_factory=dict)
    device_s: float | None = None
    money: float | None = None
    per_device_hour: float | None = None
    currency: str = "USD"

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None, cost: Mapping[str, Any] | None = None) -> "Budget":
        """Read a budget such as `{trials: 100, wall_s: 3600}`.

        Args:
            config: `budget:` of the config.
            cost: `cost:` of the config, the price of a device; None where no trial will be run by this budget.

        Raises:
            ValueError: an unknown key, a value out of bounds, or a budget of money without a price; in one line.
        """
        _check_keys("budget", "{trials: 100}", config, KEYS)
        _check_keys("cost", "{per_device_hour: 2.5}", cost, PRICE_KEYS)
        config = config or {}
        price, currency = _price(cost or {})
        money = _above_0("budget.money", currency, config.get("money"))
        if cost is not None and money is not None and price is None:
            raise ValueError(
                f"budget.money={money:g} needs the price of a device, but cost.per_device_hour is null. "
                "Set cost.per_device_hour=2.5, say, or budget.device_s=SECONDS instead."
            )
        failures = config.get("failures_in_a_row", cls.failures_in_a_row)
        return cls(
            trials=_count_or_none("trials", config.get("trials")),
            wall_s=_above_0("budget.wall_s", "seconds", config.get("wall_s")),
            device_s=_above_0("budget.device_s", "seconds", config.get("device_s")),
            limits=_limits(config),
            money=money,
            per_device_hour=price,
            currency=currency,
            failures_in_a_row=_count("failures_in_a_row", failures),
        )


def _limits(config: Mapping[str, Any]) -> dict[str, float]:
    limits: dict[str, float | None] = {}
    for name in LIMITS:
        unit, value = COSTS[name].unit, config.get(name)
        limits[name] = _count_or_none(name, value) if COSTS[name].whole else _above_0(f"budget.{name}", unit, value)
    return {name: limit for name, limit in limits.items() if limit is not None}


def _check_keys(name: str, example: str, config: Any, known: tuple[str, ...]) -> None:
    """Refuse a value that is no mapping, and unknown keys of `budget:` or `cost:`."""
    if config is None:
        return
    if not isinstance(config, Mapping):
        raise ValueError(f"{name} must be a mapping such as {example}, but got {config!r}.")
    for key in config:
        if key not in known:
            meant = closest(key, known)
            advice = "" if meant is None else f" Did you mean {name}.{meant}?"
            raise ValueError(f"{name}.{key} is unknown; a {name} takes {listed(known)}.{advice}")


def _price(cost: Mapping[str, Any]) -> tuple[float | None, str]:
    """Return the price of a device hour, and its currency."""
    price = _above_0("cost.per_device_hour", "a price", cost.get("per_device_hour"), "null where it is not known")
    currency = cost.get("currency", Budget.currency)
    if not isinstance(currency, str) or not currency.strip():
        raise ValueError(f"cost.currency must be a name such as USD, but got {currency!r}.")
    return price, currency


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else _count(name, value, ", or null for no limit")


def _count(name: str, value: Any, otherwise: str = "") -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"budget.{name} must be a whole number above 0{otherwise}, but got {value!r}.")
    return value


def _above_0(name: str, unit: str, value: Any, otherwise: str = "null for no limit") -> float | None:
    if value is None:
        return None
    if not is_number(value) or not isfinite(value) or value <= 0:
        raise ValueError(f"{name} must be {unit} above 0, or {otherwise}, but got {value!r}.")
    return float(value)
