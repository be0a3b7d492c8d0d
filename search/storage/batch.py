"""Several writes to trials in one transaction, which may be tried again as a whole.

Optuna makes a transaction of every parameter and every attribute. Here writes are kept until the end of a block and
then go out together, a statement for each kind of row: a reader sees all of them or none, a worker that dies in the
block has written nothing, and no lock is held while a sampler thinks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy.dialects import postgresql, sqlite

INSERTS = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass
class Writes:
    """What is to be written to one trial; of two values for one key the later one stands.

    Attributes:
        params: name -> value in Optuna's own terms, distribution, and the distribution this name had before.
        state: the trial's state from now on; None leaves it running.
    """

    params: dict[str, tuple[float, BaseDistribution, BaseDistribution | None]] = field(default_factory=dict)
    user: dict[str, str] = field(default_factory=dict)
    system: dict[str, str] = field(default_factory=dict)
    reports: dict[int, float] = field(default_factory=dict)
    state: TrialState | None = None
    values: Sequence[float] | None = None


@dataclass
class Batch:
    """The writes of one thread to trials, in the order in which the trials came."""

    trials: dict[int, Writes] = field(default_factory=dict)

    def of(self, trial_id: int) -> Writes:
        """Return what is to be written to a trial."""
        return self.trials.setdefault(trial_id, Writes())

    def apply(self, session: Any, *, again: bool) -> None:
        """Write everything in the session's transaction.

        Args:
            again: whether it was tried before and the connection broke, so that it may be in the database already.

        Raises:
            UpdateFinishedTrialError: where a trial was closed by somebody else.
            KeyError: where there is no such trial.
        """
        for trial_id, writes in self.trials.items():
            trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            if trial.state.is_finished():
                if again and _stands(session, trial, writes):
                    continue
                raise UpdateFinishedTrialError(f"Trial#{trial.number} has already finished and can not be updated.")
            _write(session, trial, writes)


def as_json(value: Any) -> str:
    """Return an attribute as Optuna stores it, as it is now."""
    return json.dumps(value)


def upsert(session: Any, model: Any, rows: Sequence[dict[str, Any]], keys: Sequence[str], into: Sequence[str]) -> None:
    """Insert rows in one statement; where `keys` exist already, overwrite the columns `into`, or nothing."""
    if not rows:
        return
    statement = INSERTS[session.get_bind().dialect.name](model).values(list(rows))
    if into:
        new = {name: getattr(statement.excluded, name) for name in into}
        statement = statement.on_conflict_do_update(index_elements=list(keys), set_=new)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=list(keys))
    session.execute(statement)


def _write(session: Any, trial: Any, writes: Writes) -> None:
    own = {"trial_id": trial.trial_id}
    for name, (_, distribution, before) in writes.params.items():
        if before is None:
            before = _distribution_of(session, trial.study_id, name)
        if before is not None:
            check_distribution_compatibility(before, distribution)
    params = [
        {**own, "param_name": name, "param_value": value, "distribution_json": distribution_to_json(distribution)}
        for name, (value, distribution, _) in writes.params.items()
    ]
    upsert(session, models.TrialParamModel, params, ("trial_id", "param_name"), ())
    for model, attributes in (
        (models.TrialUserAttributeModel, writes.user),
        (models.TrialSystemAttributeModel, writes.system),
    ):
        rows = [{**own, "key": key, "value_json": value} for key, value in attributes.items()]
        upsert(session, model, rows, ("trial_id", "key"), ("value_json",))
    _write_numbers(session, own, writes)
    if writes.state is not None:
        trial.state = writes.state
        if writes.state.is_finished():
            trial.datetime_complete = datetime.now()


def _write_numbers(session: Any, own: dict[str, int], writes: Writes) -> None:
    rows = []
    for step, value in writes.reports.items():
        stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        rows.append({**own, "step": step, "intermediate_value": stored, "intermediate_value_type": kind})
    into = ("intermediate_value", "intermediate_value_type")
    upsert(session, models.TrialIntermediateValueModel, rows, ("trial_id", "step"), into)
    rows = []
    for objective, value in enumerate(writes.values or ()):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        rows.append({**own, "objective": objective, "value": stored, "value_type": kind})
    upsert(session, models.TrialValueModel, rows, ("trial_id", "objective"), ("value", "value_type"))


def _distribution_of(session: Any, study_id: int, name: str) -> BaseDistribution | None:
    """Return the distribution that this parameter has in the study's earlier trials."""
    found = session.execute(
        sqlalchemy.select(models.TrialParamModel.distribution_json)
        .join(models.TrialModel, models.TrialModel.trial_id == models.TrialParamModel.trial_id)
        .where(models.TrialModel.study_id == study_id, models.TrialParamModel.param_name == name)
        .limit(1)
    ).scalar()
    return None if found is None else json_to_distribution(found)


def _stands(session: Any, trial: Any, writes: Writes) -> bool:
    """Return whether a closed trial holds these very writes: the connection broke after they were committed."""
    if writes.state is None or trial.state is not writes.state:
        return False
    model = models.TrialUserAttributeModel
    rows = session.execute(sqlalchemy.select(model.key, model.value_json).where(model.trial_id == trial.trial_id))
    stored = {row.key: row.value_json for row in rows}
    values = [
        models.TrialValueModel.stored_repr_to_value(row.value, row.value_type)
        for row in models.TrialValueModel.where_trial_id(trial.trial_id, session)
    ]
    return writes.user.items() <= stored.items() and values == [float(one) for one in writes.values or ()]
