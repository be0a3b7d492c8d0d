"""The contract between the loop and a runner: a job goes in, reports stream out, an outcome comes back.

A runner turns a config into a stream of (fidelity, metrics) reports. It may train a network, look a value up in a
table or compute a formula: the loop, the samplers and the pruners cannot tell.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from kirigami.search.errors import StudyStopped

Metrics = Mapping[str, float]


class Stopped(Exception):
    """Raised by `Job.report` to end a trial early; the loop knows what it means."""


class Pruned(Stopped):
    """The pruner, the budget or a value that is no number ended the trial; the reason is its text."""


class Interrupted(Stopped):
    """The user or the system asked the worker to stop; the trial will be run again."""


@dataclass(frozen=True)
class Outcome:
    """What a trial came to, why, and how to keep what it made where that is worth it.

    Attributes:
        state: complete, pruned, failed, or infeasible (over the budget, and not trained for that reason).
    """

    state: str
    metrics: Metrics = field(default_factory=dict)
    reason: str | None = None
    save: Callable[[Path], None] | None = None


class Checkpoints(Protocol):
    """Keeps what a trial needs to go on should its worker die, and finds what a dead one left.

    Attributes:
        every_s: seconds between two of them, at least; 0 asks for one at every validation.
    """

    every_s: float

    def put(self, fidelity: int, data: bytes) -> bool:
        """Keep the state at a fidelity; return whether that went well, and raise `Stopped` where the trial ends."""
        ...

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (number of the trial, fidelity, state) of earlier attempts, the last one first."""
        ...

    def drop(self) -> None:
        """Forget all of them: the trial has ended."""
        ...


@dataclass
class Job:
    """One trial to run: its number, its resolved config, and where to report.

    Attributes:
        curve: every (fidelity, metrics) reported, whether or not the pruner was asked.
        details: what the runner wants stored with the trial (seconds, sizes, where an error was raised).
        on_step: called in every step; raises `Pruned` where the study's budget is met.
        checkpoints: of this trial; None keeps none.
        on_recall: called instead of `on_report` for what an earlier attempt had reported, with that attempt's number;
            it never ends the trial.
        spent_s: seconds of training that went into the checkpoint from which the trial goes on.
    """

    number: int
    config: Mapping[str, Any]
    on_report: Callable[[int, Metrics], None]
    stop_requested: Callable[[], bool] = lambda: False
    curve: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    on_step: Callable[[], None] = lambda: None
    checkpoints: Checkpoints | None = None
    on_recall: Callable[[int, int, Metrics], None] = lambda attempt, fidelity, metrics: None
    spent_s: float = 0.0

    def recall(self, attempt: int, curve: Iterable[tuple[int, Metrics]]) -> None:
        """Take over what an earlier attempt, of this trial number, had reported up to its checkpoint."""
        for fidelity, metrics in curve:
            self.curve.append((fidelity, dict(metrics)))
            self.on_recall(attempt, fidelity, metrics)

    def report(self, fidelity: int, metrics: Metrics) -> None:
        """Record the metrics reached at a fidelity (epochs or steps, counted from 1).

        Raises:
            Stopped: where the trial has to end here.
        """
        self.curve.append((fidelity, {name: float(value) for name, value in metrics.items()}))
        self.check_interrupt()
        self.on_report(fidelity, metrics)

    def check_interrupt(self) -> None:
        """Raise `Stopped` where the worker has been asked to stop or a budget is met; cheap enough for every step."""
        if self.stop_requested():
            raise Interrupted("stopped by the user")
        self.on_step()


class Runner(Protocol):
    """Runs a batch of jobs; `batch` is how many it wants at once (one, unless it trains many in one step)."""

    batch: int

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run the jobs and return their outcomes in order; exceptions of one job become its outcome."""
        ...


@dataclass
class Solo:
    """Makes a runner of a function that runs one job: what it raises becomes the outcome."""

    run: Callable[[Job], Outcome]
    batch: int = 1

    def __call__(self, jobs: Sequence[Job]) -> list[Outcome]:
        return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> Outcome:
        try:
            return self.run(job)
        except (Interrupted, StudyStopped):  # no fault of the trial: it is run again
            raise
        except Pruned as reason:
            metrics = job.curve[-1][1] if job.curve else {}
            return Outcome("pruned", metrics, str(reason))
        except Exception as error:  # failure is data: whatever the user's network raises is recorded and told
            traceback.print_exception(error)  # into the worker's log
            frames = traceback.extract_tb(error.__traceback__)
            job.details["raised_at"] = f"{frames[-1].filename}:{frames[-1].lineno}"
            return Outcome("failed", reason=f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")


def surrogate(evaluate: Callable[[Mapping[str, Any]], Iterable[tuple[int, float | Metrics]]], metric: str) -> Solo:
    """Make a runner of a function that yields (fidelity, value) pairs; the last one is the trial's value."""

    def run(job: Job) -> Outcome:
        metrics: dict[str, float] = {}
        for fidelity, value in evaluate(job.config):
            metrics = dict(value) if isinstance(value, Mapping) else {metric: float(value)}
            job.report(fidelity, metrics)
        return Outcome("complete", metrics)

    return Solo(run)


def not_a_number(metrics: Metrics) -> str | None:
    """Return the name of the first metric that is NaN or infinite."""
    return next((name for name, value in metrics.items() if not isfinite(value)), None)
