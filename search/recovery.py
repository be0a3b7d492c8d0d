"""Finding trials whose worker is gone, and queueing them again with the same parameters.

A worker signs each trial with its machine, process id and the process' start time. On the same machine its death is
seen at once; elsewhere it shows by heartbeats that stay away longer than the grace time. Optuna starts heartbeats only
inside `study.optimize`; with ask and tell we start them here. That needs private names of Optuna (the ids of study and
trial, the storage behind a study, the query for stale trials): they are in this file alone, and a contract test holds
them.
"""

import os
import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from search.ledger import Ledger

RETRIES = 3

warnings.filterwarnings("ignore", message=".*[Hh]eartbeat.*")


def signature() -> dict[str, Any]:
    """Return what identifies this process: machine (boot and namespace), pid, and when it started."""
    return {"machine": _machine(), "pid": os.getpid(), "started": _start_time(os.getpid())}


def is_gone(worker: dict[str, Any] | None) -> bool:
    """Return whether a signed worker ran on this machine and is no more; False where that cannot be known."""
    if not worker or worker.get("machine") != _machine():
        return False
    return _start_time(int(worker["pid"])) != worker.get("started")


def take_over(study: Study, storage: RDBStorage | None) -> int:
    """Fail the trials of dead workers and queue them again; return how many were queued.

    Several workers may do so at once: only the one whose write fails the trial queues its retry, and a second retry
    of one trial is handed back as surplus when it is asked.
    """
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    stale = _stale_ids(study, storage) if running and storage is not None else set()
    for trial in running:
        if is_gone(trial.user_attrs.get("worker")) or trial._trial_id in stale or _never_began(trial, storage):
            _fail(study, trial)
    orphans = Ledger(study.get_trials(deepcopy=False)).unretried()
    for trial in orphans:
        died = 0 if "handed_back" in trial.user_attrs else 1
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={"retry_of": trial.number, "retries": int(trial.user_attrs.get("retries", 0)) + died},
            )
        )
    return len(orphans)


def hand_back(study: Study, trial: optuna.Trial) -> None:
    """Give up a running trial so that it is run again from its parameters."""
    with suppress(optuna.exceptions.UpdateFinishedTrialError):  # taken for dead: it is queued again already
        trial.set_user_attr("handed_back", True)
    _fail(study, study._storage.get_trial(trial._trial_id))
    take_over(study, None)


@contextmanager
def heartbeat(storage: RDBStorage | None, trial: optuna.Trial) -> Iterator[None]:
    """Send heartbeats of a trial while the block runs; a store that is away for a while is tried again."""
    if storage is None:
        yield
        return
    done = threading.Event()
    interval = storage.get_heartbeat_interval() or 10

    def beat() -> None:
        while True:
            with suppress(Exception):  # a store that is away: the next beat tries again, the grace time decides
                storage.record_heartbeat(trial._trial_id)
            if done.wait(interval):
                return

    thread = threading.Thread(target=beat, name=f"heartbeat-{trial.number}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _fail(study: Study, trial: FrozenTrial) -> None:
    storage, retries = study._storage, int(trial.user_attrs.get("retries", 0))
    try:
        if retries >= RETRIES and "handed_back" not in trial.user_attrs:
            reason = f"its worker died in {retries + 1} attempts"
            storage.set_trial_user_attr(trial._trial_id, "outcome", {"state": "failed", "reason": reason})
        storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        pass  # another worker was first, or it finished after all


def _stale_ids(study: Study, storage: RDBStorage) -> set[int]:
    return set(storage._get_stale_trial_ids(study._study_id))


def _never_began(trial: FrozenTrial, storage: RDBStorage | None) -> bool:
    """A worker killed between asking and signing leaves a trial without signature or heartbeat."""
    if storage is None or "worker" in trial.user_attrs or trial.datetime_start is None:
        return False
    grace = storage.grace_period or 2 * (storage.get_heartbeat_interval() or 10)
    return datetime.now() - trial.datetime_start > timedelta(seconds=grace)


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
