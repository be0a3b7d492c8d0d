"""The contract of a judge: of each running trial it says go, stop or pause, and which paused one goes on.

What a trial shows at a rung is written to the store as it is reached, so every worker's judge sees all trials.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import optuna
from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.study.ledger import Ledger


@dataclass(frozen=True)
class Go:
    """The trial goes on."""


@dataclass(frozen=True)
class Stop:
    """The trial ends here for good: it is pruned."""

    reason: str


@dataclass(frozen=True)
class Pause:
    """The trial rests here, with its checkpoint, until `Judge.resume` names it."""


Verdict = Go | Stop | Pause


@dataclass(frozen=True)
class Report:
    """What a trial shows at a fidelity.

    Attributes:
        before: fidelity of the report before this one, 0 for the first.
        fidelity: epochs or steps, counted from 1.
        metrics: as reported, with the costs known by then.
        over: by what share the trial is over the budget's limits, summed over them; 0 for one within.
    """

    before: int
    fidelity: int
    metrics: Mapping[str, float]
    over: float = 0.0

    def passed(self, rungs: Sequence[int]) -> list[int]:
        """Return the rungs after the report before and up to this one."""
        return [rung for rung in rungs if self.before < rung <= self.fidelity]

    def value(self, name: str) -> float:
        """Return an objective's value.

        Raises:
            KeyError: where the report lacks it.
        """
        return objective_value(self.metrics, name)


class Judge(ABC):
    """Says of each running trial whether it goes on, and of the paused ones which goes on next."""

    def join(self, study: Study) -> None:
        """Take a study; Optuna's samplers look at its pruner, whose brackets decide what they see."""
        study.pruner = optuna.pruners.NopPruner()

    @abstractmethod
    def seen(self, trial: optuna.Trial, report: Report, ledger: Ledger) -> Verdict:
        """Return what becomes of a trial that has just reported; store what others are to see of it.

        Args:
            ledger: the study as this worker last read it.

        Raises:
            UpdateFinishedTrialError: where another worker took the trial for dead and closed it.
            KeyError: where an objective is missing at a rung.
        """

    @abstractmethod
    def recall(self, trial: optuna.Trial, earlier: FrozenTrial, report: Report) -> None:
        """Store again, with a trial that goes on, what an earlier attempt showed; there it was let go on."""

    def resume(self, ledger: Ledger, new_left: bool) -> int | None:
        """Return the number of the paused trial that goes on now that a slot is free; None where none should.

        By default paused trials wait until the budget has no new trial left, and go on in the order of their numbers.
        Where the budget has none left, nothing runs and no trial is named, the first goes on all the same.

        Args:
            ledger: the study, just read; at least one trial is in `ledger.paused()`.
            new_left: whether the budget has a new trial left.
        """
        return None if new_left else ledger.paused()[0].number


class TrainAll(Judge):
    """Lets every trial train in full."""

    def seen(self, trial: optuna.Trial, report: Report, ledger: Ledger) -> Verdict:
        """Return go."""
        return Go()

    def recall(self, trial: optuna.Trial, earlier: FrozenTrial, report: Report) -> None:
        """Store nothing."""


def objective_value(metrics: Mapping[str, float], name: str) -> float:
    """Return an objective's value.

    Raises:
        KeyError: where the metrics lack it.
    """
    if name not in metrics:
        raise KeyError(f"objective {name!r} is not among the reported metrics ({', '.join(metrics)})")
    return float(metrics[name])
