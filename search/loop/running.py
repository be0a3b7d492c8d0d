"""A running trial of this worker, until it is closed or handed back: its heartbeat, its reports, its share."""

import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial

from kirigami.search.loop.shares import Shares
from kirigami.search.proposal.judge import Go, Judge, Pause, Report, Stop, Verdict
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import result_of
from kirigami.search.training.job import TAKEN, Job, Metrics, Paused, Pruned, not_a_number
from kirigami.spaces.costs import known_before


@dataclass(eq=False)
class Running:
    """A trial of this worker.

    Attributes:
        lost: set when another worker took this one for dead and closed the trial.
        heart: sends heartbeats until it is closed.
        limits: of the budget on a network's costs.
        met: returns the budget of seconds or money that is met; None before that.
        paused: the attempt that was paused, if this one resumes it; its reports are not judged again.
        reached: fidelity of the last report.
        job: passed to the runner.
    """

    trial: optuna.Trial
    lost: threading.Event
    heart: ExitStack
    judge: Judge
    ledger: Ledger
    shares: Shares
    limits: Mapping[str, float]
    met: Callable[[], str | None]
    paused: FrozenTrial | None = None
    reached: int = 0
    job: Job = field(init=False)

    @property
    def number(self) -> int:
        return self.trial.number

    def on_report(self, fidelity: int, metrics: Metrics) -> None:
        """Ask the judge about a report.

        Raises:
            Stopped: where the trial ends or pauses here.
        """
        if self.lost.is_set():
            raise Pruned(TAKEN)
        wrong = not_a_number(metrics)
        if wrong is not None:
            raise Pruned(f"{wrong} is {metrics[wrong]} at fidelity {fidelity}")
        report = self._report(fidelity, metrics)
        try:
            verdict = self._verdict(report)
        except UpdateFinishedTrialError:
            raise Pruned(TAKEN) from None
        if isinstance(verdict, Stop):
            raise Pruned(verdict.reason)
        if isinstance(verdict, Pause):
            raise Paused(f"at fidelity {fidelity}")

    def on_step(self) -> None:
        """Check the clock and the energy counters.

        Raises:
            Pruned: where a budget of seconds or money is met.
        """
        self.shares.meter.check()
        if (met := self.met()) is not None:
            raise Pruned(f"{met} was met at fidelity {self.job.curve[-1][0] if self.job.curve else 0}")

    def on_recall(self, attempt: int, fidelity: int, metrics: Metrics) -> None:
        """Store a report of an earlier attempt again; it passed its rungs, so it is not judged again."""
        earlier = self.trial.study.get_trials(deepcopy=False)[attempt]
        report = self._report(fidelity, metrics)
        with suppress(UpdateFinishedTrialError):  # taken for dead: the next report notices that
            self.judge.recall(self.trial, earlier, report)

    def _verdict(self, report: Report) -> Verdict:
        if self.paused is None or report.fidelity > _end(self.paused):
            return self.judge.seen(self.trial, report, self.ledger)
        self.judge.recall(self.trial, self.paused, report)
        return Go()

    def _report(self, fidelity: int, metrics: Metrics) -> Report:
        before, self.reached = self.reached, fidelity
        details = self.job.details
        costs = at_rung(metrics, details, self.job.spent_s + self.shares.of(self.number).seconds)
        over = 0.0 if details.get("shrinks") else excess(costs, self.limits)
        return Report(before, fidelity, costs, over)


def at_rung(metrics: Mapping[str, float], details: Mapping[str, Any], seconds: float) -> dict[str, float]:
    """Return the metrics of a report with the costs known so far.

    These are the costs that `kirigami.spaces.costs` marks as known before training, and the `seconds` since the trial
    began. A value in the report takes precedence.
    """
    costs_known = {name: float(value) for name, value in known_before(details).items()}
    return {
        **metrics,
        **{name: cost for name, cost in {"seconds": seconds, **costs_known}.items() if name not in metrics},
    }


def excess(costs: Mapping[str, float], limits: Mapping[str, float]) -> float:
    """Return the sum of the relative excesses of the costs over their limits."""
    return sum(max(0.0, costs[name] / limit - 1) for name, limit in limits.items() if name in costs)


def _end(attempt: FrozenTrial) -> int:
    """Return the fidelity that an attempt had reached."""
    curve = result_of(attempt).curve
    return curve[-1][0] if curve else 0
