"""Waiting for a database that is away, and knowing when silence means death."""

import random
import sys
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from optuna.exceptions import StorageInternalError

from kirigami.search.errors import StudyStopped, masked, one_line
from kirigami.search.storage.outage import Away, Refused, StoreAway

T = TypeVar("T")
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
LEAST_STEP_S = 2.0  # SQLite's clock counts whole seconds


class Watch:
    """Tries again while a database is away, and keeps what this process has seen of that; shared by its threads.

    While a database is away no heart beats. When it is back every heartbeat is old, and who judged by that alone would
    take every living worker for dead. So silence is judged only after a grace time without disturbance: an outage, an
    operation that hung, a clock that was set, a machine that slept, a process that was stopped.

    Args:
        shown: the store's URL without its password.
        patience_s: how long an operation is tried again.
        grace_s: silence of a worker that means it is dead.

    Attributes:
        notify: takes one line when the database goes, and one when it is back; by default into the worker's log.
        stop_requested: polled while waiting, which then ends.
        calm_since: when the last disturbance was over (`time.monotonic`).
    """

    def __init__(self, shown: str, patience_s: float, grace_s: float) -> None:
        self.shown, self.patience_s, self.grace_s = shown, patience_s, grace_s
        self.notify: Callable[[str], None] = _to_log
        self.stop_requested: Callable[[], bool] = lambda: False
        self.calm_since = -float("inf")
        self._away_since: float | None = None
        self._clocks: tuple[float, float] | None = None
        self._lock = threading.Lock()

    def patiently(self, operation: Callable[[bool], T], patience_s: float | None = None) -> T:
        """Run an operation until the database lets it through.

        Args:
            operation: is given False at first, and True where it may have gone through without our hearing of it.
            patience_s: instead of the store's.

        Raises:
            StoreAway: the database was away for too long, or a stop was requested meanwhile.
            StudyStopped: the database refuses.
        """
        patience_s = self.patience_s if patience_s is None else patience_s
        began, failures = time.monotonic(), 0
        while True:
            tried = time.monotonic()
            try:
                result = operation(failures > 0)
            except Away as away:
                failures += 1
                if failures > 1:  # the first time may be an old connection: another one is tried without a word
                    self.note_away(str(away))
                    self._wait(away, patience_s, began, failures)
            except Refused as refused:
                raise StudyStopped(f"{self.shown}: {refused}") from refused
            except StorageInternalError as error:
                raise StudyStopped(f"{self.shown}: {masked(one_line(error.__cause__ or error))}") from error
            else:
                self.note_back(time.monotonic() - tried)
                return result

    def _wait(self, away: Away, patience_s: float, began: float, failures: int) -> None:
        left = patience_s - (time.monotonic() - began)
        if left <= 0:
            if patience_s == 0:
                raise StoreAway(f"{self.shown} is away: {away}") from away
            raise StoreAway(
                f"{self.shown} was away for {patience_s:g} s: {away} The same command goes on where the study was."
            ) from away
        pause = min(FIRST_WAIT_S * 2 ** min(failures, 10), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        until = time.monotonic() + min(pause, left)
        while (rest := until - time.monotonic()) > 0:
            if self.stop_requested():
                raise StoreAway(
                    f"stopped while {self.shown} was away; the running trial is queued again when the study goes on"
                ) from away
            time.sleep(min(0.1, rest))

    def note_away(self, reason: str) -> None:
        """Note that the database is away; notify once."""
        with self._lock:
            if self._away_since is not None:
                return
            self._away_since = time.monotonic()
        self.notify(f"{self.shown} is away: {reason} Waiting for up to {self.patience_s:g} s.")

    def note_back(self, seconds: float = 0.0) -> None:
        """Note that an operation went through, and how long it took; notify if the database had been away."""
        if seconds > self.grace_s / 2:
            self.disturbed()
        if self._away_since is None:  # the ordinary case takes no lock
            return
        with self._lock:
            since, self._away_since = self._away_since, None
            self.disturbed()
        if since is not None:
            self.notify(f"{self.shown} is back after {time.monotonic() - since:.0f} s.")

    def disturbed(self) -> None:
        """Let silence count from now on only."""
        self.calm_since = time.monotonic()

    def compare(self, database_s: float) -> None:
        """Compare the database's clock with this process' own since the last look: both have to run alike."""
        now, last = time.monotonic(), self._clocks
        self._clocks = (database_s, now)
        tolerance = max(self.grace_s / 2, LEAST_STEP_S)
        if last is not None and abs((database_s - last[0]) - (now - last[1])) > tolerance:
            self.disturbed()

    def is_silent(self, since: float) -> bool:
        """Return whether silence since then (`time.monotonic`) is longer than the grace time, disturbances left out."""
        return self._away_since is None and time.monotonic() - max(since, self.calm_since) > self.grace_s

    @property
    def is_calm(self) -> bool:
        """Whether silence as the database's clock has it means that a worker is dead."""
        return self.is_silent(-float("inf"))


def skew(shown: str, ahead_s: float, grace_s: float) -> list[str]:
    """Return a line where the clocks of the database and of this machine are far from each other."""
    if abs(ahead_s) <= grace_s / 2:
        return []
    side = "ahead of" if ahead_s > 0 else "behind"
    return [
        f"the clock of {shown} is {abs(ahead_s):.0f} s {side} this machine's. The study goes on, "
        "dating trials by both; set them by NTP."
    ]


def _to_log(line: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}", file=sys.stderr, flush=True)
