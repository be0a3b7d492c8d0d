"""Train every arm under every seed, one run at a time: what `compare` and `confirm` have in common."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kirigami.search.comparing.record import Arm, Key, Record, Run
from kirigami.search.errors import InputError, StudyStopped
from kirigami.search.training.job import Interrupted, Job, Outcome

Train = Callable[[Job], Outcome]
FIRST_SEED = 1000  # beyond the study's own seed: repeats are not the runs that the search selected by


def seeds_after(seed: int, repeats: int) -> list[int]:
    """Return the seeds of so many repeats, none of which is the study's."""
    return [seed + FIRST_SEED + index for index in range(repeats)]


def run_all(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    record: Record,
    train: Train,
    *,
    metric: str,
    console: Console,
    keep: Callable[[Arm, int, Outcome], None] | None = None,
) -> dict[Key, Run]:
    """Run what the record has not got yet, seed by seed; return all runs of these arms by identity and seed.

    What failed is tried again when the command is given again: the machine may have been at fault. Repeats begin with
    each arm in turn, so that none of them is always the one that warms the machine up.

    Args:
        keep: told of every complete run before it is recorded.

    Raises:
        Interrupted: where the user asked to stop; what was finished is in the record.
        InputError: where complete runs do not report the metric.
        StudyStopped: where every arm fails under the first seed.
    """
    done = record.runs()
    wanted = [(arm, seed) for index, seed in enumerate(seeds) for arm in _rotated(arms, index)]
    left = [(arm, seed) for arm, seed in wanted if not _is_complete(done.get((arm.identity, seed)))]
    if len(left) < len(wanted):
        console.print(f"resuming: {len(wanted) - len(left)} of {len(wanted)} runs are done", highlight=False)
    with _progress(console) as progress, stop_on_interrupt() as stopping:
        task = progress.add_task("", total=len(wanted), completed=len(wanted) - len(left))
        for number, (arm, seed) in enumerate(left):
            progress.update(task, description=f"{arm.label}, seed {seed}")
            run, outcome = attempt(arm, seed, number, train, stopping)
            if keep is not None and run.state == "complete":
                keep(arm, seed, outcome)
            record.append(run)
            done[arm.identity, seed] = run
            _check(run, metric, arms, [done.get((each.identity, seeds[0])) for each in arms])
            progress.advance(task)
            if not console.is_terminal:
                console.print(_line(run, metric), highlight=False, markup=False)
    return {(arm.identity, seed): done[arm.identity, seed] for arm, seed in wanted}


def attempt(arm: Arm, seed: int, number: int, train: Train, stopping: Callable[[], bool]) -> tuple[Run, Outcome]:
    """Run one arm under one seed; an exception becomes the run's reason, since a failure is a result too.

    Raises:
        Interrupted: where the user asked to stop.
    """
    job = Job(number, {**arm.config, "seed": seed}, lambda fidelity, metrics: None, stopping)
    job.check_interrupt()
    began = time.perf_counter()
    try:
        outcome = train(job)
    except Interrupted:
        raise
    except Exception as error:  # a repeat that fails counts against its arm
        outcome = Outcome("failed", reason=f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
    seconds = float(job.details.get("fit_s", time.perf_counter() - began))
    metrics = {name: float(value) if abs(value) < float("inf") else None for name, value in outcome.metrics.items()}
    state = "complete" if outcome.state == "complete" else "failed"
    return Run(arm.identity, seed, arm.label, state, metrics, round(seconds, 4), outcome.reason), outcome


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a clean stop, which the yielded function tells of; a second one ends at once."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping.is_set
        return

    def on_signal(_number: int, _frame: Any) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    before = signal.signal(signal.SIGINT, on_signal)
    try:
        yield stopping.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _is_complete(run: Run | None) -> bool:
    return run is not None and run.state == "complete"


def _rotated(arms: Sequence[Arm], index: int) -> list[Arm]:
    turn = index % len(arms)
    return [*arms[turn:], *arms[:turn]]


def _check(run: Run, metric: str, arms: Sequence[Arm], first: Sequence[Run | None]) -> None:
    if run.state == "complete" and metric not in run.metrics:
        raise InputError(f"metric must be one of ({', '.join(run.metrics)}), but got {metric!r}.")
    if all(run_of_arm is not None and run_of_arm.state == "failed" for run_of_arm in first):
        raise StudyStopped(f"all of {len(arms)} runs under the first seed failed; the last one with {run.reason}")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _line(run: Run, metric: str) -> str:
    value = f"{metric} {run.value(metric):.4f}" if run.state == "complete" else f"failed: {run.reason}"
    return f"seed {run.seed}  {run.arm:<12} {value}  {run.fit_s:.2f} s"
