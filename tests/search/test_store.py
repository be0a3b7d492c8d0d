"""The store that tries again: batches, signatures, one look, the front, and a database of another kind."""

import inspect
import json
import math
import time

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from kirigami.search.storage import batch, pulse
from kirigami.search.storage.front import Front
from kirigami.search.study import recovery
from kirigami.search.study import study as studies
from kirigami.search.study.states import state_of

pytestmark = pytest.mark.usefixtures("no_waiting")


class TestBatch:
    def write(self, storage, study_id, trial_id):
        storage.set_trial_param(trial_id, "x", 0.25, FloatDistribution(0, 1))
        storage.set_trial_param(trial_id, "n", 3, IntDistribution(1, 8, log=True))
        storage.set_trial_param(trial_id, "c", 1, CategoricalDistribution(["a", "b"]))
        storage.set_trial_user_attr(trial_id, "outcome", {"state": "complete", "metrics": {"score": 0.5}})
        storage.set_trial_user_attr(trial_id, "outcome", {"state": "complete", "metrics": {"score": 0.25}})
        storage.set_trial_system_attr(trial_id, "constraints:bytes", -0.5)
        storage.set_trial_intermediate_value(trial_id, 1, 0.5)
        storage.set_trial_intermediate_value(trial_id, 2, math.inf)
        storage.set_trial_intermediate_value(trial_id, 3, math.nan)
        storage.set_trial_state_values(trial_id, TrialState.COMPLETE, [math.inf])

    def test_it_writes_what_optuna_writes_one_by_one(self, study, store, store_url):
        plain = RDBStorage(store.url)
        found = []
        for storage in (plain, store):
            trial_id = storage.create_new_trial(study._study_id)
            with store.batch():
                self.write(storage, study._study_id, trial_id)
            found.append(plain.get_trial(trial_id))
        plain.engine.dispose()
        for trial in found:
            assert trial.datetime_complete >= trial.datetime_start
            assert math.isnan(trial.intermediate_values.pop(3))
            trial.number = trial._trial_id = trial.datetime_start = trial.datetime_complete = None
        assert found[0] == found[1]
        assert list(found[0].params) == list(found[1].params) == ["x", "n", "c"]

    def test_it_is_one_transaction(self, study, store):
        trial_id, begun = store.create_new_trial(study._study_id), []
        sqlalchemy.event.listen(store.engine, "begin", begun.append)
        with store.batch():
            self.write(store, study._study_id, trial_id)
            assert not begun
        assert len(begun) == 1

    def test_a_block_that_raises_writes_nothing(self, study, store):
        trial_id = store.create_new_trial(study._study_id)

        def block():
            with store.batch():
                self.write(store, study._study_id, trial_id)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            block()
        trial = store.get_trial(trial_id)
        assert (trial.state, trial.params, trial.user_attrs) == (TrialState.RUNNING, {}, {})
        store.set_trial_user_attr(trial_id, "a", 1)  # and the block is over
        assert store.get_trial(trial_id).user_attrs == {"a": 1}

    def test_a_trial_that_another_has_closed_takes_none_of_it(self, study, store):
        trial_id = store.create_new_trial(study._study_id)
        store.set_trial_state_values(trial_id, TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError), store.batch():
            self.write(store, study._study_id, trial_id)
        assert store.get_trial(trial_id).user_attrs == {}

    def test_one_name_cannot_have_two_kinds_of_values(self, study, store):
        study.tell(study.ask({"x": FloatDistribution(0, 1)}), 1.0)
        trial_id = store.create_new_trial(study._study_id)
        with pytest.raises(ValueError, match="distribution"), store.batch():
            store.set_trial_param(trial_id, "x", 1, IntDistribution(0, 1))

    def test_what_cannot_be_stored_says_so_where_it_is_written(self, study, store):
        trial_id = store.create_new_trial(study._study_id)
        with store.batch(), pytest.raises(TypeError):
            store.set_trial_user_attr(trial_id, "a", object())


class TestSigning:
    def test_a_trial_is_signed_and_beating_from_its_first_moment(self, study, store):
        recovery.join(store)
        study.enqueue_trial({"x": 0.5})
        for _ in range(2):  # one that waited, and a new one
            trial = study.ask()
            assert trial.user_attrs["worker"] == {**vars(recovery.signature()), "clock": store.signature[1]["clock"]}
            with store.engine.connect() as connection:
                query = sqlalchemy.text("SELECT COUNT(*) FROM trial_heartbeats WHERE trial_id = :id")
                assert connection.execute(query, {"id": trial._trial_id}).scalar() == 1

    def test_a_heartbeat_says_that_the_trial_is_lost(self, study, store):
        trial = study.ask()
        store.record_heartbeat(trial._trial_id)
        with recovery.heartbeat(store, trial) as lost:
            store.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            assert lost.wait(5)
        with pytest.raises(UpdateFinishedTrialError):
            store.record_heartbeat(trial._trial_id)

    def test_heartbeats_do_not_hang_on_the_session_time_zone(self, study, store):
        trial = study.ask()
        store.record_heartbeat(trial._trial_id)
        if store.engine.name == "postgresql":
            with store.engine.connect() as connection:
                assert connection.exec_driver_sql("SHOW timezone").scalar() == "UTC"
        with store.engine.connect() as connection:
            stored = connection.exec_driver_sql(
                f"SELECT heartbeat FROM trial_heartbeats WHERE trial_id = {trial._trial_id}"
            ).scalar()
        utc = time.strftime("%Y-%m-%d %H", time.gmtime())
        assert str(stored).startswith(utc) or abs(time.time() % 3600 - 1800) > 1750

    def test_retries_are_the_store_s(self, store_url, open_store, name, dead_worker):
        store = open_store(store_url, retries=1)
        study = studies.create(store, name, {"score": "minimize"}, {"space": "s"})
        for _ in range(2):
            study.ask().set_user_attr("worker", dead_worker)
            recovery.take_over(study, store)
        assert [state_of(trial) for trial in study.trials] == ["interrupted", "failed"]
        assert json.dumps(study.trials[1].user_attrs["outcome"]["reason"]) == '"its worker died in 2 attempts"'


def test_one_look_reads_again_after_a_write(study, store, open_store, store_url, name):
    other = studies.existing(open_store(store_url), name)
    with store.one_look():
        assert len(study.get_trials()) == 0
        other.ask()
        assert len(study.get_trials()) == 0
        study.ask()
        assert len(study.get_trials()) == 2
    other.ask()
    assert len(study.get_trials()) == 3
    assert optuna.load_study(study_name=name, storage=store)._storage is store


class TestFront:
    """What stands in front of a storage passes every call on."""

    def test_every_method_of_a_storage(self):
        called, answer = [], object()

        class Behind:
            def __getattr__(self, name):
                return lambda *_: (called.append(name), answer)[1]

        front = Front(Behind())
        names = {*BaseStorage.__abstractmethods__, "remove_session", "get_best_trial"}
        names.add("get_trial_id_from_study_id_trial_number")
        for name in sorted(names):
            parameters = inspect.signature(getattr(front, name)).parameters.values()
            needed = [None for part in parameters if part.default is part.empty]
            assert getattr(front, name)(*needed) in (answer, None)
        assert called == sorted(names)

    def test_reads_take_no_lock_and_writes_do(self, study, store):
        seen = []
        sqlalchemy.event.listen(store.engine, "begin", lambda _: seen.append(store.only_reads()))
        study.get_trials()
        trial = study.ask()
        assert seen[0]
        assert not seen[-2], "the trial is made, then read"
        del seen[:]
        trial.set_user_attr("a", 1)
        study.set_user_attr("a", 1)
        assert seen == [False, False]


class TestAnotherDatabase(TestBatch):
    """Writes and heartbeats on a database that has no statement for a row that may be there already."""

    @pytest.fixture(autouse=True)
    def _no_inserts(self, monkeypatch):
        monkeypatch.setattr(batch, "INSERTS", {})
        monkeypatch.setattr(pulse, "INSERTS", {})

    def test_heartbeats(self, study, store):
        recovery.join(store)
        trial = study.ask()
        for _ in range(2):
            store.record_heartbeat(trial._trial_id)
        with store.engine.connect() as connection:
            query = sqlalchemy.text("SELECT COUNT(*) FROM trial_heartbeats WHERE trial_id = :id")
            assert connection.execute(query, {"id": trial._trial_id}).scalar() == 1
        store.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):
            store.record_heartbeat(trial._trial_id)
