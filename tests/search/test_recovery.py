"""Trials whose worker died are found and run again, once, on SQLite and on Postgres alike."""

import threading
from dataclasses import replace

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from kirigami.search.loop.telling import CLOSED_BY_ANOTHER
from kirigami.search.study import recovery
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Worker
from kirigami.search.training.job import Interrupted
from tests.search.signed_trials import ELSEWHERE, age, ask, states
from tests.waiting import wait_until

# A worker that asks for four trials at once, reports on each and then hangs.
HANGING_WORKER = """
import sys, time
from pathlib import Path
from kirigami.search import storage
from kirigami.search.study import study
from kirigami.search.loop import Loop
from kirigami.search.config.sampler import Random
from kirigami.search.proposal.pruners import Pruning
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.spaces import Budget, PriorSampler, Space

class Hanging:
    slots = 4

    def run(self, next_job):
        for _ in range(4):
            next_job().report(1, {"score": 1.0})
        print("hanging", flush=True)
        time.sleep(3600)

config = {"x": 0.5, "y": 2}
space = Space.from_config({"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}, config)
store = storage.open_storage(storage.Settings.read({"url": sys.argv[1], "heartbeat_s": 1, "grace_s": 2}))
joined = study.create(store, sys.argv[2], {"score": "minimize"}, {"space": "s"})
joined.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0)
prepare = lambda values: space.apply(config, values)
Loop(joined, space, Hanging(), Budget(trials=6), prepare, storage=store, judge=Pruning()).run()
"""


def test_the_trials_of_a_killed_worker_are_run_again_with_their_parameters(
    store_url, name, child, make_loop, store, bowl
):
    process = child(HANGING_WORKER, store_url, name)
    assert process.stdout.readline() == "hanging\n"
    study = studies.existing(store, name)
    running = study.get_trials(deepcopy=False)
    assert states(study) == ["running"] * 4
    assert not recovery.is_gone(Worker.from_attrs(running[0].user_attrs))
    assert recovery.take_over(study, store) == 0

    process.kill()
    wait_until(lambda: recovery.is_gone(Worker.from_attrs(running[0].user_attrs)))  # a zombie, nobody waits for it yet
    process.wait()
    assert recovery.take_over(study, store) == 4
    assert states(study) == ["interrupted"] * 4 + ["waiting"] * 4
    trials = study.get_trials()
    assert [trial.params for trial in trials[4:]] == [trial.params for trial in trials[:4]]
    assert [trial.distributions for trial in trials[4:]] == [trial.distributions for trial in trials[:4]]
    assert [trial.user_attrs["retry_of"] for trial in trials[4:]] == [0, 1, 2, 3]
    assert Ledger(trials).counted == 4
    assert all(0 <= trial.user_attrs["lost_s"] < 60 for trial in trials[:4]), "until its worker was last heard of"
    assert recovery.take_over(study, store) == 0

    seen = []

    def evaluate(config):
        seen.append((config["x"], config["y"]))
        yield from bowl(config)

    loop = make_loop(evaluate, url=store_url, trials=6)
    assert loop.run() == "budget.trials=6 is met"
    assert states(loop.study) == ["interrupted"] * 4 + ["complete"] * 6
    first = [(trial.params["x"], trial.params["y"]) for trial in trials[:4]]
    assert seen[:4] == first
    assert len(set(seen)) == 6


def test_two_workers_may_find_the_dead_at_once(study, store_url, open_store, name, dead_worker, make_loop, bowl):
    for _ in range(3):
        ask(study, dead_worker)
    found, gate = [], threading.Barrier(3)
    others = [(studies.existing(opened, name), opened) for opened in (open_store(store_url) for _ in range(3))]

    def take_over(other, opened):
        gate.wait()
        found.append(recovery.take_over(other, opened))

    threads = [threading.Thread(target=take_over, args=pair) for pair in others]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert sum(found) >= 3
    loop = make_loop(bowl, url=store_url, trials=3)
    loop.run()
    ledger = Ledger(loop.study.get_trials(deepcopy=False))
    assert (ledger.count("interrupted"), ledger.finished, ledger.open) == (3, 3, 0)
    params = [trial.params["x"] for trial in ledger.by_state["complete"]]
    assert sorted(params) == sorted(trial.params["x"] for trial in ledger.by_state["interrupted"])


def test_a_retry_queued_twice_is_run_once_and_the_other_is_handed_back(study, store, store_url, make_loop, bowl):
    """Two workers saw the same trial die: what they queue is settled where it is asked, even by the last worker."""
    first = study.ask()
    first.suggest_float("x", 0, 1)
    study.tell(first, state=TrialState.FAIL)
    recovery.take_over(study, store)
    study.add_trial(study.get_trials()[1])
    assert states(study) == ["interrupted", "waiting", "waiting"]
    loop = make_loop(bowl, url=store_url, trials=1)
    loop.run()
    assert states(loop.study) == ["interrupted", "complete", "surplus"]


def test_a_trial_failed_but_not_queued_again_is_queued_once(study, store):
    """The worker that failed it died before it could queue the retry."""
    trial = ask(study)
    study.tell(trial, state=TrialState.FAIL)
    assert recovery.take_over(study, store) == 1
    assert recovery.take_over(study, store) == 0
    assert study.trials[1].params == trial.params
    assert study.trials[1].user_attrs["retries"] == 1


@pytest.mark.parametrize("state", ["complete", "pruned", "infeasible"])
def test_a_worker_killed_between_the_outcome_and_the_telling_has_told_nothing(study, store, dead_worker, state):
    trial = ask(study, dead_worker)
    trial.set_user_attr("outcome", {"state": state, "metrics": {"score": 1.0}})
    assert recovery.take_over(study, store) == 1
    assert states(study) == ["interrupted", "waiting"]
    assert study.trials[1].params == trial.params
    assert "outcome" not in study.trials[1].user_attrs


def test_trials_that_failed_or_came_too_late_are_never_queued_again(study, store):
    for state in ("failed", "surplus"):
        trial = ask(study)
        trial.set_user_attr("outcome", {"state": state})
        study.tell(trial, state=TrialState.FAIL)
    assert recovery.take_over(study, store) == 0
    assert states(study) == ["failed", "surplus"]


def test_the_running_trials_of_the_living_are_left_alone(study, store):
    ask(study)
    ask(study, ELSEWHERE)
    assert recovery.take_over(study, store) == 0
    assert states(study) == ["running", "running"]


def test_a_trial_that_kills_its_workers_fails_in_the_end(study, store, dead_worker):
    attempts = recovery.RETRIES + 1
    for attempt in range(attempts):
        trial = ask(study, dead_worker)
        assert trial.number == attempt
        assert recovery.take_over(study, store) == (attempt < recovery.RETRIES)
    assert states(study) == ["interrupted"] * recovery.RETRIES + ["failed"]
    assert len({trial.params["x"] for trial in study.trials}) == 1
    assert study.trials[-1].user_attrs["outcome"]["reason"] == f"its worker died in {attempts} attempts"
    assert Ledger(study.trials).counted == 1
    assert recovery.take_over(study, store) == 0


def test_handing_back_is_no_death(study, store, dead_worker):
    for _ in range(recovery.RETRIES + 2):
        recovery.hand_back(study, ask(study))
    assert states(study) == ["interrupted"] * (recovery.RETRIES + 2) + ["waiting"]
    assert study.trials[-1].user_attrs["retries"] == 0
    trial = ask(study, dead_worker)
    recovery.take_over(study, store)
    assert study.trials[-1].user_attrs == {"retry_of": trial.number, "retries": 1}
    assert len({trial.params["x"] for trial in study.trials}) == 1


def test_a_worker_killed_while_handing_back_has_handed_back(study, store, dead_worker):
    ask(study, dead_worker).set_user_attr("handed_back", True)
    assert recovery.take_over(study, store) == 1
    assert study.trials[-1].user_attrs["retries"] == 0


def taken_over(study, number):
    """Do to a running trial what a worker does that takes its owner for dead."""
    recovery._fail(study, study.trials[number])
    assert recovery.take_over(study, None) == 1


@pytest.mark.parametrize("when", ["before a report", "before the end"])
def test_a_worker_taken_for_dead_overwrites_nothing_and_works_on(study, store_url, make_loop, bowl, when):
    def evaluate(config):
        late = len(study.trials) == 1  # the first attempt
        if late and when == "before a report":
            taken_over(study, 0)
        yield from bowl(config)
        if late and when == "before the end":
            taken_over(study, 0)

    loop = make_loop(evaluate, url=store_url, trials=2)
    assert loop.run() == "budget.trials=2 is met"
    first, retry, _ = loop.study.trials
    assert states(loop.study) == ["interrupted", "complete", "complete"]
    assert retry.params == first.params
    assert retry.user_attrs["retry_of"] == 0
    assert first.values is None


def test_a_trial_that_another_has_told_is_not_told_again(study, store_url, make_loop, bowl):
    """Two workers may be given one waiting trial by SQLite; the first to tell has run it."""

    def evaluate(config):
        if len(study.trials) == 1:
            study.tell(0, 0.125)
        yield from bowl(config)

    loop = make_loop(evaluate, url=store_url, trials=2, rungs=())
    assert loop.run() == "budget.trials=2 is met"
    assert states(loop.study) == ["complete", "complete"]
    assert loop.study.trials[0].value == 0.125
    assert "outcome" not in loop.study.trials[0].user_attrs


def test_a_worker_taken_for_dead_may_be_stopped(study, store_url, make_loop):
    def evaluate(config):
        yield 1, 1.0
        taken_over(study, 0)
        raise Interrupted

    loop = make_loop(evaluate, url=store_url, trials=2)
    assert loop.run() == "stopped"
    assert states(loop.study) == ["interrupted", "waiting"]


def test_signatures_tell_the_living_from_the_dead(dead_worker):
    mine = recovery.signature()
    assert not recovery.is_gone(mine)
    dead = Worker(**dead_worker)
    assert recovery.is_gone(dead)
    assert recovery.is_gone(replace(mine, started="1")), "another process has the pid now"
    assert not recovery.is_gone(replace(dead, machine="another")), "that cannot be known from here"
    assert not recovery.is_gone(None)
    assert not recovery.is_gone(Worker())


def test_a_study_in_memory_is_recovered_too(dead_worker):
    study = optuna.create_study()
    ask(study, dead_worker)
    study.ask()  # unsigned: without a store nobody else can have asked for it
    assert recovery.take_over(study, None) == 1
    assert states(study) == ["interrupted", "running", "waiting"]
    with recovery.heartbeat(None, study.ask()):
        pass


class TestPrivateNamesOfOptuna:
    """What `recovery` reaches for; a new Optuna that changes it fails here first."""

    def test_ids(self, study, store):
        trial = study.ask()
        frozen = study._storage.get_trial(trial._trial_id)
        assert frozen.number == trial.number
        assert frozen._trial_id == trial._trial_id
        assert [one._trial_id for one in store.get_all_trials(study._study_id)] == [trial._trial_id]

    def test_heartbeats(self, study, store):
        store.watch.grace_s = 3600  # no busy machine takes that long between two lines
        trial = study.ask()
        assert store.stale_trials(study._study_id) == []
        store.record_heartbeat(trial._trial_id)
        age(store, trial, 3601)
        assert store.stale_trials(study._study_id) == [trial._trial_id]
        study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        assert store.stale_trials(study._study_id) == []

    def test_a_closed_trial_refuses_writes(self, study):
        trial = study.ask()
        study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        with pytest.raises(UpdateFinishedTrialError):
            study._storage.set_trial_user_attr(trial._trial_id, "outcome", {})
        with pytest.raises(UpdateFinishedTrialError):
            trial.report(1.0, 1)
        with pytest.raises(ValueError, match=CLOSED_BY_ANOTHER):
            study.tell(trial, 1.0)

    def test_a_waiting_trial_keeps_its_parameters(self, study):
        study.enqueue_trial({"x": 0.25})
        trials = [ask(study) for _ in range(2)]
        assert [trial.number for trial in trials] == [0, 1]
        assert trials[0].params["x"] == 0.25 != trials[1].params["x"]

    def test_of_workers_that_ask_at_once_one_gets_the_waiting_trial(self, study, store_url, open_store, name):
        study.enqueue_trial({"x": 0.25})
        others, asked, gate = (
            [studies.existing(open_store(store_url), name) for _ in range(4)],
            [],
            threading.Barrier(4),
        )

        def ask_one(other):
            gate.wait()
            asked.append(ask(other))

        threads = [threading.Thread(target=ask_one, args=(other,)) for other in others]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        numbers = sorted(trial.number for trial in asked)
        assert numbers == [0, 1, 2, 3]
        assert len({trial.params["x"] for trial in asked}) == 4
