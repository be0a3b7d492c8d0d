"""What a network and its training cost: one row a cost, read by budgets, objectives, pruners and reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """A cost of a trial.

    Attributes:
        name: of the metric, and of the limit in `budget:` where there is one.
        unit: in words, in the plural.
        direction: of an objective, "minimize" or "maximize".
        whole: whether it is a whole number.
        bound: the trial's detail that holds what is known of it before training: the cost itself, or a bound of it.
            None where nothing is known before training; then a budget cannot limit it.
    """

    name: str
    unit: str
    direction: str = "minimize"
    whole: bool = True
    bound: str | None = None


COSTS = {
    cost.name: cost
    for cost in (
        Cost("params", "parameters", bound="params"),
        Cost("macs", "multiply-accumulates", bound="macs"),
        Cost("bytes", "bytes", bound="least_bytes"),
        Cost("latency_ms", "milliseconds", whole=False, bound="latency_ms"),
        Cost("seconds", "seconds", whole=False),
    )
}
LIMITS = tuple(cost.name for cost in COSTS.values() if cost.bound is not None)
"""Names of the costs that a budget can limit."""


def known_before(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return the costs known before training from a trial's details, by name."""
    bounds = {cost.name: cost.bound for cost in COSTS.values() if cost.bound is not None}
    return {name: details[bound] for name, bound in bounds.items() if bound in details}
