"""Heartbeats in one statement each, all by the database's clock."""

from datetime import datetime
from typing import Any

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import TrialState

from kirigami.search.storage.batch import INSERTS

EPOCH = datetime(1970, 1, 1)


def beat(session: Any, trial_id: int) -> None:
    """Record that a running trial's worker is alive.

    Raises:
        UpdateFinishedTrialError: the trial is no longer running: its worker was taken for dead.
    """
    trial, heartbeat = models.TrialModel, models.TrialHeartbeatModel
    running = sqlalchemy.select(trial.trial_id, sqlalchemy.func.current_timestamp()).where(
        trial.trial_id == trial_id, trial.state == TrialState.RUNNING
    )
    insert = INSERTS[session.get_bind().dialect.name](heartbeat)
    statement = insert.from_select(["trial_id", "heartbeat"], running).on_conflict_do_update(
        index_elements=["trial_id"], set_={"heartbeat": insert.excluded.heartbeat}
    )
    if session.execute(statement.returning(heartbeat.trial_id)).first() is None:
        raise UpdateFinishedTrialError(f"trial {trial_id} is not running")


def heard(session: Any, study_id: int) -> tuple[float, dict[int, float | None]]:
    """Return the database's time and, for each running trial of the study, its last heartbeat.

    Returns:
        seconds since 1970 by the database's clock; trial id -> such seconds, or None before the first heartbeat.
    """
    trial, heartbeat = models.TrialModel, models.TrialHeartbeatModel
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
