"""The optimiser's groups: parameters of techniques get settings of their own there, or leave them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

RATES = ("base_lrs", "_last_lr", "max_lrs", "min_lrs")  # a number for each group, in torch's schedules
ALIKE = ("base_momenta", "base_momentums", "max_momentums", "lr_lambdas")


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
    """Give parameters a group of their own that differs from the first one by the settings, under its schedules.

    Args:
        parameters: those of other groups leave them.
        settings: keys of the group; `lr_scale` multiplies the first group's rates.

    Raises:
        ValueError: where the optimiser has no groups.
    """
    listed = [*parameters]
    if not listed:
        return
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("LBFGS takes one group of parameters, and this technique needs another. Take SGD or Adam.")
    held = withdraw(optimizer, listed)
    held += [parameter for parameter in listed if all(parameter is not other for other in held)]
    changed = dict(settings)
    scale = changed.pop("lr_scale", 1.0)
    first = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    rates = {key: first[key] * scale for key in ("lr", "initial_lr", "max_lr", "min_lr") if key in first}
    optimizer.add_param_group({**first, **rates, **changed, "params": held})
    for schedule in schedules:
        _extend(schedule, scale)


def held_by(optimizer: Optimizer, parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether an optimiser holds one of the parameters."""
    wanted = {id(parameter) for parameter in parameters}
    return any(id(parameter) in wanted for group in optimizer.param_groups for parameter in group["params"])


def _extend(schedule: Any, scale: float) -> None:
    """Let a schedule, and its parts, count another group, whose rates are the first one's times a scale."""
    for part in getattr(schedule, "_schedulers", ()):
        _extend(part, scale)
    for name in (*RATES, *ALIKE):
        values = getattr(schedule, name, None)
        if isinstance(values, list) and values:
            values.append(values[0] * scale if name in RATES else values[0])
