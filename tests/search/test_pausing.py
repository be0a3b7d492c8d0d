"""Paused trials: they hold no worker, count once, survive kills, and go on to the same bits."""

import json
import signal
import threading
import time
from pathlib import Path

import optuna
import pytest

from kirigami import optimize
from kirigami.search.proposal.judge import Go, Judge, Pause
from kirigami.search.storage.artifacts import Folder
from kirigami.search.study import recovery
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import result_of, retry_of
from kirigami.search.study.states import state_of
from kirigami.search.training import alone
from kirigami.search.training.checkpoints import CheckpointStore
from kirigami.search.training.job import Interrupted, Job, Outcome, Paused
from kirigami.search.training.runners import Solo, surrogate
from tests.search.checkpointed import SMALL, STEPS, Kept, assert_same, run
from tests.search.loops import states, trials_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]

RUNGS = (1, 3)


class PauseAtRungs(Judge):
    """Lets each trial rest at every rung, and go on when its turn comes.

    Args:
        first: whether paused trials go before new ones.
    """

    def __init__(self, rungs=RUNGS, first=False):
        self.rungs, self.first = rungs, first

    def seen(self, trial, report, ledger):
        return self.shown(trial, report)

    def recall(self, trial, earlier, report):
        self.shown(trial, report)

    def shown(self, trial, report):
        if not report.passed(self.rungs):
            return Go()
        trial.report(report.value(trial.study.metric_names[0]), report.fidelity)
        return Pause()

    def resume(self, ledger, new_left):
        return ledger.paused()[0].number if self.first else super().resume(ledger, new_left)


def ended(loop):
    """Return parameters, objectives and curves of what has ended, in the order of their places."""
    trials = trials_of(loop)
    ledger = Ledger(trials)
    over = sorted((trial for trial in trials if state_of(trial) == "complete"), key=ledger.place)
    return [(trial.params, trial.values, result_of(trial).curve) for trial in over]


class TestSurrogate:
    @pytest.mark.parametrize("first", [False, True], ids=["new ones first", "paused ones first"])
    @pytest.mark.parametrize("slots", [1, 4])
    def test_every_trial_ends_as_without_pauses(self, make_loop, bowl, slots, first):
        loop = make_loop(surrogate(bowl, "score", slots), trials=7, judge=PauseAtRungs(first=first))
        assert loop.run() == "budget.trials=7 is met"
        plain = make_loop(bowl, trials=7, study=optuna.create_study())
        plain.study.set_metric_names(["score"])
        plain.run()
        assert ended(loop) == ended(plain)
        assert states(loop).count("paused") == 7 * len(RUNGS)
        assert len(trials_of(loop)) == 7 * (1 + len(RUNGS))

    def test_the_search_from_python_takes_a_judge(self, bowl):
        space = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}
        settings = {"budget": 5, "sampler": "random", "objective": {"score": "minimize"}}
        paused, plain = (optimize(space, bowl, **settings, pruner=pruner).trials for pruner in (PauseAtRungs(), "none"))
        assert [row["state"] for row in paused] == ["paused"] * 10 + ["complete"] * 5
        assert [(row["params"], row["values"]) for row in paused[10:]] == [
            (row["params"], row["values"]) for row in plain
        ]

    def test_new_trials_come_first_by_default(self, make_loop, bowl):
        loop = make_loop(bowl, trials=3, judge=PauseAtRungs())
        loop.run()
        chain = [retry_of(trial) for trial in trials_of(loop)]
        assert chain == [None, None, None, 0, 1, 2, 3, 4, 5]

    def test_a_paused_trial_shows_its_curve_and_what_it_cost(self, make_loop, bowl):
        loop = make_loop(bowl, trials=1, judge=PauseAtRungs())
        loop.run()
        paused, again, last = trials_of(loop)
        assert [state_of(trial) for trial in (paused, again, last)] == ["paused", "paused", "complete"]
        assert [fidelity for fidelity, _ in result_of(paused).curve] == [1]
        assert [fidelity for fidelity, _ in result_of(again).curve] == [1, 2, 3]
        assert again.intermediate_values.keys() == {1, 3}
        parts = [result_of(trial).device_s for trial in trials_of(loop)]
        assert all(part > 0 for part in parts)
        assert Ledger(trials_of(loop)).device_seconds() == pytest.approx(sum(parts))

    def test_a_study_is_not_over_while_a_trial_is_paused(self, make_loop, bowl, sqlite_url):
        stop = threading.Event()

        class Stopping(PauseAtRungs):
            def seen(self, trial, report, ledger):
                verdict = super().seen(trial, report, ledger)
                if isinstance(verdict, Pause) and trial.number == 3:
                    stop.set()
                return verdict

        first = make_loop(bowl, url=sqlite_url, trials=4, judge=Stopping(), stop_requested=stop.is_set)
        assert first.run() == "stopped"
        ledger = Ledger(trials_of(first))
        assert (ledger.count("paused"), ledger.finished, ledger.counted) == (4, 0, 4)
        second = make_loop(bowl, url=sqlite_url, trials=4, judge=PauseAtRungs())
        assert second.run() == "budget.trials=4 is met"
        assert len(ended(second)) == 4

    def test_a_trial_that_no_judge_names_goes_on_in_the_end(self, make_loop, bowl):
        class Forgetful(PauseAtRungs):
            def resume(self, ledger, new_left):
                return None

        loop = make_loop(bowl, trials=3, judge=Forgetful())
        assert loop.run() == "budget.trials=3 is met"
        assert len(ended(loop)) == 3

    def test_of_two_that_take_up_one_trial_the_second_is_surplus(self, make_loop, bowl):
        loop = make_loop(bowl, trials=1, judge=PauseAtRungs(rungs=(1,)))

        class Twice(PauseAtRungs):
            def resume(self, ledger, new_left):
                recovery.resume(loop.study, ledger.paused()[0])  # as another worker does at this moment
                return super().resume(ledger, new_left)

        loop.judge = Twice(rungs=(1,))
        assert loop.run() == "budget.trials=1 is met"
        assert states(loop) == ["paused", "complete", "surplus"]

    def test_an_interrupted_continuation_is_run_again(self, make_loop, bowl, sqlite_url):
        calls = []

        def evaluate(config):
            for fidelity, value in bowl(config):
                calls.append(fidelity)
                if len(calls) == 6:
                    raise Interrupted
                yield fidelity, value

        loop = make_loop(evaluate, url=sqlite_url, trials=1, judge=PauseAtRungs())
        assert loop.run() == "stopped"
        assert states(loop) == ["paused", "paused", "interrupted", "waiting"]
        assert make_loop(bowl, url=sqlite_url, trials=1, judge=PauseAtRungs()).run() == "budget.trials=1 is met"
        assert states(loop) == ["paused", "paused", "interrupted", "complete"]

    def test_budgets_of_seconds_leave_what_is_paused(self, make_loop):
        """The first trial reaches its rung at once; the second one lets the budget pass before it would."""
        trials = []

        def evaluate(config):
            trials.append(config)
            yield 1, 1.0
            if len(trials) > 1:
                time.sleep(2.1)
            for fidelity in range(2, 10):
                yield fidelity, 1.0

        loop = make_loop(evaluate, device_s=2, judge=PauseAtRungs(rungs=(5,)))
        assert loop.run() == "budget.device_s=2 is met"
        assert states(loop) == ["paused", "pruned"]
        assert Ledger(trials_of(loop)).device_seconds() >= 2

    def test_what_was_there_of_a_checkpoint_is_recalled(self, make_loop, tmp_path):
        """A runner that keeps its place goes on; the curve is whole, and no step is done twice."""
        steps = []

        def one(job: Job) -> Outcome:
            done = 0
            for attempt, done, _ in job.checkpoints.read():
                job.recall(attempt, [(fidelity, {"score": float(fidelity)}) for fidelity in range(1, done + 1)])
                break
            for fidelity in range(done + 1, 10):
                steps.append(fidelity)
                job.checkpoints.put(fidelity, b"state")
                job.report(fidelity, {"score": float(fidelity)})
            return Outcome("complete", {"score": 9.0})

        folder = Folder(tmp_path / "artifacts")
        loop = make_loop(Solo(one), trials=1, judge=PauseAtRungs(), checkpoint_store=CheckpointStore(folder, 0.0))
        loop.run()
        assert steps == list(range(1, 10))
        assert [fidelity for fidelity, _ in result_of(trials_of(loop)[-1]).curve] == list(range(1, 10))
        assert trials_of(loop)[-1].intermediate_values.keys() == {1, 3}
        assert list(Path(folder.path).iterdir()) == []


# A worker over a formula whose judge pauses each trial at both rungs.
WORKER = """
import sys, time
from kirigami.search import storage
from kirigami.search.loop import Loop
from kirigami.search.proposal.judge import Go, Judge, Pause
from kirigami.search.config.sampler import Random
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.study import study
from kirigami.search.study.ledger import Ledger
from kirigami.search.training.runners import surrogate
from kirigami.spaces import Budget, PriorSampler, Space

class PauseAtRungs(Judge):
    def seen(self, trial, report, ledger):
        if not report.passed((1, 3)):
            return Go()
        trial.report(report.value("score"), report.fidelity)
        return Pause()

    def recall(self, trial, earlier, report):
        self.seen(trial, report, None)

def evaluate(config):
    for fidelity in range(1, 6):
        time.sleep(0.02)
        yield fidelity, config["x"] / fidelity

config = {"x": 0.5, "y": 2}
space = Space.from_config({"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}, config)
store = storage.open_storage(storage.Settings.read({"url": sys.argv[1], "heartbeat_s": 1, "grace_s": 60}))
known = Ledger()
joined = study.create(store, sys.argv[2], {"score": "minimize"}, {"space": "s"})
joined.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0, lambda _, trial: known.read(joined).place(trial))
prepare = lambda values: space.apply(config, values)
loop = Loop(joined, space, surrogate(evaluate, "score"), Budget(trials=12), prepare, store, PauseAtRungs())
print("ready", flush=True)
print(loop.run(), flush=True)
"""


@pytest.mark.parametrize("count", [1, 4])
def test_workers_that_are_killed_lose_no_paused_trial(child, make_loop, bowl, sqlite_url, name, count):
    def start():
        worker = child(WORKER, sqlite_url, name)
        assert worker.stdout.readline() == "ready\n"
        return worker

    team, kills = [start() for _ in range(count)], 0
    watching = make_loop(bowl, url=sqlite_url, trials=12)
    until = time.monotonic() + 120
    while kills < 4:
        assert time.monotonic() < until, "the study does not get on"
        if len(trials_of(watching)) > 5 + 6 * kills:
            team[kills % count].send_signal(signal.SIGKILL)
            team[kills % count].wait()
            kills += 1
            team[(kills - 1) % count] = start()
        time.sleep(0.05)
    assert [worker.communicate(timeout=120)[0] for worker in team] == ["budget.trials=12 is met\n"] * count
    ledger = Ledger(trials_of(watching))
    assert (ledger.finished, ledger.open, ledger.count("failed")) == (12, 0, 0)
    complete = ledger.by_state["complete"]
    assert sorted(ledger.place(trial) for trial in complete) == list(range(12))
    assert len({trial.params["x"] for trial in complete}) == 12
    assert all([fidelity for fidelity, _ in result_of(trial).curve] == [1, 2, 3, 4, 5] for trial in complete)
    assert all(trial.intermediate_values.keys() == {1, 3} for trial in complete)
    paused = {(ledger.place(trial), result_of(trial).curve[-1][0]) for trial in ledger.by_state["paused"]}
    assert paused == {(place, rung) for place in range(12) for rung in RUNGS}


def pausing(at, overrides, kept):
    """Train until a pause at a fidelity; return what was kept by then."""

    def on_report(fidelity, metrics):
        if fidelity == at:
            raise Paused

    from kirigami.search.config.compose import compose
    from kirigami.search.config.resolve import resolve

    job = Job(7, resolve(compose([*SMALL, *overrides])), on_report, checkpoints=kept)
    with pytest.raises(Paused):
        alone.train(job)
    return job


class TestTraining:
    @pytest.mark.parametrize(
        ("at", "overrides"),
        [(1, ()), (2, ("bits=uniform", "sparsity=continuous")), (2, STEPS), (6, STEPS)],
        ids=["plain", "techniques", "in an epoch", "later"],
    )
    def test_a_pause_leaves_a_checkpoint_and_the_same_bits(self, at, overrides):
        kept = Kept()
        kept.every_s = 3600.0  # none is due
        paused = pausing(at, overrides, kept)
        assert [fidelity for fidelity, _ in kept.put_in] == [at] == [paused.curve[-1][0]]
        assert_same(run(overrides, Kept(kept.put_in[0])), run(overrides))

    def test_without_checkpoints_it_ends_at_once(self):
        assert pausing(2, (), None).curve[-1][0] == 2

    def test_at_the_end_there_is_nothing_left_to_pause(self):
        def on_report(fidelity, metrics):
            if fidelity == 4:
                raise Paused

        from kirigami.search.config.compose import compose
        from kirigami.search.config.resolve import resolve

        job = Job(7, resolve(compose(list(SMALL))), on_report, checkpoints=Kept())
        assert alone.train(job).state == "complete"

    def test_a_study_paused_at_every_rung_trains_the_same_networks(self, make_loop, tmp_path):

        from kirigami.search.config.compose import compose
        from kirigami.search.config.resolve import resolve

        raw = compose(list(SMALL))
        space = {"optimizer": {"lr": {"low": 0.001, "high": 0.1, "log": True}}}
        loops = []
        for judge in (None, PauseAtRungs(rungs=(1, 2, 3))):
            checkpoint_store = CheckpointStore(Folder(tmp_path / f"artifacts-{len(loops)}"), 3600.0)
            settings = {
                "space": space,
                "config": raw,
                "trials": 3,
                "judge": judge,
                "rungs": (),
                "checkpoint_store": checkpoint_store,
            }
            study = optuna.create_study(direction="maximize", study_name="s")
            study.set_metric_names(["accuracy"])
            loop = make_loop(Solo(alone.train), study=study, objectives=("accuracy",), **settings)
            apply = loop.prepare
            loop.prepare = lambda values, apply=apply: resolve(apply(values))
            loop.run()
            loops.append(loop)
        assert json.dumps(ended(loops[0])) == json.dumps(ended(loops[1]))
        assert len(ended(loops[0])) == 3
        assert states(loops[1]).count("paused") == 9
        assert all(result_of(trial).resumed_from is not None for trial in trials_of(loops[1])[3:])
