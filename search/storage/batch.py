"""Several writes to trials in one transaction, which may be tried again as a whole.

Optuna makes a transaction of every parameter and every attribute. Here writes are kept until the end of a block and
then go out together, a statement for each kind of row: a reader sees all of them or none, a worker that dies in the
block has written nothing, and no lock is held while a sampler thinks.
"""

import json
from collections import ChainMap
from collections.abc import MutableMapping, Sequence
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
from optuna.trial import TrialState
from sqlalchemy.dialects import postgresql, sqlite

from kirigami.search.storage.optuna_private import (
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
    lock_trial,
    stored_report,
    stored_value,
    values_of,
)

INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
Distributions = dict[tuple[int, str], BaseDistribution]  # of a study's parameter; a name has one kind of values


@dataclass
class Writes:
    """What is to be written to one trial; of two values for one key the later one stands.

    Attributes:
        params: name -> value in Optuna's own terms, and distribution; of two values for one name the first stands.
        state: the trial's state from now on; None leaves it running.
    """

    params: dict[str, tuple[float, BaseDistribution]] = field(default_factory=dict)
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

    def apply(self, session: Any, known: Distributions, *, again: bool) -> Distributions:
        """Write everything in the session's transaction; return the distributions of all parameters in it.

        Args:
            known: distributions that need not be looked up in the database.
            again: whether it was tried before and the connection broke, so that it may be in the database already.

        Raises:
            UpdateFinishedTrialError: where a trial was closed by somebody else.
            KeyError: where there is no such trial.
            ValueError: where a parameter has another kind of values in the study's earlier trials.
        """
        seen: Distributions = {}
        for trial_id, writes in self.trials.items():
            trial = lock_trial(session, trial_id)
            if trial.state.is_finished():
                if again and _stands(session, trial, writes):
                    continue
                raise UpdateFinishedTrialError(f"Trial#{trial.number} has already finished and can not be updated.")
            _write_params(session, trial, writes, ChainMap(seen, known))
            _write_attributes(session, trial, writes)
            _write_numbers(session, trial, writes)
            if writes.state is not None:
                trial.state = writes.state
                if writes.state.is_finished():
                    trial.datetime_complete = datetime.now()
        return seen


def as_json(value: Any) -> str:
    """Return an attribute as Optuna stores it, as it is now."""
    return json.dumps(value)


def upsert(session: Any, model: Any, rows: Sequence[dict[str, Any]], keys: Sequence[str], into: Sequence[str]) -> None:
    """Insert rows in one statement; where `keys` exist already, overwrite the columns `into`, or nothing."""
    if not rows:
        return
    insert = INSERTS.get(session.get_bind().dialect.name)
    if insert is None:
        for row in rows:
            _upsert_in_two_steps(session, model, row, keys, into)
        return
    statement = insert(model).values(list(rows))
    if into:
        new = {name: getattr(statement.excluded, name) for name in into}
        statement = statement.on_conflict_do_update(index_elements=list(keys), set_=new)
    else:
        statement = statement.on_conflict_do_nothing(index_elements=list(keys))
    session.execute(statement)


def _upsert_in_two_steps(
    session: Any, model: Any, row: dict[str, Any], keys: Sequence[str], into: Sequence[str]
) -> None:
    """Do without the statement that other databases spell otherwise: the trial is locked, so nobody comes between."""
    same = [getattr(model, key) == row[key] for key in keys]
    if session.execute(sqlalchemy.select(getattr(model, keys[0])).where(*same)).first() is None:
        session.execute(sqlalchemy.insert(model).values(row))
    elif into:
        session.execute(sqlalchemy.update(model).where(*same).values({name: row[name] for name in into}))


def _write_params(
    session: Any, trial: Any, writes: Writes, known: MutableMapping[tuple[int, str], BaseDistribution]
) -> None:
    rows = []
    for name, (value, distribution) in writes.params.items():
        key = (int(trial.study_id), name)
        before = known.get(key) or _distribution_of(session, *key)
        if before is not None:
            check_distribution_compatibility(before, distribution)
        known[key] = before or distribution
        kind = distribution_to_json(distribution)
        rows.append({"trial_id": trial.trial_id, "param_name": name, "param_value": value, "distribution_json": kind})
    upsert(session, TrialParamModel, rows, ("trial_id", "param_name"), ())


def _write_attributes(session: Any, trial: Any, writes: Writes) -> None:
    for model, attributes in ((TrialUserAttributeModel, writes.user), (TrialSystemAttributeModel, writes.system)):
        rows = [{"trial_id": trial.trial_id, "key": key, "value_json": value} for key, value in attributes.items()]
        upsert(session, model, rows, ("trial_id", "key"), ("value_json",))


def _write_numbers(session: Any, trial: Any, writes: Writes) -> None:
    rows = []
    for step, report in writes.reports.items():
        stored, kind = stored_report(report)
        number = {"intermediate_value": stored, "intermediate_value_type": kind}
        rows.append({"trial_id": trial.trial_id, "step": step, **number})
    into = ("intermediate_value", "intermediate_value_type")
    upsert(session, TrialIntermediateValueModel, rows, ("trial_id", "step"), into)
    rows = []
    for objective, value in enumerate(writes.values or ()):
        stored, kind = stored_value(value)
        rows.append({"trial_id": trial.trial_id, "objective": objective, "value": stored, "value_type": kind})
    upsert(session, TrialValueModel, rows, ("trial_id", "objective"), ("value", "value_type"))


def _distribution_of(session: Any, study_id: int, name: str) -> BaseDistribution | None:
    """Return the distribution that this parameter has in the study's earlier trials."""
    text = session.execute(
        sqlalchemy.select(TrialParamModel.distribution_json)
        .join(TrialModel, TrialModel.trial_id == TrialParamModel.trial_id)
        .where(TrialModel.study_id == study_id, TrialParamModel.param_name == name)
        .limit(1)
    ).scalar()
    return None if text is None else json_to_distribution(text)


def _stands(session: Any, trial: Any, writes: Writes) -> bool:
    """Return whether a closed trial holds these very writes: the connection broke after they were committed."""
    if writes.state is None or trial.state is not writes.state:
        return False
    attribute = TrialUserAttributeModel
    rows = session.execute(
        sqlalchemy.select(attribute.key, attribute.value_json).where(attribute.trial_id == trial.trial_id)
    )
    stored = {row.key: row.value_json for row in rows}
    values = [float(value) for value in writes.values or ()]
    return writes.user.items() <= stored.items() and values_of(session, trial.trial_id) == values
