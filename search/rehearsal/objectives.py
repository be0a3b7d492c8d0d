"""Checks that the objectives of a study will be measured, and their directions."""

from collections.abc import Mapping

from kirigami import models, tasks
from kirigami.errors import ArgumentError, at, none_of
from kirigami.search.config.objective import directed
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.rehearsal.building import build
from kirigami.spaces.costs import COSTS


def directions(config: TrialConfig, objectives: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return objective -> "maximize" or "minimize", as the metric has it where the config does not say.

    Args:
        config: whose objectives and own metrics are meant.
        objectives: others than those of the config.

    Raises:
        ArgumentError: for a name of no metric and no cost, with the nearest one.
    """
    return directed(config.objective if objectives is None else objectives, lambda name: _direction(name, config))


def _direction(name: str, config: TrialConfig) -> str:
    if name in COSTS:
        return COSTS[name].direction
    if name in config.metrics:
        with at(f"metrics.{name}"):
            return tasks.metrics.directed(config.metrics[name])
    if name not in tasks.METRICS:
        raise ArgumentError("objective", none_of(name, (*tasks.METRICS, *config.metrics, *COSTS)))
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
            advice = f"Set objective={task.default_metric}."
            raise InputError(f"objective must be one of ({names}) on this task, but got {name!r}. {advice}")
