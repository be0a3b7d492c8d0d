"""ask -> run -> tell, over formulas in place of networks: the budget, and who is stopped."""

import itertools
import json
import math
import threading
import time
from pathlib import Path

import pytest

from kirigami.search.study import recovery
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import stored_result
from kirigami.search.training.job import Interrupted, Job, Outcome
from tests.search.loops import reasons, states, trials_of, xs
from tests.waiting import GUARD_SECONDS

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]


class TestBudgetOfTrials:
    @pytest.mark.parametrize("trials", [1, 7])
    def test_it_is_met_exactly(self, make_loop, bowl, trials):
        loop = make_loop(bowl, trials=trials)
        assert loop.run() == f"budget.trials={trials} is met"
        assert states(loop) == ["complete"] * trials

    def test_pruned_and_failed_trials_count(self, make_loop):
        def evaluate(config):
            if config["y"] < 3:
                raise ValueError("too small")
            yield 1, math.nan if config["y"] < 6 else 1.0

        loop = make_loop(evaluate, trials=30)
        loop.run()
        assert set(states(loop)) == {"complete", "pruned", "failed"}
        assert len(trials_of(loop)) == 30

    def test_it_belongs_to_the_study(self, make_loop, bowl, sqlite_url):
        make_loop(bowl, url=sqlite_url, trials=4).run()
        make_loop(bowl, url=sqlite_url, trials=4).run()
        loop = make_loop(bowl, url=sqlite_url, trials=4)
        assert states(loop) == ["complete"] * 4
        raised = make_loop(bowl, url=sqlite_url, trials=6)
        raised.run()
        assert states(raised) == ["complete"] * 6

    def test_threads_with_a_store_each_share_it(self, make_loop, bowl, sqlite_url):
        runs, lock = [], threading.Lock()

        def evaluate(config):
            with lock:
                runs.append(config["x"])
            yield from bowl(config)

        loops = [make_loop(evaluate, url=sqlite_url, trials=12, rungs=()) for _ in range(4)]
        threads = [threading.Thread(target=loop.run) for loop in loops]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        ledger = Ledger(trials_of(loops[0]))
        assert (ledger.finished, ledger.open, ledger.count("interrupted")) == (12, 0, 0)
        assert sorted(xs(ledger.by_state["complete"])) == sorted(runs)
        assert len(set(runs)) == 12
        assert not any(trial.params for trial in ledger.by_state["surplus"])

    def test_processes_share_it(self, child, make_loop, bowl, sqlite_url, name):
        workers = [child(WORKER, sqlite_url, name) for _ in range(2)]
        for worker in workers:
            assert worker.stdout.readline() == "ready\n"
        Path(sqlite_url.removeprefix("sqlite:///")).with_name("go").touch()
        runs = [x for worker in workers for x in json.loads(worker.communicate(timeout=GUARD_SECONDS)[0])]
        ledger = Ledger(trials_of(make_loop(bowl, url=sqlite_url, trials=12)))
        assert (ledger.finished, ledger.open, ledger.count("interrupted")) == (12, 0, 0)
        assert sorted(xs(ledger.by_state["complete"])) == sorted(runs)
        assert len(set(runs)) == 12

    def test_a_trial_asked_too_late_is_handed_back_untrained(self, make_loop, bowl, sqlite_url):
        """Another worker asks for the last trial between our look at the store and our asking."""
        other, theirs, runs = make_loop(bowl, url=sqlite_url), [], []

        def just_before_asking():
            if not theirs:
                theirs.append(other.study.ask())
            elif len(trials_of(other)) == 2 and not trials_of(other)[0].state.is_finished():
                other.study.tell(theirs[0], 1.0)
            return False

        def evaluate(config):
            runs.append(config)
            yield 1, 1.0

        loop = make_loop(evaluate, url=sqlite_url, trials=1, stop_requested=just_before_asking)
        assert loop.run() == "budget.trials=1 is met"
        assert states(loop) == ["complete", "surplus"]
        assert runs == []

    def test_a_worker_waits_for_the_last_trials_of_others(self, make_loop, bowl, sqlite_url, dead_worker):
        """They may die: then their trials are still to be run."""
        other = make_loop(bowl, url=sqlite_url)
        trial = other.study.ask()
        trial.set_user_attr("worker", vars(recovery.signature()))
        looks = itertools.count(1)

        def dies_while_we_wait():
            if next(looks) == 2:
                trial.set_user_attr("worker", dead_worker)
            return False

        loop = make_loop(bowl, url=sqlite_url, trials=1, stop_requested=dies_while_we_wait)
        with recovery.heartbeat(other.storage, trial):  # it is not its silence that tells
            loop.run()
        assert states(loop) == ["interrupted", "complete"]


# A worker over a formula: waits for the others, runs, prints what it ran.
WORKER = """
import json, sys, time
from pathlib import Path
from kirigami.search import storage
from kirigami.search.study import study
from kirigami.search.training.runners import surrogate
from kirigami.search.loop import Loop
from kirigami.search.config.sampler import Random
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.spaces import Budget, PriorSampler, Space

runs = []

def evaluate(config):
    runs.append(config["x"])
    time.sleep(0.02)
    yield 1, config["x"]

config = {"x": 0.5, "y": 2}
space = Space.from_config({"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}, config)
store = storage.open_storage(storage.Settings.read({"url": sys.argv[1], "heartbeat_s": 1, "grace_s": 60}))
print("ready", flush=True)
while not Path(sys.argv[1].removeprefix("sqlite:///")).with_name("go").exists():
    time.sleep(0.005)
joined = study.create(store, sys.argv[2], {"score": "minimize"}, {"space": "s"})
joined.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0)
prepare = lambda values: space.apply(config, values)
Loop(joined, space, surrogate(evaluate, "score"), Budget(trials=12), prepare, storage=store).run()
print(json.dumps(runs))
"""


class TestBudgetOfSeconds:
    def test_the_running_trial_ends_at_its_next_report(self, make_loop):
        def slow(config):
            for fidelity in range(1, 1000):
                time.sleep(0.02)
                yield fidelity, 1.0

        loop = make_loop(slow, wall_s=1, rungs=())
        assert loop.run() == "budget.wall_s=1 is met"
        assert states(loop) == ["pruned"]
        (trial,) = trials_of(loop)
        curve = stored_result(trial)["curve"]
        assert reasons(loop) == [f"budget.wall_s=1 was met at fidelity {curve[-1][0]}"]
        assert len(curve) < 999

    def test_earlier_runs_of_the_study_have_used_it(self, make_loop, sqlite_url):
        def slow(config):
            time.sleep(0.05)
            yield 1, 1.0

        first = make_loop(slow, url=sqlite_url, trials=3)
        first.run()
        spent = Ledger(trials_of(first)).wall_seconds()
        assert spent > 0.15
        time.sleep(0.2)  # between the runs: nobody works
        loop = make_loop(slow, url=sqlite_url, wall_s=spent + 0.02)
        loop.run()
        assert states(loop)[:3] == ["complete"] * 3
        assert states(loop)[3:] in (["pruned"], [])
        assert make_loop(slow, url=sqlite_url, wall_s=0.01).run() == "budget.wall_s=0.01 is met"

    def test_whichever_limit_comes_first(self, make_loop, bowl):
        assert make_loop(bowl, wall_s=100, trials=2).run() == "budget.trials=2 is met"


class TestStopping:
    @pytest.mark.parametrize("url", [None, "sqlite"])
    def test_the_running_trial_is_handed_back_and_run_again_once(self, make_loop, bowl, sqlite_url, url):
        reports = []

        def stop_in_the_third_trial():
            reports.append(1)
            return len(reports) > 3 + 9 + 9 + 4  # once a trial before it is asked, then at each of nine reports

        first = make_loop(bowl, url=url and sqlite_url, trials=5, stop_requested=stop_in_the_third_trial)
        assert first.run() == "stopped"
        assert states(first) == ["complete", "complete", "interrupted", "waiting"]
        study = None if url else first.study
        second = make_loop(bowl, url=url and sqlite_url, study=study, trials=5)
        assert second.run() == "budget.trials=5 is met"
        assert states(second) == ["complete", "complete", "interrupted", "complete", "complete", "complete"]
        params = [trial.params for trial in trials_of(second)]
        assert params[3] == params[2]
        assert len({str(one) for one in params}) == 5

    def test_a_request_before_the_first_trial_asks_for_none(self, make_loop, bowl):
        loop = make_loop(bowl, trials=5, stop_requested=lambda: True)
        assert loop.run() == "stopped"
        assert trials_of(loop) == []

    def test_only_what_runs_is_handed_back(self, make_loop):
        class Stopping:
            slots = 4

            def signature(self, config):
                return None

            def run(self, next_job):
                jobs = [next_job() for _ in range(4)]
                yield jobs[1], Outcome("complete", {"score": 1.0})
                raise Interrupted

        loop = make_loop(Stopping(), trials=5)
        assert loop.run() == "stopped"
        assert states(loop) == ["interrupted", "complete", "interrupted", "interrupted"] + ["waiting"] * 3
        assert xs(trials_of(loop)[4:]) == [xs(trials_of(loop))[number] for number in (0, 2, 3)]

    def test_steps_between_reports_notice_it(self):
        job = Job(0, {}, lambda fidelity, metrics: None, stop_requested=lambda: True)
        with pytest.raises(Interrupted):
            job.check_interrupt()
        with pytest.raises(Interrupted):
            job.report(1, {"score": 1.0})
        assert job.curve == [(1, {"score": 1.0})]
