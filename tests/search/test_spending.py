"""Budgets of device seconds and money: what is left, when a trial has to end, that workers keep to them together."""

import threading
import time
from datetime import timedelta

import pytest
from optuna.trial import TrialState

from kirigami.search.study.charges import charges
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import stored_result
from kirigami.search.study.spending import Deadline, Left, left, shares
from kirigami.search.study.states import state_of
from kirigami.search.training.runners import surrogate
from kirigami.spaces import Budget
from tests.search.stored_trials import NOON, trial

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]

STEP = 0.02

# A worker whose trials take steps of 20 ms and would go on for a minute.
WORKER = f"""
import sys, time
from kirigami.search import storage
from kirigami.search.study import study
from kirigami.search.training.job import Outcome
from kirigami.search.training.runners import Solo
from kirigami.search.loop import Loop
from kirigami.search.config.sampler import Random
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.spaces import Budget, PriorSampler, Space

def run(job):
    began = last = time.monotonic()
    try:
        for step in range(int(sys.argv[4])):
            job.check_interrupt()
            time.sleep({STEP})
            now = time.monotonic()
            job.details["step_s"], last = max(job.details.get("step_s", 0.0), now - last), now
    finally:
        now = time.monotonic()
        job.details.update(ran_s=now - began, step_s=max(job.details.get("step_s", 0.0), now - last))
    return Outcome("complete", {{"score": 1.0}})

config = {{"x": 0.5}}
space = Space.from_config({{"x": {{"low": 0.0, "high": 1.0}}}}, config)
store = storage.open_storage(storage.Settings.read({{"url": sys.argv[1], "heartbeat_s": 1, "grace_s": 60}}))
joined = study.create(store, sys.argv[2], {{"score": "minimize"}}, {{"space": "s"}})
joined.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0)
budget = Budget(device_s=float(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
prepare = lambda values: space.apply(config, values)
print(Loop(joined, space, Solo(run), budget, prepare, storage=store).run())
"""


def at(seconds):
    return NOON + timedelta(seconds=seconds)


def worker(pid, clock=None):
    return {"machine": "m", "pid": pid, "started": "1", **({} if clock is None else {"clock": clock})}


def origin(price=None, devices=1):
    return {"config": {"cost": {"per_device_hour": price, "currency": "EUR"}, "trainer": {"devices": devices}}}


class TestWhatIsLeft:
    def test_finished_interrupted_and_running_trials_have_spent(self):
        trials = [
            trial(0, "COMPLETE", 0, 9, outcome={"device_s": 10.0}),
            trial(1, "FAIL", 0, 30, lost_s=5.0),
            trial(2, "FAIL", 0, 1, outcome={"state": "surplus"}),
            trial(3, "RUNNING", 10, worker=worker(1)),
            trial(4, "RUNNING", 15, worker=worker(2), origin=origin(devices=2)),
        ]
        # 10 + 5 are spent, 10 s by one device and 5 s by each of two; three devices share what is left.
        found = left(Budget(device_s=65.0), Ledger(trials), at(20))
        assert found == (10.0, "budget.device_s=65")
        assert left(Budget(device_s=35.0), Ledger(trials), at(20)).seconds == 0

    def test_trials_of_one_batch_share_their_device(self):
        trials = [trial(number, "RUNNING", number, worker=worker(1)) for number in range(3)]
        assert left(Budget(device_s=30.0), Ledger(trials), at(10)).seconds == 20

    def test_what_a_workers_ended_trials_had_is_theirs(self):
        """One runs all the time, beside it two others one after the other: half the time of each is theirs."""
        mine = {"worker": worker(1)}
        trials = [
            trial(0, "RUNNING", 0, **mine),
            trial(1, "COMPLETE", 0, 4, outcome={"device_s": 2.0}, **mine),
            trial(2, "COMPLETE", 4, 8, outcome={"device_s": 2.0}, **mine),
            trial(3, "COMPLETE", 0, 8, outcome={"device_s": 8.0}, worker=worker(2)),
        ]
        assert charges(Ledger(trials), at(10)) == [(6.0, 1, None)]
        assert left(Budget(device_s=30.0), Ledger(trials), at(10)).seconds == 30 - 10 - 8

    def test_money_is_counted_at_each_workers_price(self):
        trials = [
            trial(0, "COMPLETE", 0, 9, outcome={"device_s": 3600.0}, origin=origin(2.0)),
            trial(1, "COMPLETE", 0, 9, outcome={"device_s": 1800.0}),
            trial(2, "RUNNING", 0, worker=worker(1), origin=origin(4.0)),
        ]
        budget = Budget(money=7.0, per_device_hour=6.0, currency="EUR")
        found = left(budget, Ledger(trials), at(900))  # 2 + 3 + 1 are spent
        assert (round(found.seconds), found.budget) == (900, "budget.money=7 EUR")
        assert Ledger(trials).money() == 2.0 + 1.0, "at the latest price known"
        assert shares(budget, Ledger(trials[:2])) == ["5.00/7 EUR"]

    def test_the_first_budget_to_be_met_counts(self):
        trials = [trial(0, "RUNNING", 0, worker=worker(1)), trial(1, "RUNNING", 0, worker=worker(2))]
        budget = Budget(wall_s=60.0, device_s=100.0)
        assert left(budget, Ledger(trials), at(10)) == (40.0, "budget.device_s=100")
        assert left(budget, Ledger(trials[:1]), at(10)) == (50.0, "budget.wall_s=60")

    def test_without_such_budgets_there_is_no_end(self):
        assert left(Budget(trials=3), Ledger([]), NOON).seconds == float("inf")


class TestClocks:
    """The second machine is an hour behind the database, and signs its trials so."""

    def test_times_of_two_machines_meet_on_the_databases_clock(self):
        late = {"worker": worker(2, clock=3600.0)}
        trials = [trial(0, "COMPLETE", 0, 10, worker=worker(1)), trial(1, "COMPLETE", 5 - 3600, 12 - 3600, **late)]
        assert Ledger(trials).wall_seconds(at(12)) == 12
        trials.append(trial(2, "RUNNING", 20 - 3600, **late))
        assert Ledger(trials).wall_seconds(at(25)) == 17
        assert [charge.seconds for charge in charges(Ledger(trials), at(25))] == [5]
        assert [one.number for one in Ledger(trials).last_ended(1, since=NOON)] == [1]

    def test_this_machines_clock_is_set_too(self):
        ahead = Ledger([], clock=3600.0).now() - Ledger([]).now()
        assert timedelta(minutes=59) < ahead < timedelta(minutes=61)


class TestDeadline:
    def test_the_store_is_read_before_a_trial_ends_and_rarely_before_that(self):
        now, reads, answers = [0.0], [], [Left(12.0, "b"), Left(11.0, "b"), Left(0.5, "b"), Left(0.0, "b")]

        def read():
            reads.append(now[0])
            return answers.pop(0)

        deadline = Deadline(read, Left(13.0, "b"), clock=lambda: now[0])
        ended = None
        while ended is None:
            now[0] += 0.01
            ended = deadline.met()
        assert ended == "b"
        # soon after the beginning, then after as long again, at most after 2 s, and at a quarter of what is left
        assert reads == pytest.approx([0.25, 0.50, 1.00, 1.125], abs=0.021)

    def test_what_others_did_not_use_is_used(self):
        now, answers = [0.0], [Left(5.0, "b"), Left(0.0, "b")]
        deadline = Deadline(lambda: answers.pop(0), Left(0.1, "b"), clock=lambda: now[0])
        now[0] = 0.2
        assert deadline.met() is None
        now[0] = 10.0
        assert deadline.met() == "b"


def endless(config):
    for fidelity in range(1, 10_000):
        time.sleep(0.005)
        yield fidelity, 1.0


def test_a_trial_is_cut_and_no_other_is_asked_for(make_loop):
    loop = make_loop(endless, device_s=0.1, rungs=())
    assert loop.run() == "budget.device_s=0.1 is met"
    (one,) = loop.study.get_trials(deepcopy=False)
    outcome = stored_result(one)
    assert outcome["state"] == "pruned"
    assert outcome["reason"] == f"budget.device_s=0.1 was met at fidelity {outcome['curve'][-1][0]}"
    assert outcome["device_s"] == outcome["wall_s"] >= 0.0999
    assert outcome["devices"] == 1
    assert make_loop(endless, study=loop.study, device_s=0.1).run() == "budget.device_s=0.1 is met"
    assert len(loop.study.get_trials(deepcopy=False)) == 1


def test_a_budget_of_money_ends_a_study(make_loop):
    loop = make_loop(endless, money=0.1, cost={"per_device_hour": 3600.0, "currency": "EUR"}, rungs=())
    assert loop.run() == "budget.money=0.1 EUR is met"
    assert "budget.money=0.1 EUR was met" in stored_result(loop.study.trials[0])["reason"]


def test_a_stopped_attempt_is_charged(make_loop, sqlite_url):
    stop = threading.Event()

    def stopping(config):
        for fidelity, value in endless(config):
            if fidelity == 20:
                stop.set()
            yield fidelity, value

    loop = make_loop(stopping, url=sqlite_url, device_s=3600, rungs=(), stop_requested=stop.is_set)
    assert loop.run() == "stopped"
    first = loop.study.trials[0]
    assert state_of(first) == "interrupted"
    lost = first.user_attrs["lost_s"]
    assert lost > 0.05
    attempts = []
    again = make_loop(lambda config: attempts.append(config) or endless(config), url=sqlite_url, device_s=lost)
    assert again.run() == f"budget.device_s={lost:g} is met"
    assert attempts == [], "the stopped attempt had nothing left for the retry"


@pytest.mark.parametrize(("store", "steps"), [("postgres", 100_000), ("sqlite", 13)], ids=["cut", "many"])
def test_processes_keep_to_a_budget_of_device_seconds_together(child, request, name, store, steps, make_loop):
    url = request.getfixturevalue("sqlite_url") if store == "sqlite" else request.getfixturevalue("postgres").url
    budget, count = 2.0, 3
    workers = [child(WORKER, url, name, str(budget), str(steps)) for _ in range(count)]
    for one in workers:
        assert one.stdout.readline() == "ready\n"
    for one in workers:
        one.stdin.write("go\n")
        one.stdin.flush()
    assert {one.stdout.readline().strip() for one in workers} == {f"budget.device_s={budget:g} is met"}
    trials = make_loop(endless, url=url, trials=1).study.get_trials(deepcopy=False)
    ledger, outcomes = Ledger(trials), [stored_result(one) for one in trials]
    spent = sum(one["device_s"] for one in outcomes if one["state"] != "surplus")
    assert ledger.device_seconds() == pytest.approx(spent)
    assert ledger.open == 0
    assert spent >= budget - 0.001 * len(trials)
    assert 1 <= sum(one.state is TrialState.PRUNED for one in trials) <= 2 * count
    assert spent - budget < sum(longest(trials).values()), "over by more than a step of each worker"


def longest(trials):
    """Return the longest time in which each worker did not look at the clock: a step, or until its first one."""
    found = {}
    for one in trials:
        outcome, pid = stored_result(one), one.user_attrs["worker"]["pid"]
        blind = max(outcome["step_s"], outcome["device_s"] - outcome["ran_s"]) + STEP
        found[pid] = max(found.get(pid, 0.0), blind)
    return found


def test_slots_of_one_worker_spend_its_time_and_no_more(make_loop):
    """A long trial beside many short ones: the budget is met when the worker's time is over, not before."""

    def evaluate(config):
        for fidelity in range(1, 10_000 if config["y"] == long else 3):
            time.sleep(0.002)
            yield fidelity, 1.0

    probe = make_loop(lambda config: [(1, 1.0)], trials=1)
    probe.run()
    long = probe.study.trials[0].params["y"]
    loop = make_loop(surrogate(evaluate, "score", slots=3), device_s=0.6)
    assert loop.run() == "budget.device_s=0.6 is met"
    spent = Ledger(loop.study.trials).device_seconds()
    assert spent >= 0.6 - 0.001 * len(loop.study.trials)
    assert [state_of(trial) for trial in loop.study.trials].count("complete") > 3
