"""What ends a trial of a loop, and how many failures in a row end the loop."""

import json
import math
from pathlib import Path

import pytest

from kirigami.search.errors import StudyStopped
from kirigami.search.study.record import stored_result
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Outcome
from kirigami.search.training.runners import Solo
from tests.search.loops import constant, reasons, states, trials_of

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]


def failing_unless(good):
    """Return a function that raises in every trial but those (counted from 0) in `good`, with the list of its runs."""
    runs = []

    def evaluate(config):
        runs.append(config["x"])
        if len(runs) - 1 not in good:
            raise RuntimeError(f"run {len(runs) - 1}\n  has failed")
        yield 1, config["x"]

    return evaluate, runs


class TestWhatEndsATrial:
    def test_one_that_raises_fails_with_its_reason_and_the_study_goes_on(self, make_loop):
        evaluate, _ = failing_unless({0, 2})
        loop = make_loop(evaluate, trials=4)
        loop.run()
        assert states(loop) == ["complete", "failed", "complete", "failed"]
        assert reasons(loop) == [None, "RuntimeError: run 1 has failed", None, "RuntimeError: run 3 has failed"]
        assert Path(__file__).name in stored_result(trials_of(loop)[1])["raised_at"]

    def test_a_very_long_reason_is_cut(self, make_loop):
        def evaluate(config):
            raise ValueError("x" * 10_000)

        loop = make_loop(evaluate, trials=1)
        loop.run()
        assert len(reasons(loop)[0]) < 600

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
    def test_no_number_at_a_report(self, make_loop, value):
        loop = make_loop(constant(1.0, value, 0.5), trials=1)
        loop.run()
        assert states(loop) == ["pruned"]
        assert reasons(loop) == [f"score is {value} at fidelity 2"]
        assert stored_result(trials_of(loop)[0])["curve"] == [[1, {"score": 1.0}], [2, {"score": str(value)}]]
        json.dumps(trials_of(loop)[0].user_attrs, allow_nan=False)

    def test_no_number_between_rungs_and_in_another_metric(self, make_loop):
        loop = make_loop(constant({"score": 1.0, "loss": math.nan}, {"score": 1.0}), trials=1, rungs=(9,))
        loop.run()
        assert reasons(loop) == ["loss is nan at fidelity 1"]

    def test_no_number_at_the_end(self, make_loop):
        loop = make_loop(Solo(lambda job: Outcome("complete", {"score": math.nan})), trials=1)
        loop.run()
        assert (states(loop), reasons(loop)) == (["pruned"], ["score is nan at the end"])

    @pytest.mark.parametrize("rungs", [None, ()], ids=["at a report", "at the end"])
    def test_the_objective_is_missing(self, make_loop, rungs):
        loop = make_loop(constant({"loss": 1.0, "accuracy": 0.5}), trials=1, rungs=rungs)
        loop.run()
        assert states(loop) == ["failed"]
        assert "objective 'score' is not among the reported metrics (loss, accuracy" in reasons(loop)[0]

    def test_nothing_is_reported(self, make_loop):
        loop = make_loop(constant(), trials=1)
        loop.run()
        assert states(loop) == ["failed"]
        assert "objective 'score'" in reasons(loop)[0]

    def test_the_pruner(self, make_loop):
        asha = {"name": "asha", "min_resource": 1, "reduction_factor": 3}

        def evaluate(config):
            for fidelity in range(1, 10):
                yield fidelity, config["x"]

        loop = make_loop(evaluate, trials=20, pruner=asha, rungs=(1, 3, 9))
        loop.run()
        pruned = [trial for trial in trials_of(loop) if state_of(trial) == "pruned"]
        assert 5 < len(pruned) < 20
        for trial in pruned:
            last, metrics = stored_result(trial)["curve"][-1]
            assert last in (1, 3, 9)
            assert stored_result(trial)["reason"] == f"score {metrics['score']:.4g} at fidelity {last}"
            assert trial.value == metrics["score"]


class TestFailuresInARow:
    def test_ten_stop_the_study(self, make_loop):
        evaluate, runs = failing_unless(())
        loop = make_loop(evaluate, trials=50)
        with pytest.raises(StudyStopped) as error:
            loop.run()
        assert str(error.value) == "10 trials in a row failed; the last one with RuntimeError: run 9 has failed"
        assert len(runs) == 10
        assert states(loop) == ["failed"] * 10

    def test_a_success_between_them_begins_the_count_anew(self, make_loop):
        evaluate, runs = failing_unless({9, 19})
        loop = make_loop(evaluate, trials=29)
        loop.run()
        assert states(loop).count("failed") == 27
        assert len(runs) == 29

    def test_a_pruned_trial_is_a_success_here(self, make_loop):
        def evaluate(config):
            if len(trials_of(loop)) % 3:
                raise RuntimeError
            yield 1, math.nan

        loop = make_loop(evaluate, trials=12, failures_in_a_row=3)
        loop.run()
        assert set(states(loop)) == {"failed", "pruned"}

    def test_the_user_sets_how_many(self, make_loop):
        evaluate, runs = failing_unless(())
        with pytest.raises(StudyStopped):
            make_loop(evaluate, trials=50, failures_in_a_row=2).run()
        assert len(runs) == 2

    def test_failures_of_an_earlier_run_do_not_stop_a_new_one(self, make_loop, sqlite_url):
        for total in (3, 6):
            evaluate, _ = failing_unless(())
            loop = make_loop(evaluate, url=sqlite_url, trials=50, failures_in_a_row=3)
            with pytest.raises(StudyStopped):
                loop.run()
            assert states(loop) == ["failed"] * total
