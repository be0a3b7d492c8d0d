"""What the running trials have spent so far, read from the store alone: each worker's trials share its time."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from kirigami.search.study.attempts import completed, devices_of, price_of, started
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Worker


class Charge(NamedTuple):
    """What a worker's running trials have spent so far: seconds, on so many devices, at a price an hour."""

    seconds: float
    devices: int
    price: float | None


def charges(ledger: Ledger, now: datetime | None = None) -> list[Charge]:
    """Return the spending of the running trials so far: one entry a worker.

    At each moment a worker's trials share its time equally. What those had that have ended since is theirs, and has
    been counted.
    """
    now = now or ledger.now()
    running = _by_worker(trial for trial in ledger.by_state["running"] if started(trial) is not None)
    begun = {worker: min(_span(trial, now)[0] for trial in trials) for worker, trials in running.items()}
    ended = _by_worker(ledger.stopped_since(min(begun.values(), default=now)))
    entries = []
    for worker, trials in running.items():
        first = min(trials, key=lambda trial: _span(trial, now))
        over = [_span(trial, now) for trial in ended.get(worker, ())]
        seconds = shared([_span(trial, now)[0] for trial in trials], over, now)
        entries.append(Charge(seconds, devices_of(first), price_of(first)))
    return entries


def shared(starts: Sequence[datetime], ended: Sequence[tuple[datetime, datetime]], now: datetime) -> float:
    """Return the seconds that running trials had of their worker, which its trials share equally at each moment.

    Args:
        starts: of the trials that run.
        ended: from when until when others ran.
    """
    events = [(start, 1, 1) for start in starts if start < now]
    for start, stop in ((start, min(stop, now)) for start, stop in ended):
        if start < stop:  # one that ended as it began shares nothing
            events += [(start, 0, 1), (stop, 0, -1)]
    seconds, running, all_running, last = 0.0, 0, 0, now
    for moment, one_more_runs, one_more in [*sorted(events), (now, 0, 0)]:
        if running:
            seconds += (moment - last).total_seconds() * running / all_running
        running, all_running, last = running + one_more_runs, all_running + one_more, moment
    return seconds


def _span(trial: FrozenTrial, now: datetime) -> tuple[datetime, datetime]:
    """Return from when until when a trial ran, by the database's clock."""
    return started(trial) or now, completed(trial) or now


def _by_worker(trials: Iterable[FrozenTrial]) -> dict[Any, list[FrozenTrial]]:
    """Group trials by the process that runs or ran them; an unsigned trial is its own group."""
    groups: dict[Any, list[FrozenTrial]] = {}
    for trial in trials:
        worker = Worker.from_attrs(trial.user_attrs)
        key = trial.number if worker is None else (worker.machine, worker.pid, worker.started)
        groups.setdefault(key, []).append(trial)
    return groups
