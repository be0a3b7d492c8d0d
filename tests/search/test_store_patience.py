"""The store tries again: broken connections, how long it waits, and which errors it waits for."""

import math
import random
import sqlite3
import time
from contextlib import contextmanager

import psycopg
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from kirigami.search.errors import StudyStopped
from kirigami.search.storage import StoreAway
from kirigami.search.storage.batch import Batch
from kirigami.search.storage.outage import Away, is_away, reason_of, refusal
from kirigami.search.storage.patience import Watch
from kirigami.search.study import recovery
from kirigami.search.study.ledger import Ledger

pytestmark = pytest.mark.usefixtures("no_waiting")

BROKEN = {
    "sqlite": lambda: sqlite3.OperationalError("database is locked"),
    "postgresql": lambda: psycopg.OperationalError("server closed the connection unexpectedly"),
}


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
