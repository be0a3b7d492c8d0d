"""One trial as its runner sees it: what to run, where to report, how it may end.

A runner turns a config into a stream of (fidelity, metrics) reports. It may train a network, look a value up in a
table or compute a formula: the loop, the samplers and the pruners cannot tell.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Protocol

from kirigami.search.errors import masked

Metrics = Mapping[str, float]

TAKEN = "another worker took this one for dead"


class Stopped(Exception):
    """Raised by `Job.report` to end a trial early; the loop turns it into an outcome."""


class Pruned(Stopped):
    """The pruner, the budget or a value that is no number ended the trial; the reason is its text."""


class Paused(Stopped):
    """The judge pauses the trial: it keeps its checkpoint and resumes when the judge decides so."""


class Interrupted(Stopped):
    """The user or the system asked the worker to stop; the trial will be run again."""


class Trained(Protocol):
    """The trained network of a trial (`kirigami.search.training.building.Assembly`)."""

    def save(self, path: Path) -> None:
        """Write the network to a file.

        Raises:
            OSError: where it cannot be written.
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, why, and its trained network.

    Attributes:
        state: complete, pruned, failed, paused, or infeasible (over the budget, and not trained for that reason).
        trained: the trained network; None where no training was completed.
    """

    state: str
    metrics: Metrics = field(default_factory=dict)
    reason: str | None = None
    trained: Trained | None = None


class Checkpoints(Protocol):
    """Stores the checkpoints of a trial, and reads those of its earlier attempts.

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
        """Take over the reports of an earlier attempt, of this trial number, up to its checkpoint."""
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


def not_a_number(metrics: Metrics) -> str | None:
    """Return the name of the first metric that is NaN or infinite."""
    return next((name for name, value in metrics.items() if not isfinite(value)), None)


def log_line(line: str) -> None:
    """Write a line into the worker's log."""
    print(masked(line), file=sys.stderr, flush=True)
