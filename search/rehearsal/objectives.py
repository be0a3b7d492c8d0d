"""Checks that the objectives of a study will be measured, and their directions."""

from collections.abc import Mapping

from kirigami import models, tasks
from kirigami.errors import ArgumentError, none_of
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.rehearsal.building import build
from kirigami.spaces.costs import COSTS


def direction(name: str) -> str:
    """Return "maximize" or "minimize" for a metric of a task, or a cost.

    Raises:
        ArgumentError: for any other name, with the nearest one.
    """
    if name in COSTS:
        return COSTS[name].direction
    if name not in tasks.METRICS:
        raise ArgumentError("objective", none_of(name, (*tasks.METRICS, *COSTS)))
    return tasks.direction(name)


def check_objectives(config: TrialConfig, objectives: Mapping[str, str], task: tasks.Task) -> None:
    """Check that the objectives will be there when a trial ends, the first of them at every report.

    Raises:
        InputError: for a metric that the task does not compute.
    """
    if "_target_" in config.network and not isinstance(build(config, task), models.Learner):
        return  # a user's LightningModule logs what it likes
    reported = (*task.metrics, "loss")
    first, *others = objectives
    for name in (first, *others):
        allowed = reported if name == first else (*reported, *COSTS)
        if name not in allowed:
            names = ", ".join(dict.fromkeys(allowed))
            raise InputError(f"objective must be one of ({names}) on this task, but got {name!r}.")
