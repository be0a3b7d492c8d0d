"""The contract of a judge: it answers each report with go, stop or pause, and names the paused trial to resume.

The values of a trial at a rung are stored as it reaches the rung, so every worker's judge sees all trials.
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
    """The trial pauses here, with its checkpoint, until `Judge.resume` names it."""


Verdict = Go | Stop | Pause


@dataclass(frozen=True)
class Report:
    """The metrics of a trial at a fidelity.

    Attributes:
        before: fidelity of the report before this one, 0 for the first.
        fidelity: epochs or steps, counted from 1.
        metrics: as reported, with the costs known so far.
        over: sum of the relative excesses over the budget's limits; 0 within them.
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
    """Decides whether each running trial goes on, and which paused trial resumes next."""

    def join(self, study: Study) -> None:
        """Join a study; Optuna's samplers read its pruner, whose brackets filter the trials they see."""
        study.pruner = optuna.pruners.NopPruner()

    @abstractmethod
    def seen(self, trial: optuna.Trial, report: Report, ledger: Ledger) -> Verdict:
        """Return the verdict on a trial that has just reported; store what other workers need to know.

        Args:
            ledger: the study as this worker last read it.

        Raises:
            UpdateFinishedTrialError: where another worker took the trial for dead and closed it.
            KeyError: where an objective is missing at a rung.
        """

    @abstractmethod
    def recall(self, trial: optuna.Trial, earlier: FrozenTrial, report: Report) -> None:
        """Store a report of an earlier attempt with the trial that resumes it; that attempt was let go on."""

    def resume(self, ledger: Ledger, new_left: bool) -> int | None:
        """Return the number of the paused trial to resume now that a slot is free; None for no one.

        By default paused trials wait until the budget has no new trial left, and resume in the order of their numbers.
        If the budget has none left, nothing runs and no trial is named, the first one is resumed anyway.

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
