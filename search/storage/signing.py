"""A storage that signs the trials a worker asks for, in the transaction that makes them its own.

So no trial is ever without an owner, and an owner that is silent from its first moment is found as any other. The
signature also tells whose trial it is that was made as the connection broke.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from kirigami.search.storage.batch import as_json, upsert
from kirigami.search.storage.front import Front
from kirigami.search.storage.optuna_private import (
    TrialHeartbeatModel,
    TrialModel,
    TrialUserAttributeModel,
    lock_trial,
    new_trial,
    transaction,
)
from kirigami.search.storage.patience import Watch


class Signing(Front):
    """Signs new trials, and waiting ones that are taken, and gives them their first heartbeat.

    Args:
        behind: does all else.
        rows: the relational storage at the bottom.
        watch: tries again while the database is away.

    Attributes:
        signature: the attribute, by its name, that says which worker holds a trial; None signs nothing.
        held: id of each open trial of this worker -> when this process last beat for it (`time.monotonic`).
    """

    def __init__(self, behind: BaseStorage, rows: RDBStorage, watch: Watch) -> None:
        super().__init__(behind)
        self.rows, self.watch = rows, watch
        self.signature: tuple[str, Any] | None = None
        self.held: dict[int, float] = {}

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is not None:  # nobody's: it waits, or is finished
            return self.watch.patiently(lambda _again: self._add(study_id, template_trial))
        trial_id = self.watch.patiently(lambda again: self._create(study_id, again))
        self._hold(trial_id)
        return trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Take a waiting trial; return False where another worker has taken it. Other states are passed on."""
        if state is not TrialState.RUNNING:
            return self.behind.set_trial_state_values(trial_id, state, values)
        is_ours = self.watch.patiently(lambda again: self.take(trial_id, again))
        if is_ours:
            self._hold(trial_id)
        return is_ours

    def take(self, trial_id: int, again: bool) -> bool:
        """Make a waiting trial ours; return whether it is.

        Args:
            again: whether it was tried before and the connection broke, so that it may be ours already.

        Raises:
            UpdateFinishedTrialError: where somebody has finished it.
        """
        with transaction(self.rows) as session:
            trial = lock_trial(session, trial_id)
            if trial.state.is_finished():
                raise UpdateFinishedTrialError(f"Trial#{trial.number} has already finished and can not be updated.")
            if trial.state is not TrialState.WAITING:
                return again and trial_id not in self.held and self._is_signed(session, trial_id)
            trial.state = TrialState.RUNNING
            trial.datetime_start = datetime.now()
            self._sign(session, trial_id)
        return True

    def _add(self, study_id: int, template: FrozenTrial) -> int:
        with transaction(self.rows) as session:
            return new_trial(self.rows, session, study_id, template)

    def _create(self, study_id: int, again: bool) -> int:
        with transaction(self.rows) as session:
            trial_id = self._unheard_of(session, study_id) if again else None
            if trial_id is None:
                trial_id = new_trial(self.rows, session, study_id)
                self._sign(session, trial_id)
            return trial_id

    def _unheard_of(self, session: Any, study_id: int) -> int | None:
        """Return the trial that was made as the connection broke: it has our signature, and we do not know of it."""
        if self.signature is None:
            return None
        attribute, (key, value) = TrialUserAttributeModel, self.signature
        signed = session.execute(
            sqlalchemy.select(TrialModel.trial_id)
            .join(attribute, attribute.trial_id == TrialModel.trial_id)
            .where(TrialModel.study_id == study_id, TrialModel.state == TrialState.RUNNING)
            .where(attribute.key == key, attribute.value_json == as_json(value))
        ).scalars()
        return next((int(trial_id) for trial_id in signed if trial_id not in self.held), None)

    def _hold(self, trial_id: int) -> None:
        if self.signature is not None:
            self.held[trial_id] = time.monotonic()

    def _sign(self, session: Any, trial_id: int) -> None:
        if self.signature is None:
            return
        key, value = self.signature
        row = {"trial_id": trial_id, "key": key, "value_json": as_json(value)}
        upsert(session, TrialUserAttributeModel, [row], ("trial_id", "key"), ("value_json",))
        beat = {"trial_id": trial_id, "heartbeat": sqlalchemy.func.current_timestamp()}
        upsert(session, TrialHeartbeatModel, [beat], ("trial_id",), ("heartbeat",))

    def _is_signed(self, session: Any, trial_id: int) -> bool:
        if self.signature is None:
            return False
        attribute, (key, value) = TrialUserAttributeModel, self.signature
        stored = session.execute(
            sqlalchemy.select(attribute.value_json).where(attribute.trial_id == trial_id, attribute.key == key)
        ).scalar()
        return bool(stored == as_json(value))
