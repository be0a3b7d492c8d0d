"""Optuna's relational storage, made patient: what fails because the database is away is tried again.

Optuna's `Study` talks to a cache in front of this storage, so what is overridden here is what that cache calls; those
private names (`_create_new_trial`, `_get_trials`, `_set_trial_param`, `_get_prepared_new_trial`) and the models of
`optuna.storages._rdb` are held by the tests of this package.
"""

import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from kirigami.search.storage import batch as batches
from kirigami.search.storage import pulse
from kirigami.search.storage.address import Settings
from kirigami.search.storage.outage import on_error
from kirigami.search.storage.patience import Watch, skew

T = TypeVar("T")
TRIED_AGAIN = (
    *("create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr"),
    *("get_study_id_from_name", "get_study_name_from_id", "get_study_directions"),
    *("get_study_user_attrs", "get_study_system_attrs", "get_all_studies"),
    *("get_trial_user_attrs", "get_trial_system_attrs", "get_trial_param"),
    *("get_trial_id_from_study_id_trial_number", "get_best_trial", "_get_best_trial_id"),
)


class Store(RDBStorage):
    """A study's store.

    Args:
        settings: checked; the URL, the heartbeat and grace times, the patience, the retries.
        engine_kwargs: for SQLAlchemy's engine.

    Attributes:
        worker: what identifies this worker. Trials that it asks for are signed and given their first heartbeat in the
            transaction that makes them its own, so no trial is ever without an owner. None signs nothing.
        held: trial id -> when this process last beat for it (`time.monotonic`).
        watch: waits while the database is away, and knows when silence means death.
        offset_s: see `clock_offset`.
        silent_s: of each trial that runs, since when nothing was heard of it as the store was last asked; none at all
            where nothing ever was.
    """

    def __init__(self, settings: Settings, engine_kwargs: dict[str, Any]) -> None:
        # Braces are Optuna's template for a schema version, and may be part of a password.
        url = settings.url.replace("{", "{{").replace("}", "}}")
        super().__init__(
            url, engine_kwargs=engine_kwargs, heartbeat_interval=settings.heartbeat_s, grace_period=settings.grace_s
        )
        self.retries = settings.retries
        self.watch = Watch(settings.shown, settings.patience_s, settings.grace_s)
        self.worker: dict[str, Any] | None = None
        self.held: dict[int, float] = {}
        self.offset_s = 0.0
        self.silent_s: dict[int, float] = {}
        self._first_seen: dict[int, float] = {}
        self._open = threading.local()
        self._batches = self.engine.dialect.name in batches.INSERTS
        sqlalchemy.event.listen(self.engine, "handle_error", on_error)

    def patiently(self, operation: Callable[[bool], T], patience_s: float | None = None) -> T:
        """Run an operation until the database lets it through: see `Watch.patiently`."""
        return self.watch.patiently(operation, patience_s)

    def clock_offset(self) -> float:
        """Return by how many seconds the database's clock was ahead of this machine's at opening; 0 for SQLite."""
        return self.offset_s

    def oddities(self) -> list[str]:
        """Return a line where the database's clock is far from this machine's."""
        return skew(self.watch.shown, self.offset_s, self.watch.grace_s)

    # Reads, which take no lock

    def only_reads(self) -> bool:
        """Return whether what this thread does just now writes nothing."""
        return getattr(self._open, "only_reads", False)

    def _read(self, operation: Callable[[], T]) -> T:
        """Read patiently."""

        def once(_again: bool) -> T:
            self._open.only_reads = True
            try:
                return operation()
            finally:
                self._open.only_reads = False

        return self.patiently(once)

    # Writes to trials

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Keep what this thread writes to trials until the end of the block, then write it in one transaction.

        What is read in the block is not yet what was written in it. A block that raises writes nothing.

        Raises:
            UpdateFinishedTrialError: at the end, where a trial was closed by somebody else: nothing is written then.
        """
        if not self._batches or self._kept() is not None:
            yield
            return
        self._open.batch, self._open.read = batches.Batch(), {}
        try:
            yield
            kept = self._open.batch
        finally:
            self._open.batch = None
        self._apply(kept)

    def _kept(self) -> batches.Batch | None:
        return getattr(self._open, "batch", None)

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Read the study's trials once in the block, and again only after this thread has written something.

        To ask for one trial, the loop, the sampler and Optuna each read all that is new in the study.
        """
        self._open.looked, self._open.looks = None, True
        try:
            yield
        finally:
            self._open.looked, self._open.looks = None, False

    def _get_trials(
        self, study_id: int, states: Any, included_trial_ids: set[int], trial_id_greater_than: int
    ) -> list[FrozenTrial]:
        # The set belongs to one cache and one study, which have then heard already all that was in the store.
        if included_trial_ids is getattr(self._open, "looked", None):
            return []
        wanted = (study_id, states, included_trial_ids, trial_id_greater_than)
        found = self._read(lambda: super(Store, self)._get_trials(*wanted))
        if getattr(self._open, "looks", False):
            self._open.looked = included_trial_ids
        return found

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return the trial; in a batch as it was when it was first read there."""
        read = self._open.read if self._kept() is not None else {}
        if trial_id not in read:
            read[trial_id] = self._read(lambda: super(Store, self).get_trial(trial_id))
        return read[trial_id]

    def _apply(self, kept: batches.Batch) -> None:
        def write(again: bool) -> None:
            with _create_scoped_session(self.scoped_session) as session:
                kept.apply(session, again=again)

        self._open.looked = None
        if kept.trials:
            self.patiently(write)
        for trial_id, writes in kept.trials.items():
            if writes.state is not None and writes.state.is_finished():
                self.held.pop(trial_id, None)

    def _write_one(self, keep: Callable[[batches.Batch], object], write: Callable[[], None]) -> None:
        """Keep a write for the open batch, or make it now."""
        kept = self._kept()
        if kept is not None:
            keep(kept)
        else:
            self._open.looked = None
            self.patiently(lambda _again: write())

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._set_trial_param(trial_id, param_name, param_value_internal, distribution, None)

    def _set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None,
    ) -> None:
        given = (param_value_internal, distribution, previous_distribution)
        self._write_one(
            lambda kept: kept.of(trial_id).params.setdefault(param_name, given),
            lambda: super(Store, self)._set_trial_param(trial_id, param_name, *given),
        )

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write_one(
            lambda kept: kept.of(trial_id).user.update({key: batches.as_json(value)}),
            lambda: super(Store, self).set_trial_user_attr(trial_id, key, value),
        )

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._write_one(
            lambda kept: kept.of(trial_id).system.update({key: batches.as_json(value)}),
            lambda: super(Store, self).set_trial_system_attr(trial_id, key, value),
        )

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._write_one(
            lambda kept: kept.of(trial_id).reports.update({step: intermediate_value}),
            lambda: super(Store, self).set_trial_intermediate_value(trial_id, step, intermediate_value),
        )

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Close a trial, or take a waiting one; return False where another worker has taken it."""
        if state is TrialState.RUNNING:
            self._open.looked = None
            taken = self.patiently(lambda again: self._take(trial_id, again))
            return self._hold(trial_id) if taken else False
        if not self._batches:
            return self.patiently(lambda _again: super(Store, self).set_trial_state_values(trial_id, state, values))
        kept = self._kept() or batches.Batch()
        writes = kept.of(trial_id)
        writes.state, writes.values = state, values
        if self._kept() is None:
            self._apply(kept)
        return True

    def _take(self, trial_id: int, again: bool) -> bool:
        with _create_scoped_session(self.scoped_session) as session:
            trial = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self.check_trial_is_updatable(trial_id, trial.state)
            if trial.state is not TrialState.WAITING:
                # The connection may have broken after our own signature was committed.
                return again and trial_id not in self.held and self._is_signed(session, trial_id)
            trial.state = TrialState.RUNNING
            trial.datetime_start = datetime.now()
            self._sign(session, trial_id)
        return True

    # New trials

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return int(self._create_new_trial(study_id, template_trial)._trial_id)

    def _create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> FrozenTrial:
        def create(again: bool) -> FrozenTrial:
            mine = self._made_before(study_id) if again and template_trial is None else None
            return mine or super(Store, self)._create_new_trial(study_id, template_trial)

        self._open.looked = None
        made = self.patiently(create)
        if template_trial is None:
            self._hold(made._trial_id)
        return made

    def _get_prepared_new_trial(self, study_id: int, template_trial: FrozenTrial | None, session: Any) -> Any:
        trial = super()._get_prepared_new_trial(study_id, template_trial, session)
        if template_trial is None:
            self._sign(session, trial.trial_id)
        return trial

    def _made_before(self, study_id: int) -> FrozenTrial | None:
        """Return the trial that was made as the connection broke: it has our signature, and we do not know of it."""
        model = models.TrialUserAttributeModel
        with _create_scoped_session(self.scoped_session) as session:
            rows = session.execute(
                sqlalchemy.select(models.TrialModel.trial_id)
                .join(model, model.trial_id == models.TrialModel.trial_id)
                .where(models.TrialModel.study_id == study_id, models.TrialModel.state == TrialState.RUNNING)
                .where(model.key == "worker", model.value_json == batches.as_json(self.worker))
            ).scalars()
            found = [one for one in rows if one not in self.held]
        return super().get_trial(found[0]) if self.worker is not None and found else None

    def _hold(self, trial_id: int) -> bool:
        if self.worker is not None:
            self.held[trial_id] = time.monotonic()
        return True

    def _sign(self, session: Any, trial_id: int) -> None:
        if self.worker is None or not self._batches:
            return
        signed = [{"trial_id": trial_id, "key": "worker", "value_json": batches.as_json(self.worker)}]
        batches.upsert(session, models.TrialUserAttributeModel, signed, ("trial_id", "key"), ("value_json",))
        beat = [{"trial_id": trial_id, "heartbeat": sqlalchemy.func.current_timestamp()}]
        batches.upsert(session, models.TrialHeartbeatModel, beat, ("trial_id",), ("heartbeat",))

    def _is_signed(self, session: Any, trial_id: int) -> bool:
        model = models.TrialUserAttributeModel
        stored = session.execute(
            sqlalchemy.select(model.value_json).where(model.trial_id == trial_id, model.key == "worker")
        ).scalar()
        return self.worker is not None and stored == batches.as_json(self.worker)

    # Heartbeats

    def record_heartbeat(self, trial_id: int) -> None:
        """Record that the trial's worker is alive.

        Raises:
            StoreAway: at once, where the database is away.
            UpdateFinishedTrialError: the trial was closed by somebody who took its worker for dead.
        """

        def beat(_again: bool) -> None:
            with _create_scoped_session(self.scoped_session) as session:
                pulse.beat(session, trial_id)

        if not self._batches:
            super().record_heartbeat(trial_id)
            return
        self.patiently(beat, patience_s=0)
        self.held[trial_id] = time.monotonic()

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        """Return the running trials whose workers have been silent for longer than the grace time.

        All heartbeats are times of the database's clock. A trial without any is timed by our own clock, from when we
        first saw it: whoever asked for it may be on a machine with another time.
        """

        def listen() -> tuple[float, dict[int, float | None]]:
            with _create_scoped_session(self.scoped_session) as session:
                return pulse.heard(session, study_id)

        now, heard = self._read(listen)
        self.silent_s = {trial_id: now - last for trial_id, last in heard.items() if last is not None}
        self._first_seen = {one: self._first_seen.get(one, time.monotonic()) for one in heard}
        if heard:
            self.watch.compare(now)
        calm = self.watch.is_calm
        return [
            trial_id
            for trial_id, last in heard.items()
            if (
                self.watch.is_silent(self._first_seen[trial_id])
                if last is None
                else calm and now - last > self.watch.grace_s
            )
        ]


def _tried_again(name: str) -> Callable[..., Any]:
    original = getattr(RDBStorage, name)

    @functools.wraps(original)
    def call(self: Store, *args: Any, **kwargs: Any) -> Any:
        if "get_" in name:
            return self._read(lambda: original(self, *args, **kwargs))
        return self.patiently(lambda _again: original(self, *args, **kwargs))

    return call


for _name in TRIED_AGAIN:
    setattr(Store, _name, _tried_again(_name))
