"""What a trial costs, measured: before its training, as far as that can be known, and after it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from kirigami import models, tasks
from kirigami.models.technique import Technique, stored_parameters
from kirigami.search.config.settings import TrialConfig
from kirigami.several import cut
from kirigami.spaces import Budget
from kirigami.spaces.costs import COSTS, known_before


def sizes(config: TrialConfig, network: nn.Module, techniques: Sequence[Technique]) -> dict[str, float]:
    """Return the parameters and bytes that are known before training, as details of the trial."""
    least = {"least_bytes": least_bytes(network, techniques)} if is_asked(config, "bytes") else {}
    return {"params": stored_parameters(network), **least}


def after(
    config: TrialConfig, network: nn.Module, techniques: Sequence[Technique], task: tasks.Task
) -> dict[str, float]:
    """Return the figures that training has decided, as details of the trial."""
    measured: dict[str, float] = {}
    with suppress(ValueError):  # somebody's network may hold what the file cannot: then its bytes are not known
        measured["bytes"] = models.compact.encoded_bytes(network)
    measured |= working(config, network, task)
    if any(technique.shrinks for technique in techniques):
        measured |= {"params": stored_parameters(network), **macs(models.compact.plain(network), task)}
    return measured


def is_asked(config: TrialConfig, cost: str) -> bool:
    """Return whether the budget limits a cost or the study has it as an objective."""
    return cost in config.budget.limits or cost in config.objective


def macs(network: nn.Module, task: tasks.Task) -> dict[str, int]:
    """Return the multiply-accumulates for one sample; nothing for a LightningModule, which need not have a forward."""
    sample, _ = next(iter(task.val_dataloader()))
    try:
        return {"macs": models.cost.macs(network.to(task.device), sample)}
    except NotImplementedError:
        return {}


def working(config: TrialConfig, network: nn.Module, task: tasks.Task) -> dict[str, float]:
    """Return the costs for which the network has to work for a while, those that somebody asks for, as details."""
    measured: dict[str, float] = {}
    for name, measure in WORKING.items():
        if is_asked(config, name):
            measured |= measure(network, task)
    return measured


def latency(network: nn.Module, task: tasks.Task) -> dict[str, float]:
    """Return the median milliseconds of a forward pass for one sample on the trial's device.

    Weights that techniques compute from others are computed once, as in the network's final file.
    """
    sample, _ = next(iter(task.val_dataloader()))
    try:
        with parametrize.cached():
            return {"latency_ms": models.cost.latency_ms(network.to(task.device), cut(sample, slice(1)))}
    except NotImplementedError:
        return {}


WORKING: dict[str, Callable[[nn.Module, tasks.Task], Mapping[str, float]]] = {"latency_ms": latency}
"""Costs that take a while to measure: before training, which bounds them, and after it. Name -> details of a trial."""


def least_bytes(network: nn.Module, techniques: Sequence[Technique]) -> int:
    """Return the bytes that the network's file will exceed, from the least that the techniques can come to."""
    least = [technique.least() for technique in techniques]
    bits = [each.bits for each in least if each.bits is not None]
    density = min((each.density for each in least), default=1.0)
    return models.compact.lower_bound(network, density=density, bits=min(bits, default=None))


def over_budget(budget: Budget, details: Mapping[str, Any]) -> str | None:
    """Return why a network is over the budget, known before it is trained; None where it is not."""
    bounds = known_before(details)
    for name, limit in budget.limits.items():
        value = bounds.get(name, 0)
        if value > limit:
            shown = f"{value:.4g}" if isinstance(value, float) else value
            return f"at least {shown} {name}, over budget.{name}={limit}; not trained"
    return None


def of_trained(details: Mapping[str, Any]) -> dict[str, float]:
    """Return the costs of a trained network, as metrics."""
    measured = {**details, "seconds": details["fit_s"]}
    return {name: float(measured[name]) for name in COSTS if name in measured}
