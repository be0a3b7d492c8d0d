"""A trial lives while its heart beats: silence beyond the grace time is death."""

import threading

import pytest
import sqlalchemy

from kirigami.search.study import recovery
from kirigami.search.training.job import Outcome
from tests.search.signed_trials import ELSEWHERE, age, ask, beating, states
from tests.waiting import wait_until


@pytest.fixture
def hour(store):
    """Let the grace time be an hour, which no busy machine takes to get through a test."""
    store.watch.grace_s = 3600


@pytest.mark.usefixtures("hour")
def test_silence_beyond_the_grace_time_is_death(study, store):
    trial = ask(study, ELSEWHERE)
    with recovery.heartbeat(store, trial):
        wait_until(lambda: beating(store, study) == 1)
    age(store, trial, 1800)
    assert recovery.take_over(study, store) == 0
    age(store, trial, 1801)
    assert recovery.take_over(study, store) == 1
    assert states(study) == ["interrupted", "waiting"]


def test_a_beating_trial_is_not_stale_however_long_it_runs(study, store):
    trial = ask(study, ELSEWHERE)
    with recovery.heartbeat(store, trial):
        wait_until(lambda: beating(store, study) == 1)

        def stale_once_aged():  # on a busy machine the next beat may come first
            age(store, trial, 100)
            return store.stale_trials(study._study_id)

        assert wait_until(stale_once_aged) == [trial._trial_id]
        wait_until(lambda: not store.stale_trials(study._study_id))
        assert recovery.take_over(study, store) == 0
    assert states(study) == ["running"]


def test_the_heart_beats_on_after_the_store_was_away(study, store, monkeypatch):
    beats, away = [], sqlalchemy.exc.OperationalError("away", None, Exception())

    def record(trial_id):
        beats.append(trial_id)
        if len(beats) == 1:
            raise away

    monkeypatch.setattr(store, "record_heartbeat", record)
    monkeypatch.setattr(store, "heartbeat_s", 0.05)
    trial = ask(study)
    before = threading.active_count()
    with recovery.heartbeat(store, trial):
        wait_until(lambda: len(beats) > 2)
    assert threading.active_count() == before
    assert set(beats) == {trial._trial_id}


@pytest.mark.usefixtures("hour")
def test_a_trial_whose_worker_died_before_signing_it_is_found_after_the_grace_time(study, store):
    trial = study.ask()
    assert recovery.take_over(study, store) == 0
    age(store, trial, 3601)
    assert recovery.take_over(study, store) == 1
    assert states(study) == ["interrupted", "waiting"]


def test_the_loop_beats_for_every_trial_that_runs(study, store, store_url, make_loop):
    seen = []

    class Watching:
        slots = 3

        def signature(self, config):
            return None

        def run(self, next_job):
            jobs = [job for _ in range(self.slots) if (job := next_job()) is not None]
            if not jobs:
                return
            wait_until(lambda: beating(store, study) == len(jobs))
            seen.append(len(jobs))
            yield from ((job, Outcome("complete", {"score": 0.0})) for job in jobs)

    make_loop(Watching(), url=store_url, trials=3).run()
    assert seen == [3]
