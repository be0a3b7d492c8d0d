"""Strikes a study's workers and its database: kills, freezes and restarts, spread by a seed over its progress."""

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.rig import judge
from benchmarks.rig.database import Database

AHEAD = 3
Away = tuple[int, float]  # the signal that ends the database, and the seconds it stays away


def plan(seed: int, trials: int, kills: int, stops: int, restarts: Sequence[Away]) -> list[tuple[int, Any]]:
    """Return (finished trials, fault) in order; the restarts lie in the middle, so that enough comes after them."""
    dice = random.Random(seed)
    last = max(1, trials - 10) if trials > 40 else trials * 2 // 3
    faults: list[tuple[int, Any]] = [(dice.randint(1, last), kind) for kind in ["kill"] * kills + ["stop"] * stops]
    faults += [(round(trials * (place + 1) / (len(restarts) + 2)), away) for place, away in enumerate(restarts)]
    return sorted(faults, key=lambda fault: fault[0])


@dataclass
class Storm:
    """Carries out a plan while the study goes on.

    Attributes:
        frozen_s: seconds for which a worker is stopped; more than the grace time, or nobody notices.
        ours: whether a process is one of the study's workers: nothing else may ever be struck.
        hold: a file that is there while the study is ahead of the plan; trials may wait for it to go, since a worker
            takes longer to start than a quick trial to end.
    """

    database: Database
    faults: list[tuple[int, Any]]
    seed: int
    frozen_s: float
    ours: Callable[[int], bool]
    hold: Path | None = None
    done: dict[str, int] = field(default_factory=lambda: {"kills": 0, "stops": 0, "restarts": 0, "held": 0})
    frozen: dict[int, float] = field(default_factory=dict)
    away_s: float = 0.0
    connection: psycopg.Connection | None = None

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def step(self) -> int:
        """Wake who has been frozen long enough, do at most one fault that is due; return the trials finished."""
        self.wake(time.monotonic())
        try:
            connection = self._connected()
            finished = judge.finished(connection)
            if self.faults and self.faults[0][0] <= finished and self._strike(self.faults[0][1], connection):
                self.faults.pop(0)
        except psycopg.Error:
            self.connection = None  # the database was not up again yet
            return 0
        if self.hold is not None:
            ahead = bool(self.faults) and self.faults[0][0] + AHEAD <= finished
            self.hold.touch() if ahead else self.hold.unlink(missing_ok=True)
        return finished

    def wake(self, now: float) -> None:
        """Send SIGCONT to those whose time has come."""
        for pid in [pid for pid, until in self.frozen.items() if until <= now]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            del self.frozen[pid]

    def _connected(self) -> psycopg.Connection:
        if self.connection is None or self.connection.closed:
            self.connection = self.database.connect()
        return self.connection

    def _strike(self, fault: Any, connection: psycopg.Connection) -> bool:
        if not isinstance(fault, str):
            self._restart(*fault)
            return True
        alive = [
            worker
            for worker in judge.workers(connection)[:64]
            if _is_alive(worker) and worker["pid"] not in self.frozen
        ]
        alive = [worker for worker in alive if self.ours(worker["pid"])]
        if len(alive) < 2:
            return False  # let some come back first
        victim = self.dice.choice(alive)
        self.done["held"] += victim in judge.running(connection)
        os.kill(victim["pid"], signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
        if fault == "stop":
            self.frozen[victim["pid"]] = time.monotonic() + self.frozen_s
        self.done["kills" if fault == "kill" else "stops"] += 1
        return True

    def _restart(self, number: int, away_s: float) -> None:
        if self.connection is not None:
            self.connection.close()
        self.database.stop(number)
        until = time.monotonic() + away_s
        while time.monotonic() < until:
            time.sleep(0.05)
            self.wake(time.monotonic())
        self.database.start()
        self.done["restarts"] += 1
        self.away_s += away_s


def _is_alive(worker: dict[str, Any]) -> bool:
    """Return whether that very process is there, and not merely its pid or its remains."""
    try:
        fields = Path(f"/proc/{worker['pid']}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and fields[19] == worker["started"]
