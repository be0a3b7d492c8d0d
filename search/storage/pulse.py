"""Signs of life of running trials, all by the database's clock, and which trials have been silent for too long."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from kirigami.search.storage.batch import INSERTS, upsert
from kirigami.search.storage.optuna_private import TrialHeartbeatModel, TrialModel, transaction
from kirigami.search.storage.patience import Watch

T = TypeVar("T")
EPOCH = datetime(1970, 1, 1)


class Pulse:
    """Writes heartbeats and listens for those of others.

    Args:
        rows: the relational storage.
        watch: knows when silence means death.
        read: runs an operation that writes nothing.

    Attributes:
        silent_s: of each trial that ran as the store was last asked, since when nothing was heard of it; none at all
            where nothing ever was.
        first_seen: of each such trial, when this process first saw it (`time.monotonic`).
    """

    def __init__(self, rows: RDBStorage, watch: Watch, read: Callable[[Callable[[], Any]], Any]) -> None:
        self.rows, self.watch, self._read = rows, watch, read
        self.silent_s: dict[int, float] = {}
        self.first_seen: dict[int, float] = {}

    def beat(self, trial_id: int) -> None:
        """Record that the trial's worker is alive.

        Raises:
            StoreAway: at once, where the database is away.
            UpdateFinishedTrialError: the trial was closed by somebody who took its worker for dead.
        """

        def attempt(_again: bool) -> None:
            with transaction(self.rows) as session:
                beat(session, trial_id)

        self.watch.patiently(attempt, patience_s=0)

    def stale(self, study_id: int) -> list[int]:
        """Return the ids of the running trials whose workers have been silent for longer than the grace time.

        All heartbeats are times of the database's clock. A trial without any is timed by our own clock, from when we
        first saw it: whoever asked for it may be on a machine with another time.
        """

        def listen() -> tuple[float, dict[int, float | None]]:
            with transaction(self.rows) as session:
                return heard(session, study_id)

        now, last_beats = self._read(listen)
        self.silent_s = {trial_id: now - last for trial_id, last in last_beats.items() if last is not None}
        self.first_seen = {trial_id: self.first_seen.get(trial_id, time.monotonic()) for trial_id in last_beats}
        if last_beats:
            self.watch.compare(now)
        is_calm = self.watch.is_calm
        return [
            trial_id
            for trial_id in last_beats
            if (
                is_calm and self.silent_s[trial_id] > self.watch.grace_s
                if trial_id in self.silent_s
                else self.watch.is_silent(self.first_seen[trial_id])
            )
        ]


def beat(session: Any, trial_id: int) -> None:
    """Record that a running trial's worker is alive, in one statement where the database has one for it.

    Raises:
        UpdateFinishedTrialError: the trial is no longer running: its worker was taken for dead.
    """
    trial, heartbeat = TrialModel, TrialHeartbeatModel
    running = sqlalchemy.select(trial.trial_id, sqlalchemy.func.current_timestamp()).where(
        trial.trial_id == trial_id, trial.state == TrialState.RUNNING
    )
    dialect_insert = INSERTS.get(session.get_bind().dialect.name)
    if dialect_insert is None:
        row = session.execute(running.with_for_update()).first()
        if row is not None:
            upsert(session, heartbeat, [{"trial_id": trial_id, "heartbeat": row[1]}], ("trial_id",), ("heartbeat",))
    else:
        insert = dialect_insert(heartbeat)
        statement = insert.from_select(["trial_id", "heartbeat"], running).on_conflict_do_update(
            index_elements=["trial_id"], set_={"heartbeat": insert.excluded.heartbeat}
        )
        row = session.execute(statement.returning(heartbeat.trial_id)).first()
    if row is None:
        raise UpdateFinishedTrialError(f"trial {trial_id} is not running")


def heard(session: Any, study_id: int) -> tuple[float, dict[int, float | None]]:
    """Return the database's time and, for each running trial of the study, its last heartbeat.

    Returns:
        seconds since 1970 by the database's clock; trial id -> such seconds, or None before the first heartbeat.
    """
    trial, heartbeat = TrialModel, TrialHeartbeatModel
    rows = session.execute(
        sqlalchemy.select(sqlalchemy.func.current_timestamp(), trial.trial_id, heartbeat.heartbeat)
        .outerjoin(heartbeat, heartbeat.trial_id == trial.trial_id)
        .where(trial.study_id == study_id, trial.state == TrialState.RUNNING)
    ).all()
    now = _seconds(rows[0][0]) if rows else 0.0
    return now, {trial_id: None if last is None else _seconds(last) for _, trial_id, last in rows}


def _seconds(moment: datetime) -> float:
    """Return seconds since 1970; the sessions of a store are in UTC, with or without saying so."""
    return (moment.replace(tzinfo=None) - EPOCH).total_seconds()
