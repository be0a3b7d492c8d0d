"""All that is private to Optuna and used in `search`: no other file of this package spells such a name.

A contract test names each of them, and `pyproject.toml` bounds Optuna's version above. They are
- the storage behind a study, and the ids that it gives to studies and trials;
- the cache of finished trials;
- the tables of the relational storage, its sessions, and how it numbers a new trial and stores what is not finite;
- how the dashboard writes a trial for its page.
"""

from contextlib import AbstractContextManager
from typing import Any

import sqlalchemy
from optuna import Trial
from optuna.storages import BaseStorage, RDBStorage, get_storage
from optuna.storages._rdb.models import (
    StudyModel,
    TrialHeartbeatModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
)
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.study import Study
from optuna.trial import FrozenTrial

__all__ = [
    "TrialHeartbeatModel",
    "TrialIntermediateValueModel",
    "TrialModel",
    "TrialParamModel",
    "TrialSystemAttributeModel",
    "TrialUserAttributeModel",
    "TrialValueModel",
    "cached",
    "for_dashboard",
    "lock_trial",
    "new_trial",
    "storage_of",
    "stored_report",
    "stored_value",
    "study_id_of",
    "transaction",
    "trial_id_of",
    "values_of",
]


def storage_of(study: Study) -> BaseStorage:
    """Return the storage that a study reads and writes."""
    storage: BaseStorage = study._storage
    return storage


def study_id_of(study: Study) -> int:
    """Return the id that a study has in its storage."""
    return int(study._study_id)


def trial_id_of(trial: Trial | FrozenTrial) -> int:
    """Return the id that a trial has in its storage, where trials of all studies are counted together."""
    return int(trial._trial_id)


def cached(storage: BaseStorage) -> BaseStorage:
    """Return a storage that reads a finished trial once: a relational one behind Optuna's cache, others as they are."""
    front: BaseStorage = get_storage(storage)
    return front


def transaction(rows: RDBStorage) -> AbstractContextManager[Any]:
    """Return a context that gives a session and commits at the end, or rolls back where anything is raised."""
    session: AbstractContextManager[Any] = _create_scoped_session(rows.scoped_session)
    return session


def lock_trial(session: Any, trial_id: int) -> Any:
    """Return a trial's row, locked until the transaction ends.

    Raises:
        KeyError: where there is no such trial.
    """
    return TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)


def new_trial(rows: RDBStorage, session: Any, study_id: int, template: FrozenTrial | None = None) -> int:
    """Insert a trial with the study's next number, or with its template's where that is later; return its id.

    The study stays locked until the transaction ends: of two workers the second counts the first one's trial. Optuna
    numbers a trial by counting those before it, and would give a number twice where somebody has deleted one of these.

    Args:
        template: what the trial holds; by default it is empty and runs.

    Raises:
        KeyError: where there is no such study.
    """
    StudyModel.find_or_raise_by_id(study_id, session, for_update=True)
    row = rows._get_prepared_new_trial(study_id, template, session)
    before = sqlalchemy.select(sqlalchemy.func.max(TrialModel.number)).where(
        TrialModel.study_id == study_id, TrialModel.trial_id < row.trial_id
    )
    last = session.execute(before).scalar()
    row.number = max(0 if last is None else last + 1, -1 if template is None else template.number)
    return int(row.trial_id)


def stored_report(value: float) -> tuple[Any, Any]:
    """Return an intermediate value as its table holds it: a number or nothing, and whether it is finite."""
    stored: tuple[Any, Any] = TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    return stored


def stored_value(value: float) -> tuple[Any, Any]:
    """Return an objective's value as its table holds it: a number or nothing, and whether it is finite."""
    stored: tuple[Any, Any] = TrialValueModel.value_to_stored_repr(value)
    return stored


def values_of(session: Any, trial_id: int) -> list[float]:
    """Return the values of a trial's objectives, in their order."""
    rows = TrialValueModel.where_trial_id(trial_id, session)
    by_objective = sorted(rows, key=lambda row: int(row.objective))
    return [TrialValueModel.stored_repr_to_value(row.value, row.value_type) for row in by_objective]


def for_dashboard(study_id: int, trial: FrozenTrial, system_attrs: dict[str, Any]) -> dict[str, Any]:
    """Return a trial as the dashboard's page reads it.

    Args:
        system_attrs: the study's.
    """
    from optuna_dashboard._serializer import serialize_frozen_trial  # a web framework comes with it

    row: dict[str, Any] = serialize_frozen_trial(study_id, trial, system_attrs)
    return row
