"""The optimiser's groups: parameters of techniques get settings of their own there, or leave them."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def withdraw(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Take parameters out of an optimiser, and return those that it held, in its order."""
    leaving = {id(parameter) for parameter in parameters}
    held = [p for group in optimizer.param_groups for p in group["params"] if id(p) in leaving]
    for group in optimizer.param_groups if held else ():
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in leaving]
    return held


def regroup(
    optimizer: Optimizer,
    schedules: Iterable[LRScheduler],
    parameters: Iterable[nn.Parameter],
    settings: Mapping[str, Any],
) -> None:
    """Move parameters to a group of their own that differs from the first one by the settings, under its schedules.

    Parameters that the optimiser does not hold are left alone.

    Args:
        settings: keys of the group; `lr_scale` multiplies the first group's rates.
    """
    held = withdraw(optimizer, parameters)
    if not held:
        return
    changed = dict(settings)
    scale = changed.pop("lr_scale", 1.0)
    first = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    rates = {key: first[key] * scale for key in ("lr", "initial_lr", "max_lr", "min_lr") if key in first}
    optimizer.add_param_group({**first, **rates, **changed, "params": held})
    for schedule in schedules:
        for name, factor in (("base_lrs", scale), ("_last_lr", scale), ("base_momenta", 1), ("lr_lambdas", None)):
            values = getattr(schedule, name, None)
            if isinstance(values, list) and values:
                values.append(values[0] if factor is None else values[0] * factor)
