"""Pruners by name, built from `pruner:` of the config; the ladder of rungs; Optuna's pruners as judges."""

from collections.abc import Callable
from dataclasses import dataclass, field

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.config.pruner import Asha, Hyperband, Pruner, Unpruned
from kirigami.search.proposal.judge import Go, Judge, Report, Stop, Verdict
from kirigami.search.proposal.samplers import construct
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import metric_names

PRUNERS: dict[str, Callable[..., BasePruner]] = {
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
    "median": optuna.pruners.MedianPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
    "none": optuna.pruners.NopPruner,
}


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

    def seen(self, trial: optuna.Trial, report: Report, ledger: Ledger) -> Verdict:
        """Store the objective at a rung, and ask the pruner."""
        return self._ask(trial, report)

    def recall(self, trial: optuna.Trial, earlier: FrozenTrial, report: Report) -> None:
        """Store the objective again; the pruner is asked too, since it keeps its own notes of rungs."""
        self._ask(trial, report)

    def _ask(self, trial: optuna.Trial, report: Report) -> Verdict:
        if self.rungs is not None and not report.passed(self.rungs):
            return Go()
        (name,) = metric_names(trial.study)
        value = report.value(name)
        trial.report(value, report.fidelity)
        return Stop(f"{name} {value:.4g} at fidelity {report.fidelity}") if trial.should_prune() else Go()


def build_pruner(settings: Pruner, *, fidelities: int, every: int = 1) -> BasePruner:
    """Build the pruner.

    Args:
        fidelities: epochs or steps of a full trial.
        every: epochs or steps between validations.

    Raises:
        InputError: for what Optuna refuses.
    """
    pruner: BasePruner = construct("pruner", PRUNERS[settings.name], settings.arguments(fidelities, every))
    return pruner


def rungs(settings: Pruner, fidelities: int, every: int = 1) -> tuple[int, ...]:
    """Return the fidelities at which the pruner is asked, all of them before the end of a full trial.

    A report is a transaction in the store; between rungs it would change nothing, and at the end nothing is left to
    save: a trial trained in full is complete, whatever its value.
    """
    if isinstance(settings, Unpruned):
        return ()
    if not isinstance(settings, Asha | Hyperband) or settings.min_resource == "auto":
        return tuple(range(every, fidelities, every))
    return settings.ladder(settings.min_resource * every, fidelities)
