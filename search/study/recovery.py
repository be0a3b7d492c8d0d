"""Finding trials whose worker is gone, and queueing them again with the same parameters.

A worker signs each trial with its machine, process id and the process' start time. Workers of the same machine notice
its death at once; others, and all workers if it is frozen, notice it by heartbeats that are missing for longer than the
grace time: by the database's clock alone, never by comparing the clocks of two machines. Optuna starts heartbeats only
inside `study.optimize`; with ask and tell we start them here.
"""

import os
import platform
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from kirigami.search.storage import Store
from kirigami.search.storage.optuna_private import storage_of, study_id_of, trial_id_of
from kirigami.search.study.ledger import Ledger, numbered
from kirigami.search.study.record import GivenUp, Result, Retry, Worker, deaths_of, retry_of, write
from kirigami.search.study.states import state_of

RETRIES = 3  # of a study in memory; a store has its own
SOON_S = 1.0  # to the next heartbeat where the last one failed


def signature(clock: float = 0.0) -> Worker:
    """Return what identifies this process: machine (boot and namespace), pid, and when it started.

    Args:
        clock: seconds that the database's clock is ahead of this machine's, kept with it: the times of a trial are its
            worker's, and `time + clock` is the database's.
    """
    pid = os.getpid()
    return Worker(_machine(), pid, _start_time(pid), round(clock, 3))


def join(storage: Store | None) -> None:
    """Make the store sign each trial of this worker, in the transaction that assigns it."""
    if storage is not None and storage.signature is None:
        (storage.signature,) = signature(storage.clock_offset()).to_attrs().items()


def sign(storage: Store | None, trial: optuna.Trial) -> None:
    """Sign a trial that no store has signed."""
    if storage is None or storage.signature is None:
        write(signature(), trial.set_user_attr)


def clock_of(storage: Store | None) -> float:
    """Return the seconds by which the database's clock is ahead of this worker's, as stored with its trials."""
    worker = None if storage is None or storage.signature is None else Worker.from_attrs(dict([storage.signature]))
    return 0.0 if worker is None else worker.clock


def together(storage: Store | None) -> Any:
    """Return a context in which all writes to trials are one transaction, where there is a store."""
    return nullcontext() if storage is None else storage.batch()


def is_gone(worker: Worker | None) -> bool:
    """Return whether a worker ran on this machine and is gone; False where that cannot be known."""
    if worker is None or worker.pid is None or worker.machine != _machine():
        return False
    return _start_time(worker.pid) != worker.started


def take_over(study: Study, storage: Store | None, ledger: Ledger | None = None) -> int:
    """Fail the trials of dead workers and queue them again; return how many were queued.

    Several workers may do so at once: only the one whose write fails the trial queues its retry, and a second retry
    of one trial is handed back as surplus when it is asked.
    """
    ledger = (Ledger() if ledger is None else ledger).read(study)
    running = ledger.by_state["running"]
    stale = set(storage.stale_trials(study_id_of(study))) if running and storage is not None else set()
    dead = [trial for trial in running if trial_id_of(trial) in stale or is_gone(Worker.from_attrs(trial.user_attrs))]
    for trial in dead:
        _fail(study, trial, storage)
    orphans = (ledger.read(study) if dead else ledger).unretried()
    for trial in orphans:
        died = 0 if GivenUp.from_attrs(trial.user_attrs).handed_back else 1
        _queue(study, trial, deaths_of(trial) + died)
    return len(orphans)


def resume(study: Study, paused: FrozenTrial) -> None:
    """Queue a retry of a paused trial, which resumes from its checkpoint.

    If several workers do so at once, all retries but one are handed back as surplus. The trial has reached a rung, so
    earlier deaths no longer count.
    """
    _queue(study, paused, 0)


def paused_attempt(trials: Sequence[FrozenTrial], number: int) -> FrozenTrial | None:
    """Return the last paused attempt before a trial; None for a trial that was never paused.

    Args:
        trials: all of the study.
    """
    trial = numbered(trials, number)
    while (trial := numbered(trials, None if trial is None else retry_of(trial))) is not None:
        if state_of(trial) == "paused":
            return trial
    return None


def _queue(study: Study, trial: FrozenTrial, deaths: int) -> None:
    """Queue a retry with the same parameters."""
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=Retry(trial.number, deaths).to_attrs(),
        )
    )


def hand_back(study: Study, trial: optuna.Trial, storage: Store | None = None, ledger: Ledger | None = None) -> None:
    """Give up a running trial so that it is run again from its parameters."""
    with suppress(UpdateFinishedTrialError), together(storage):  # taken for dead: it is queued again already
        write(GivenUp(handed_back=True), trial.set_user_attr)
        storage_of(study).set_trial_state_values(trial_id_of(trial), state=TrialState.FAIL)
    take_over(study, None, ledger)


def one_look(storage: Store | None) -> Any:
    """Return a context in which the study's trials are read once, and again only after a write."""
    return nullcontext() if storage is None else storage.one_look()


@contextmanager
def heartbeat(storage: Store | None, trial: optuna.Trial) -> Iterator[threading.Event]:
    """Send heartbeats of a trial while the block runs; a store that is away is tried again and again.

    Yields:
        an event that is set when the trial turns out to be closed: its worker was taken for dead.
    """
    done, lost = threading.Event(), threading.Event()
    if storage is None:
        yield lost
        return
    interval = float(storage.heartbeat_s)

    def beat() -> None:
        last = storage.held.get(trial_id_of(trial))  # the store's signature was the first heartbeat
        pause = 0.0 if last is None else last + interval - time.monotonic()
        while not done.wait(max(0.0, pause)):
            pause = interval
            try:
                storage.record_heartbeat(trial_id_of(trial))
            except UpdateFinishedTrialError:
                lost.set()
                return
            except Exception:  # a store that is away: the grace time decides
                pause = min(interval, SOON_S)

    thread = threading.Thread(target=beat, name=f"heartbeat-{trial.number}", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        done.set()
        thread.join()
        storage.held.pop(trial_id_of(trial), None)


def _fail(study: Study, trial: FrozenTrial, storage: Store | None = None) -> None:
    deaths, most = deaths_of(trial), RETRIES if storage is None else storage.retries
    setter = partial(storage_of(study).set_trial_user_attr, trial_id_of(trial))
    with suppress(UpdateFinishedTrialError), together(storage):  # another was first, or it finished after all
        if deaths >= most and not GivenUp.from_attrs(trial.user_attrs).handed_back:
            write(Result("failed", f"its worker died in {deaths + 1} attempts"), setter)
        write(GivenUp(lost_s=_lost_s(trial, storage)), setter)
        storage_of(study).set_trial_state_values(trial_id_of(trial), state=TrialState.FAIL)


def _lost_s(trial: FrozenTrial, storage: Store | None) -> float | None:
    """Return how many seconds a dead worker had run a trial at its last heartbeat; None if unknown."""
    silent = None if storage is None else storage.silent_s.get(trial_id_of(trial))
    if storage is None or silent is None or trial.datetime_start is None:
        return None
    worker = Worker.from_attrs(trial.user_attrs)
    ahead = storage.clock_offset() - (0.0 if worker is None else worker.clock)
    return round(max(0.0, (datetime.now() - trial.datetime_start).total_seconds() + ahead - silent), 3)


def _machine() -> str:
    """Return an id that differs between machines, boots and process namespaces (containers)."""
    parts = [platform.node()]
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.exists():
        parts.append(boot.read_text().strip())
    namespace = Path("/proc/self/ns/pid")
    if namespace.is_symlink():
        parts.append(os.readlink(namespace))
    return "/".join(parts)


def _start_time(pid: int) -> str | None:
    """Return when a process started, in the kernel's ticks; None where it is gone or a zombie."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return "alive"
