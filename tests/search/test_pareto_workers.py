"""Pareto studies under a pruner whose workers are stopped, killed, taken for dead, or share the rungs."""

import threading
import time

import pytest

from kirigami.search.proposal import halving
from kirigami.search.study import recovery
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Interrupted
from tests.search.loops import trials_of
from tests.search.pareto_trials import RUNGS, comes, pruner_of, trade
from tests.waiting import GUARD_SECONDS

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_a_study_that_was_stopped_goes_on_as_if_it_had_not(make_loop, sqlite_url, open_store, pruner):
    """The stopped trial had reached a rung already: run again, it is counted once, and keeps its bracket."""
    settings = {"objectives": ("loss", "size"), "sampler": "tpe", "trials": 16}
    settings["judge"] = halving.build(pruner_of(name=pruner, min_resource=1, reduction_factor=3), 9)
    undisturbed = make_loop(trade, **settings)
    undisturbed.run()

    passed = iter(range(1000))

    def stopping(config):
        for epoch, metrics in trade(config):
            yield epoch, metrics
            if epoch == 1 and next(passed) in (0, 2, 4):
                raise Interrupted

    loops = [make_loop(stopping, url=sqlite_url, **settings) for _ in range(4)]
    ends = [loop.run() for loop in loops]
    assert ends == ["stopped", "stopped", "stopped", "budget.trials=16 is met"]
    found = [trial for trial in trials_of(loops[-1]) if state_of(trial) in ("complete", "pruned")]
    decided = [(one.params, state_of(one), one.values) for one in trials_of(undisturbed)]
    assert sorted(map(str, decided)) == sorted(str((one.params, state_of(one), one.values)) for one in found)
    assert len({str(one) for one in decided}) == 16


KILLED = """
import sys, time
from kirigami.search import storage
from kirigami.search.config.sampler import Random
from kirigami.search.config.pruner import Asha
from kirigami.search.proposal import halving
from kirigami.search.study import study
from kirigami.search.training.job import Outcome
from kirigami.search.training.runners import Solo
from kirigami.search.study.ledger import Ledger
from kirigami.search.loop import Loop
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.spaces import Budget, PriorSampler, Space

def run(job):
    job.report(1, {"loss": 0.0, "size": 0.0})
    print("rung", flush=True)
    time.sleep(3600)

config = {"x": 0.5, "y": 2}
space = Space.from_config({"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}, config)
store = storage.open_storage(storage.Settings.read({"url": sys.argv[1], "heartbeat_s": 1, "grace_s": 2}))
joined = study.create(store, sys.argv[2], {"loss": "minimize", "size": "minimize"}, {"space": "s"})
place = lambda study, trial: Ledger().read(study).place(trial)
joined.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0, place)
halve = halving.build(Asha(min_resource=1, reduction_factor=3), 9)
prepare = lambda values: space.apply(config, values)
Loop(joined, space, Solo(run), Budget(trials=3), prepare, storage=store, judge=halve).run()
"""


def test_what_a_killed_worker_had_reached_is_stored_and_not_counted_twice(
    store_url, name, child, make_loop, open_store
):
    """Its values would keep all others from going on."""
    process = child(KILLED, store_url, name)
    assert process.stdout.readline() == "rung\n"
    process.kill()
    process.wait()
    study = studies.existing(open_store(store_url), name)
    (dead,) = study.get_trials(deepcopy=False)
    assert dead.user_attrs["rung:1"] == {"bracket": 0, "values": {"loss": 0.0, "size": 0.0}, "over": 0}
    loop = make_loop(
        comes([(1.0, 1.0), (2.0, 2.0), (0.5, 0.5)]), url=store_url, objectives=("loss", "size"), trials=3, judge=RUNGS
    )
    loop.run()
    assert [state_of(trial) for trial in trials_of(loop)] == ["interrupted", "complete", "pruned", "complete"]


def test_workers_share_the_rungs(store_url, name, make_loop):
    """Each of two workers sees what the other's trials reached: one in three of all of them goes on, not of its own."""
    gate = threading.Barrier(2, timeout=GUARD_SECONDS)

    def evaluate(config):
        for epoch in range(1, 10):
            time.sleep(0.002)
            yield epoch, {"loss": config["x"], "size": config["x"]}

    settings = {"url": store_url, "objectives": ("loss", "size"), "trials": 24, "judge": RUNGS}
    loops = [make_loop(evaluate, **settings) for _ in range(2)]

    def work(loop):
        gate.wait()
        loop.run()

    threads = [threading.Thread(target=work, args=(loop,)) for loop in loops]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    trials = trials_of(loops[0])
    ledger = Ledger(trials)
    assert (ledger.finished, ledger.open) == (24, 0)
    reached = [one.user_attrs["rung:1"]["values"]["loss"] for one in trials if "rung:1" in one.user_attrs]
    assert len(reached) == 24
    best = [trial for trial in trials if trial.params and trial.params["x"] == min(reached)]
    assert [state_of(trial) for trial in best] == ["complete"]
    assert 1 <= ledger.count("complete") <= 10


def test_a_trial_taken_for_dead_ends_at_its_rung(make_loop, sqlite_url, dead_worker):
    seen = []

    def evaluate(config):
        if not seen:
            seen.append(config)
            other = make_loop(trade, url=sqlite_url, objectives=("loss", "size"))
            (trial,) = other.study.get_trials(deepcopy=False)
            other.study._storage.set_trial_user_attr(trial._trial_id, "worker", dead_worker)
            assert recovery.take_over(other.study, other.storage) == 1
        yield 1, {"loss": 1.0, "size": 1.0}

    loop = make_loop(evaluate, url=sqlite_url, objectives=("loss", "size"), trials=1, judge=RUNGS)
    loop.run()
    assert [state_of(trial) for trial in trials_of(loop)] == ["interrupted", "complete"]
