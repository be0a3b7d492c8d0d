"""Build a schedule from its config."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Callback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kirigami.arguments import accept, at_least, names
from kirigami.errors import ArgumentError, choose
from kirigami.models.schedules.curves import constant, cosine, onecycle, step
from kirigami.models.schedules.lipschitz import LipschitzLR, lipschitz
from kirigami.targets import KEY, leading, located, options_of, run

OURS = ("interval", "monitor")  # keys beside the arguments of a schedule of the user's own
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
    """Build the schedule of a config; it steps as `stepping` says, mostly once an optimiser step.

    One that measures the network also needs its callbacks, from `schedule_callbacks`.

    Args:
        optimizer: Whose learning rates are the highest of the schedule.
        config: `{name: cosine, ...}`: a name in `SCHEDULES` and keyword arguments of its function; or `{_target_:
            torch.optim.lr_scheduler.StepLR, step_size: 5, ...}`, anybody's class, which gets the optimiser first, and
            `total_steps` and `steps_per_epoch`, counted in its interval, where its signature names them.
        total_steps: Optimiser steps of the run.
        steps_per_epoch: Optimiser steps of an epoch.

    Raises:
        ValueError: The name or a key is unknown, or a value is out of its range.
    """
    if config.get(KEY):
        return _foreign(optimizer, config, total_steps, steps_per_epoch)
    if "name" not in config:
        raise ArgumentError("name", f"is not set. Choose one of ({', '.join(SCHEDULES)}).")
    name = choose("name", config["name"], SCHEDULES)
    options = {key: value for key, value in config.items() if key != "name"}
    provided = {"optimizer": optimizer, "total_steps": total_steps, "steps_per_epoch": steps_per_epoch}
    siblings = {key for schedule in SCHEDULES.values() for key in names(schedule)} - set(provided)
    arguments = accept(SCHEDULES[name], options, name=name, provided=provided, siblings=siblings)
    at_least("total_steps", total_steps, 1)
    return SCHEDULES[name](**arguments)


def _foreign(optimizer: Optimizer, config: Mapping[str, Any], total_steps: int, steps_per_epoch: int) -> LRScheduler:
    """Build the user's own schedule."""
    path, target = config[KEY], located(config[KEY])
    by_step = stepping(config)["interval"] == "step"
    length = total_steps if by_step else -(-total_steps // steps_per_epoch)
    first = leading(target, 1)
    provided = {"total_steps": length, "steps_per_epoch": steps_per_epoch, **dict.fromkeys(first)}
    options = options_of(config, target, *OURS)
    provided = {key: value for key, value in provided.items() if key not in options or key in first}
    arguments = accept(target, options, name=str(path), provided=provided)
    schedule = run(path, target, {key: value for key, value in arguments.items() if key not in first}, optimizer)
    if not isinstance(schedule, LRScheduler):
        raise ArgumentError(KEY, f"must build a torch LRScheduler, but {path} gave {type(schedule).__name__}.")
    return schedule


def stepping(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return when a schedule steps, as Lightning takes it: each optimiser step; one of the user's own each `interval`.

    Raises:
        ValueError: The interval is neither step nor epoch.
    """
    if not config.get(KEY):
        return {"interval": "step"}
    interval = choose("interval", config.get("interval", "epoch"), ("step", "epoch"))
    return {"interval": interval, **({"monitor": config["monitor"]} if config.get("monitor") else {})}


def schedule_callbacks(config: Mapping[str, Any]) -> list[Callback]:
    """Return the callbacks that a Trainer needs for the schedule of a config; mostly none.

    Raises:
        ValueError: A value is out of its range.
    """
    if config.get("name") != "lipschitz":
        return []
    accepted = set(names(LipschitzLR)) - {"layer"}
    return [LipschitzLR(**{key: value for key, value in config.items() if key in accepted})]
