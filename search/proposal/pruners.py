"""Pruners by name, built from `pruner:` of the config; the ladder of rungs; Optuna's pruners as judges."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.errors import InputError, one_of
from kirigami.search.proposal.judge import Go, Judge, Report, Stop, Verdict
from kirigami.search.proposal.samplers import construct
from kirigami.search.study.study import metric_names

PRUNERS: dict[str, Callable[..., BasePruner]] = {
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "median": optuna.pruners.MedianPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
    "none": optuna.pruners.NopPruner,
}
HALVING = ("asha", "hyperband")


@dataclass(frozen=True)
class Pruning(Judge):
    """Optuna's pruner as a judge of trials with one objective.

    Attributes:
        pruner: asked at the first report at or past each rung.
        rungs: fidelities; None for every report, empty for none.
    """

    pruner: BasePruner = field(default_factory=NopPruner)
    rungs: tuple[int, ...] | None = None

    def join(self, study: Study) -> None:
        """Make the pruner the study's."""
        study.pruner = self.pruner

    def seen(self, trial: optuna.Trial, report: Report) -> Verdict:
        """Store the objective at a rung, and ask the pruner."""
        if self.rungs is not None and not report.passed(self.rungs):
            return Go()
        (name,) = metric_names(trial.study)
        value = report.value(name)
        trial.report(value, report.fidelity)
        return Stop(f"{name} {value:.4g} at fidelity {report.fidelity}") if trial.should_prune() else Go()

    def recall(self, trial: optuna.Trial, earlier: FrozenTrial, report: Report) -> None:
        """Store the objective again; the pruner is asked too, since it keeps its own notes of rungs."""
        self.seen(trial, report)


def build_pruner(config: Mapping[str, Any], *, fidelities: int, every: int = 1) -> BasePruner:
    """Build the pruner.

    Args:
        config: `name` and the pruner's arguments. `min_resource` and `n_warmup_steps` count validations.
        fidelities: epochs or steps of a full trial; what `max_resource: auto` stands for.
        every: epochs or steps between validations.

    Raises:
        InputError: for an unknown name or argument.
    """
    name, settings = in_fidelities(config, fidelities, every)
    for key, least in (("min_resource", 1), ("reduction_factor", 2)):
        value = settings.get(key, least)
        if value != "auto" and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise InputError(f"pruner.{key} must be a whole number of at least {least}, but got {value!r}.")
    pruner: BasePruner = construct("pruner", PRUNERS[name], settings)
    return pruner


def rungs(config: Mapping[str, Any], fidelities: int, every: int = 1) -> tuple[int, ...]:
    """Return the fidelities at which the pruner is asked, all of them before the end of a full trial.

    A report is a transaction in the store; between rungs it would change nothing, and at the end nothing is left to
    save: a trial trained in full is complete, whatever its value.
    """
    name, settings = in_fidelities(config, fidelities, every)
    if name == "none":
        return ()
    least = first_rung(name, settings)
    if name not in HALVING or not isinstance(least, int):
        return tuple(range(every, fidelities, every))
    return ladder(name, settings, least, fidelities)


def ladder(name: str, settings: Mapping[str, Any], least: int, fidelities: int) -> tuple[int, ...]:
    """Return the rungs of `asha` or `hyperband`, all of them before the end of a full trial.

    Args:
        settings: the pruner's arguments, in epochs or steps.
        least: `min_resource`, as a number.
        fidelities: epochs or steps of a full trial.
    """
    factor, rung, climbed = reduction_factor(name, settings), least, []
    rung *= factor ** settings.get("min_early_stopping_rate", 0)
    while rung < fidelities:
        climbed.append(rung)
        rung *= factor
    return tuple(climbed)


def first_rung(name: str, settings: Mapping[str, Any]) -> int | str:
    """Return `min_resource`, a number or `auto`; where it is left out, as Optuna has it."""
    least: int | str = settings.get("min_resource", "auto" if name == "asha" else 1)
    return least


def reduction_factor(name: str, settings: Mapping[str, Any]) -> int:
    """Return `reduction_factor`; where it is left out, as Optuna has it."""
    return int(settings.get("reduction_factor", 4 if name == "asha" else 3))


def in_fidelities(config: Mapping[str, Any], fidelities: int, every: int) -> tuple[str, dict[str, Any]]:
    """Return the pruner's name and arguments, validations turned into epochs or steps."""
    settings = dict(config)
    name = settings.pop("name", None)
    if name not in PRUNERS:
        raise one_of("pruner.name", name, PRUNERS)
    for key in ("min_resource", "n_warmup_steps"):
        if isinstance(settings.get(key), int):
            settings[key] *= every
    others = {key for other in PRUNERS.values() for key in inspect.signature(other).parameters}
    own = inspect.signature(PRUNERS[name]).parameters
    settings = {key: value for key, value in settings.items() if key in own or key not in others}
    if settings.get("max_resource") == "auto":
        settings["max_resource"] = fidelities
    return str(name), settings
