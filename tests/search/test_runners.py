"""What every runner owes the loop: each job one outcome, told as its trial ends, and a slot that is filled again."""

import heapq
import math

import pytest

from kirigami.search.study.record import stored_result
from kirigami.search.training.job import Interrupted, Job, Outcome, Paused, Pruned
from kirigami.search.training.runners import Slots, Solo, surrogate
from tests.search.loops import states, trials_of, xs

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]


class Simulated:
    """Slots of a device whose epochs take their own time, on a clock that nobody waits for.

    Args:
        epochs: yields (seconds, fidelity, metrics) of a config's epochs.
        in_batches: take new jobs only when all have ended, as a runner without streams would.
    """

    def __init__(self, epochs, slots, in_batches=False):
        self.epochs, self.slots, self.in_batches = epochs, slots, in_batches
        self.now = self.busy = 0.0

    def signature(self, config):
        return None

    def run(self, next_job):
        due = []
        while True:
            has_room = not (self.in_batches and due)
            while has_room and len(due) < self.slots and (job := next_job()) is not None:
                self.push(due, job, self.epochs(job.config))
            if not due:
                return
            self.now, _, job, epochs, fidelity, metrics = heapq.heappop(due)
            outcome = self.step(job, fidelity, metrics)
            if outcome is None and not self.push(due, job, epochs):
                outcome = Outcome("complete", metrics)
            if outcome is not None:
                yield job, outcome

    def push(self, due, job, epochs):
        epoch = next(epochs, None)
        if epoch is not None:
            seconds, fidelity, metrics = epoch
            self.busy += seconds
            heapq.heappush(due, (self.now + seconds, job.number, job, epochs, fidelity, metrics))
        return epoch is not None

    def step(self, job, fidelity, metrics):
        try:
            job.report(fidelity, metrics)
        except Pruned as reason:
            return Outcome("pruned", metrics, str(reason))
        except Paused:
            return Outcome("paused", metrics)


def solo(function):
    """Return a runner of one job at a time."""

    def run(job):
        for step in function(job):
            if step is not None:
                return step
        return Outcome("complete", job.curve[-1][1])

    return Solo(run)


def slots(count):
    def make(function):
        def steps(job):
            for step in function(job):
                if step is not None:
                    return step
                yield
            return Outcome("complete", job.curve[-1][1])

        return Slots(steps, count)

    return make


RUNNERS = {"solo": solo, "one slot": slots(1), "four slots": slots(4)}


@pytest.fixture(params=RUNNERS)
def make_runner(request):
    """Make a runner of a function that is given a job and yields between its steps."""
    return RUNNERS[request.param]


class Queue:
    """Hands out jobs and remembers which it handed out."""

    def __init__(self, *numbers, on_report=lambda fidelity, metrics: None):
        self.left = [Job(number, {}, on_report) for number in numbers]
        self.taken = []

    def __call__(self, signature=None):
        if not self.left:
            return None
        self.taken.append(self.left.pop(0))
        return self.taken[-1]


def three_steps(job):
    for fidelity in (1, 2, 3):
        job.report(fidelity, {"score": float(job.number)})
        yield


class TestContract:
    def test_every_job_has_one_outcome(self, make_runner):
        queue = Queue(*range(9))
        ends = list(make_runner(three_steps).run(queue))
        assert sorted(job.number for job, _ in ends) == list(range(9))
        assert all(outcome == Outcome("complete", {"score": float(job.number)}) for job, outcome in ends)
        assert all(job in queue.taken for job, _ in ends)

    def test_without_jobs_there_is_nothing(self, make_runner):
        assert list(make_runner(three_steps).run(Queue())) == []

    def test_no_more_run_than_there_are_slots(self, make_runner):
        runner, queue = make_runner(three_steps), Queue(*range(9))
        for ended, _ in enumerate(runner.run(queue)):
            assert len(queue.taken) - ended <= runner.slots

    def test_an_end_is_told_before_the_others_end(self, make_runner):
        def steps(job):
            for fidelity in range(1, 2 if job.number == 0 else 9):
                job.report(fidelity, {"score": 0.0})
                yield

        queue = Queue(0, 1, 2)
        first, _ = next(iter(make_runner(steps).run(queue)))
        assert first.number == 0
        assert all(len(job.curve) < 8 for job in queue.taken[1:])

    def test_what_a_trial_raises_is_its_outcome(self, make_runner, capsys):
        def steps(job):
            job.report(1, {"score": 2.0})
            yield
            raise {0: ValueError("a\nb"), 1: Pruned("too slow"), 2: Paused()}.get(job.number, KeyError("c"))

        ends = {job.number: (job, outcome) for job, outcome in make_runner(steps).run(Queue(0, 1, 2))}
        assert ends[0][1] == Outcome("failed", reason="ValueError: a b")
        assert "test_runners.py" in ends[0][0].details["raised_at"]
        assert ends[1][1] == Outcome("pruned", {"score": 2.0}, "too slow")
        assert ends[2][1] == Outcome("paused", {"score": 2.0})
        assert "ValueError" in capsys.readouterr().err

    def test_an_interrupt_ends_it_and_leaves_what_has_not_ended(self, make_runner):
        def steps(job):
            job.report(1, {"score": 0.0})
            yield
            if job.number == 2:
                raise Interrupted

        stream = make_runner(steps).run(Queue(*range(6)))
        assert [next(stream)[0].number for _ in range(2)] == [0, 1]
        with pytest.raises(Interrupted):
            next(stream)

    def test_jobs_that_are_alike_have_one_signature(self, make_runner):
        runner = make_runner(three_steps)
        assert runner.signature({"x": 1}) == runner.signature({"x": 1})
        assert hash(runner.signature({"x": 1})) is not None


def epochs_of(config):
    """Nine epochs of one to two seconds; what is worse is pruned early."""
    for fidelity in range(1, 10):
        yield 1 + config["x"], fidelity, {"score": config["x"] + 1 / fidelity}


class TestStreaming:
    ASHA = {"name": "asha", "min_resource": 1, "reduction_factor": 3}

    def busy(self, make_loop, **settings):
        runner = Simulated(epochs_of, slots=16, **settings)
        loop = make_loop(runner, trials=300, pruner=self.ASHA, rungs=(1, 3))
        assert loop.run() == "budget.trials=300 is met"
        assert states(loop).count("pruned") > 150
        assert len(trials_of(loop)) == 300
        return runner.busy / (runner.slots * runner.now)

    def test_slots_stay_busy_where_most_trials_are_pruned(self, make_loop):
        assert self.busy(make_loop) >= 0.9
        assert self.busy(make_loop, in_batches=True) < 0.6

    def test_trials_side_by_side_are_each_judged_and_told(self, make_loop):
        def evaluate(config):
            for fidelity in (1, 2, 3):
                yield fidelity, math.nan if config["y"] < 4 and fidelity == 2 else config["x"]

        loop = make_loop(surrogate(evaluate, "score", slots=5), trials=23)
        assert loop.run() == "budget.trials=23 is met"
        assert len(trials_of(loop)) == 23
        assert {trial.params["y"] < 4: stored_result(trial)["state"] for trial in trials_of(loop)} == {
            True: "pruned",
            False: "complete",
        }

    def test_the_order_of_outcomes_changes_no_draw(self, make_loop, bowl):
        """Random draws hang on a trial's place alone."""
        alone, together = (make_loop(surrogate(bowl, "score", slots), trials=12, rungs=()) for slots in (1, 6))
        alone.run()
        together.run()
        assert xs(trials_of(alone)) == xs(trials_of(together))

    def test_an_interrupt_hands_back_what_runs_and_nothing_else(self, make_loop, sqlite_url):
        ended = []

        def evaluate(config):
            for fidelity in range(1, 3 if len(ended) < 2 else 50):
                yield fidelity, 1.0
            ended.append(1)

        loop = make_loop(surrogate(evaluate, "score", 4), url=sqlite_url, trials=9, rungs=())
        loop.stop_requested = lambda: len(ended) >= 4
        assert loop.run() == "stopped"
        counts = {state: states(loop).count(state) for state in ("complete", "interrupted", "waiting", "running")}
        assert counts["complete"] == len([one for one in trials_of(loop) if one.values]) > 0
        assert counts["interrupted"] == counts["waiting"] <= 4
        assert counts["running"] == 0
        again = make_loop(surrogate(lambda config: [(1, 1.0)], "score", 4), url=sqlite_url, trials=9)
        assert again.run() == "budget.trials=9 is met"
        assert states(again).count("complete") == 9
        assert states(again).count("waiting") == 0


class TestSignatures:
    @staticmethod
    def runner(seen, slots=4):
        def steps(job):
            for fidelity in (1, 2, 3):
                seen.setdefault(job.config["y"], []).append(job.number)
                job.report(fidelity, {"score": job.config["x"]})
                yield
            return Outcome("complete", job.curve[-1][1])

        class Alike(Slots):
            def run(self, next_job):
                self.aboard = {}

                def noted(signature=None):
                    job = next_job(signature)
                    if job is not None:
                        self.aboard[job.number] = job.config["y"]
                        assert len(set(self.aboard.values())) == 1, "trials of two shapes are aboard"
                    return job

                for job, outcome in super().run(noted):
                    del self.aboard[job.number]
                    yield job, outcome

        return Alike(steps, slots, lambda config: config["y"])

    def test_only_trials_of_one_signature_run_together(self, make_loop):
        seen = {}
        loop = make_loop(self.runner(seen), trials=20)
        assert loop.run() == "budget.trials=20 is met"
        assert states(loop) == ["complete"] * 20
        assert len(seen) > 2

    def test_what_is_held_beats_and_is_handed_back_at_an_interrupt(self, make_loop, sqlite_url):
        loop = make_loop(self.runner({}), url=sqlite_url, trials=12)
        beating = []

        def stop():
            held = loop._held
            if held and not beating:
                beating.extend(held)
                return True
            return bool(beating)

        loop.stop_requested = stop
        assert loop.run() == "stopped"
        assert beating
        assert states(loop).count("running") == 0
        assert all(states(loop)[running.number] == "interrupted" for running in beating)
        assert all("outcome" not in trials_of(loop)[running.number].user_attrs for running in beating)
        again = make_loop(self.runner({}), url=sqlite_url, trials=12)
        assert again.run() == "budget.trials=12 is met"
        assert states(again).count("complete") == 12


def test_trials_that_run_at_once_share_the_time(make_loop):
    """What they are charged adds up to the time of the worker, however many run."""

    class Clock:
        now = 0.0

    def steps(job):
        for fidelity in range(1, 2 + job.number):
            Clock.now += 1.0
            job.report(fidelity, {"score": 0.0})
            yield
        return Outcome("complete", {"score": 0.0})

    loop = make_loop(Slots(steps, 3), trials=6)
    loop._shares._clock = lambda: Clock.now
    loop._shares.settle()
    loop.run()
    charged = [stored_result(trial)["device_s"] for trial in trials_of(loop)]
    assert sum(charged) == pytest.approx(Clock.now) == 1 + 2 + 3 + 4 + 5 + 6
    assert charged[0] < charged[-1]
