"""The contract between the loop and the runner of its trials: jobs are taken as slots come free, outcomes stream out.

A runner asks for a job whenever it has room, and yields each outcome as soon as that trial ends: the sampler learns of
it at once, and its slot is filled again. What has been taken and not been yielded is what runs.
"""

import traceback
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from kirigami.search.errors import StudyStopped, masked
from kirigami.search.training.job import Interrupted, Job, Metrics, Outcome, Paused, Pruned


class NextJob(Protocol):
    """Hands the next job to a runner with room for it; None where there is none just now."""

    def __call__(self, signature: Hashable = None) -> Job | None:
        """Return a job to begin.

        Args:
            signature: only a trial of this signature fits; None takes any.
        """
        ...


class Runner(Protocol):
    """Runs jobs.

    Attributes:
        slots: how many it runs at once.
    """

    slots: int

    def signature(self, config: Mapping[str, Any]) -> Hashable:
        """Return the key that trials run together must share; None if any may."""
        ...

    def run(self, next_job: NextJob) -> Iterator[tuple[Job, Outcome]]:
        """Run the jobs of `next_job` until it has none and nothing runs; yield each outcome as its trial ends.

        `next_job` may be asked again and again while others run; before the end it is asked for any signature.

        Raises:
            Interrupted: at once, where one of the jobs does: the loop hands back all that run.
        """
        ...


@dataclass
class Solo:
    """Turns a function that runs one job into a runner: an exception becomes the outcome."""

    function: Callable[[Job], Outcome]
    slots: int = 1

    def signature(self, config: Mapping[str, Any]) -> Hashable:
        """Return None: each trial runs alone."""
        return None

    def run(self, next_job: NextJob) -> Iterator[tuple[Job, Outcome]]:
        """Run one job after the other."""
        while (job := next_job()) is not None:
            yield job, self.outcome(job)

    def outcome(self, job: Job) -> Outcome:
        """Run one job."""
        with _ending(job) as ends:
            ends.append(self.function(job))
        return ends[-1]


Steps = Generator[None, None, Outcome]


@dataclass
class Slots:
    """Runs several trials side by side in one thread, a step of each in turn.

    Args:
        steps: makes a generator of a job, which yields between its steps and returns the outcome; what it raises
            becomes the outcome.
        slots: how many run at once.
        signed: returns what the configs of trials have to share to run together; None lets all run together.
    """

    steps: Callable[[Job], Steps]
    slots: int = 1
    signed: Callable[[Mapping[str, Any]], Hashable] | None = None

    def signature(self, config: Mapping[str, Any]) -> Hashable:
        """Return the key that trials run together must share."""
        return None if self.signed is None else self.signed(config)

    def run(self, next_job: NextJob) -> Iterator[tuple[Job, Outcome]]:
        """Keep the slots filled and advance each of them by a step, again and again."""
        aboard: dict[int, tuple[Job, Steps]] = {}
        while True:
            while len(aboard) < self.slots:
                shared = next((self.signature(job.config) for job, _ in aboard.values()), None)
                if (job := next_job(shared)) is None:
                    break
                aboard[job.number] = job, self.steps(job)
            if not aboard:
                return
            for number, (job, steps) in list(aboard.items()):
                outcome = _advanced(job, steps)
                if outcome is not None:
                    del aboard[number]
                    yield job, outcome


def surrogate(
    evaluate: Callable[[Mapping[str, Any]], Iterable[tuple[int, float | Metrics]]], metric: str, slots: int = 1
) -> Slots:
    """Make a runner of a function that yields (fidelity, value) pairs; the last one is the trial's value."""

    def steps(job: Job) -> Steps:
        metrics: dict[str, float] = {}
        for fidelity, value in evaluate(job.config):
            metrics = dict(value) if isinstance(value, Mapping) else {metric: float(value)}
            job.report(fidelity, metrics)
            yield
        return Outcome("complete", metrics)

    return Slots(steps, slots)


def _advanced(job: Job, steps: Steps) -> Outcome | None:
    """Run a trial up to its next step; return its outcome where it has ended."""
    with _ending(job) as ends:
        try:
            next(steps)
        except StopIteration as end:
            ends.append(end.value)
    return ends[-1] if ends else None


@contextmanager
def _ending(job: Job) -> Iterator[list[Outcome]]:
    """Turn an exception in the block into the outcome of the job, the last of the list."""
    ends: list[Outcome] = []
    try:
        yield ends
    except (Interrupted, StudyStopped):  # no fault of the trial: it is run again
        raise
    except Pruned as reason:
        ends.append(Outcome("pruned", _last(job), str(reason)))
    except Paused:
        ends.append(Outcome("paused", _last(job)))
    except Exception as error:  # failure is data: whatever the user's network raises is recorded and told
        traceback.print_exception(error)  # into the worker's log
        frames = traceback.extract_tb(error.__traceback__)
        job.details["raised_at"] = f"{frames[-1].filename}:{frames[-1].lineno}"
        ends.append(Outcome("failed", reason=masked(f"{type(error).__name__}: {' '.join(str(error).split())}")[:500]))


def _last(job: Job) -> Metrics:
    return job.curve[-1][1] if job.curve else {}
