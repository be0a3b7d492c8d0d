"""The store that tries again: batches, broken connections, patience, and when silence means death."""

import inspect
import json
import math
import random
import sqlite3
import time
from contextlib import contextmanager

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from kirigami.search.errors import StudyStopped
from kirigami.search.storage import StoreAway, batch, pulse
from kirigami.search.storage import patience as patient
from kirigami.search.storage.batch import Batch
from kirigami.search.storage.front import Front
from kirigami.search.storage.outage import Away, is_away, reason_of, refusal
from kirigami.search.storage.patience import Watch
from kirigami.search.study import recovery
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.states import state_of

BROKEN = {
    "sqlite": lambda: sqlite3.OperationalError("database is locked"),
    "postgresql": lambda: psycopg.OperationalError("server closed the connection unexpectedly"),
}


@pytest.fixture
def store(store_url, open_store):
    return open_store(store_url)


@pytest.fixture
def study(store, name):
    return studies.create(store, name, {"score": "minimize"}, {"space": "s"})


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(patient, "FIRST_WAIT_S", 0.001)
    monkeypatch.setattr(patient, "LONGEST_WAIT_S", 0.01)


@contextmanager
def breaking(store, breaks):
    """Break commits: `breaks` is asked before each, and returns `before`, `after` or None."""
    dialect, commit = store.engine.dialect, store.engine.dialect.do_commit

    def do_commit(connection):
        when = breaks()
        if when == "before":
            raise BROKEN[dialect.name]()
        commit(connection)
        if when == "after":
            raise BROKEN[dialect.name]()

    dialect.do_commit = do_commit
    try:
        yield
    finally:
        dialect.do_commit = commit


def once(when):
    """Break the next commit only."""
    left = [when]
    return lambda: left.pop() if left else None


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


class TestBrokenConnections:
    """The database commits, and the connection breaks before it can say so; or it breaks just before."""

    @pytest.fixture(params=["before", "after"])
    def when(self, request):
        return request.param

    @pytest.fixture(autouse=True)
    def _joined(self, store):
        recovery.join(store)

    def test_asking_makes_one_trial(self, study, store, when):
        with breaking(store, once(when)):
            trial_id = store.create_new_trial(study._study_id)
        (trial,) = study.get_trials()
        assert trial._trial_id == trial_id
        assert ("worker", trial.user_attrs["worker"]) == store.signature
        assert store.create_new_trial(study._study_id) != trial_id, "another one is another one"

    def test_a_waiting_trial_is_taken_once(self, study, store, when):
        study.enqueue_trial({"x": 0.5})
        waiting = study.get_trials()[0]._trial_id
        with breaking(store, once(when)):
            assert store.set_trial_state_values(waiting, TrialState.RUNNING)
        assert not store.set_trial_state_values(waiting, TrialState.RUNNING)

    def test_a_waiting_trial_that_another_took_is_his(self, study, store, open_store, store_url):
        study.enqueue_trial({"x": 0.5})
        waiting, other = study.get_trials()[0]._trial_id, open_store(store_url)
        other.signature = ("worker", {**store.signature[1], "pid": 1})
        assert other.set_trial_state_values(waiting, TrialState.RUNNING)
        assert not store._signing.take(waiting, again=True)
        del other.held[waiting]
        assert other._signing.take(waiting, again=True), "his own, whose answer was lost"

    def test_telling_twice_is_telling_once(self, study, store, when):
        trial = study.ask()
        with breaking(store, once(when)), store.batch():
            trial.set_user_attr("outcome", {"state": "complete"})
            store.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
        assert (study.trials[0].state, study.trials[0].value) == (TrialState.COMPLETE, 0.5)

    @pytest.mark.parametrize(("state", "outcome"), [("FAIL", None), ("COMPLETE", {"state": "other"})])
    def test_what_another_has_written_is_not_taken_for_ones_own(self, study, store, state, outcome):
        """The trial is closed by somebody else between the broken write and the second try."""
        trial, mine = study.ask(), Batch()
        trial.set_user_attr("outcome", outcome)
        study.tell(trial, 0.5 if state == "COMPLETE" else None, state=TrialState[state])
        writes = mine.of(trial._trial_id)
        writes.user["outcome"], writes.state, writes.values = '{"state": "complete"}', TrialState.COMPLETE, [0.5]
        with store.rows.scoped_session() as session, pytest.raises(UpdateFinishedTrialError):
            mine.apply(session, {}, again=True)

    def test_a_study_goes_through_a_bad_connection(self, store_url, make_loop, bowl):
        draws = random.Random(0)
        loop = make_loop(bowl, url=store_url, trials=6)
        loop.storage.watch.notify = lambda line: None
        with breaking(loop.storage, lambda: draws.choice(["before", "after", None, None])):
            assert loop.run() == "budget.trials=6 is met"
        ledger = Ledger(loop.study.get_trials(deepcopy=False))
        assert (ledger.count("complete"), ledger.open, ledger.count("failed")) == (6, 0, 0)
        assert len({trial.params["x"] for trial in ledger.by_state["complete"]}) == 6


class TestPatience:
    @pytest.fixture
    def watch(self):
        watch, self.said = Watch("storage.url=x", patience_s=5, grace_s=60), []
        watch.notify = self.said.append
        return watch

    def away(self, times):
        left = times

        def operation(again):
            nonlocal left
            left -= 1
            if left >= 0:
                raise Away("gone.")
            return again

        return operation

    def test_two_lines_are_said_however_often_it_fails(self, watch):
        assert watch.patiently(self.away(5)) is True
        assert self.said == ["storage.url=x is away: gone. Waiting for up to 5 s.", "storage.url=x is back after 0 s."]

    def test_an_old_connection_is_no_outage(self, watch):
        assert watch.patiently(self.away(1)) is True
        assert self.said == []
        assert watch.is_calm

    def test_patience_ends(self, watch):
        with pytest.raises(StoreAway, match=r"url=x was away for 0\.01 s: gone\. The same command goes on"):
            watch.patiently(self.away(math.inf), patience_s=0.01)

    def test_a_stop_ends_the_waiting(self, watch):
        watch.stop_requested = lambda: True
        with pytest.raises(StoreAway, match=r"stopped while .* was away"):
            watch.patiently(self.away(math.inf))

    def test_silence_is_judged_a_grace_time_after_a_disturbance(self, watch, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(time, "monotonic", lambda: now[0])
        assert watch.is_calm
        for disturb in (
            lambda: (watch.note_away("gone."), watch.note_back()),
            lambda: watch.note_back(seconds=31),  # an operation that hung, or a process that was stopped
            lambda: (watch.compare(0.0), watch.compare(100.0)),  # the database's clock was set
        ):
            disturb()
            assert not watch.is_calm
            now[0] += 59
            assert not watch.is_calm
            now[0] += 2
            assert watch.is_calm
            watch._clocks = None
        watch.compare(0.0)
        now[0] += 600
        watch.compare(602.0)
        assert watch.is_calm, "both clocks ran alike"

    def test_a_refusal_is_not_waited_for(self, study, store):
        with store.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE trial_user_attributes RENAME TO gone")
        try:
            trial_id, began = store.create_new_trial(study._study_id), time.monotonic()
            with pytest.raises(StudyStopped, match=r"storage.url=.*A table is gone\. Restore") as error:
                store.set_trial_user_attr(trial_id, "a", 1)
            assert "\n" not in str(error.value)
            assert time.monotonic() - began < 5
        finally:
            with store.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE gone RENAME TO trial_user_attributes")


@pytest.mark.parametrize(
    ("text", "away", "hint"),
    [
        ('connection failed: connection to server at "h", port 1 failed: Connection refused', True, "Start the server"),
        ("connection timeout expired", True, "does not answer"),
        ("[Errno -2] Name or service not known", True, "Correct the host's name"),
        ("FATAL:  the database system is starting up", True, ""),
        ('FATAL:  database "birds" does not exist', False, "Create it"),
        ("database is locked", True, ""),
        ("database or disk is full", False, "Make room"),
        ("attempt to write a readonly database", False, "Let this user write"),
        ("UNIQUE constraint failed", False, ""),
    ],
)
def test_errors_are_sorted(text, away, hint):
    error = Exception(text)
    assert is_away(error) is away
    assert not (away and refusal(error))
    assert hint in reason_of(error)


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
