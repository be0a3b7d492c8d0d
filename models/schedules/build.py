"""Build a schedule from its config."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Callback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kirigami.errors import ArgumentError, choose
from kirigami.models.arguments import accept, at_least, names
from kirigami.models.schedules.curves import constant, cosine, onecycle, step
from kirigami.models.schedules.lipschitz import LipschitzLR, lipschitz

SCHEDULES: dict[str, Callable[..., LRScheduler]] = {
    "constant": constant,
    "cosine": cosine,
    "step": step,
    "onecycle": onecycle,
    "lipschitz": lipschitz,
}


def build_schedule(
    optimizer: Optimizer, config: Mapping[str, Any], total_steps: int, steps_per_epoch: int
) -> LRScheduler:
    """Build the schedule of a config; it steps once an optimiser step.

    One that measures the network also needs its callbacks, from `schedule_callbacks`.

    Args:
        optimizer: Whose learning rates are the highest of the schedule.
        config: `{name: cosine, ...}`: a name in `SCHEDULES` and keyword arguments of its function.
        total_steps: Optimiser steps of the run.
        steps_per_epoch: Optimiser steps of an epoch.

    Raises:
        ValueError: The name or a key is unknown, or a value is out of its range.
    """
    if "name" not in config:
        raise ArgumentError("name", f"is not set. Choose one of ({', '.join(SCHEDULES)}).")
    name = choose("name", config["name"], SCHEDULES)
    options = {key: value for key, value in config.items() if key != "name"}
    provided = {"optimizer": optimizer, "total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
    siblings = {key for schedule in SCHEDULES.values() for key in names(schedule)} - set(provided)
    arguments = accept(SCHEDULES[name], options, name=name, provided=provided, siblings=siblings)
    at_least("total_steps", total_steps, 1)
    return SCHEDULES[name](**arguments)


def schedule_callbacks(config: Mapping[str, Any]) -> list[Callback]:
    """Return the callbacks that a Trainer needs for the schedule of a config; mostly none.

    Raises:
        ValueError: A value is out of its range.
    """
    if config.get("name") != "lipschitz":
        return []
    accepted = set(names(LipschitzLR)) - {"layer"}
    return [LipschitzLR(**{key: value for key, value in config.items() if key in accepted})]
