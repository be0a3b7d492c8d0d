"""Trials that a worker has signed, their states, and their heartbeats."""

from datetime import datetime, timedelta

import sqlalchemy

from kirigami.search.study import recovery
from kirigami.search.study.states import state_of

ELSEWHERE = {"machine": "another", "pid": 1, "started": "1"}


def ask(study, worker=None):
    """Ask for a trial as a worker does: sign it, suggest, report."""
    trial = study.ask()
    trial.set_user_attr("worker", worker or vars(recovery.signature()))
    trial.suggest_float("x", 0, 1)
    return trial


def states(study):
    return [state_of(trial) for trial in study.get_trials(deepcopy=False)]


def beating(store, study):
    """Return how many trials of a study have a heartbeat."""
    query = "SELECT COUNT(*) FROM trial_heartbeats JOIN trials USING (trial_id) WHERE study_id = :id"
    with store.engine.connect() as connection:
        return connection.execute(sqlalchemy.text(query), {"id": study._study_id}).scalar()


def age(store, trial, seconds):
    """Set the trial's start, its last heartbeat and when it was first seen back."""
    if trial._trial_id in store._pulse.first_seen:
        store._pulse.first_seen[trial._trial_id] -= seconds
    with store.engine.begin() as connection:
        for table, column in (("trial_heartbeats", "heartbeat"), ("trials", "datetime_start")):
            query = sqlalchemy.text(f"SELECT {column} FROM {table} WHERE trial_id = :id")
            then = connection.execute(query, {"id": trial._trial_id}).scalar()
            if then is not None:
                then = datetime.fromisoformat(str(then)) - timedelta(seconds=seconds)
                query = sqlalchemy.text(f"UPDATE {table} SET {column} = :then WHERE trial_id = :id")
                connection.execute(query, {"id": trial._trial_id, "then": str(then)})
