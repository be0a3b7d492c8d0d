"""Networks over a limit of the budget: told infeasible, never best, and a hint to the sampler."""

import pytest

from kirigami import optimize
from kirigami.search.report.results import summary
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.ranking import best_trial, leaders
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Outcome
from kirigami.search.training.runners import Solo
from kirigami.spaces import Budget

LIMITED = Budget(trials=12, limits={"params": 100})


def size_first(job):
    """Say the size before training, as a trial does, and refuse what is over the limit."""
    size = 1000.0 * job.config["x"]
    if size > 100:
        return Outcome("infeasible", {"params": size}, "too large")
    job.report(1, {"score": -size})
    return Outcome("complete", {"score": -size, "params": size})


def size_last(job):
    """Find the size at the end only."""
    return Outcome("complete", {"score": job.config["x"], "params": 1000.0 * job.config["x"]})


def run(make_loop, job, **settings):
    loop = make_loop(Solo(job), trials=12, **settings)
    loop.budget = LIMITED
    loop.run()
    return loop.study


def test_infeasible_trials_count_and_train_nothing(make_loop):
    study = run(make_loop, size_first, sampler="random")
    ledger = Ledger(study.get_trials())
    assert ledger.finished == 12
    assert 0 < ledger.count("infeasible") < 12
    for trial in ledger.by_state["infeasible"]:
        assert not trial.intermediate_values
        assert trial.constraints["params"] > 0
        assert trial.user_attrs["outcome"]["reason"] == "too large"
    assert all(trial.constraints["params"] <= 0 for trial in ledger.by_state["complete"])


def test_a_trial_that_turns_out_too_large_is_never_the_best(make_loop):
    study = run(make_loop, size_last, sampler="random")
    best = best_trial(study)
    feasible = [trial for trial in study.get_trials() if state_of(trial) == "complete"]
    assert 0 < len(feasible) < 12
    assert best is not None
    assert best.values[0] == min(trial.values[0] for trial in feasible)
    assert [trial.number for trial in leaders(study, 99)] == [
        trial.number for trial in sorted(feasible, key=lambda trial: trial.values[0])
    ]
    assert summary(study)["trials"]["over"] == 12 - len(feasible)
    assert summary(study)["trials"]["infeasible"] == 0
    assert summary(study)["best"]["number"] == best.number


def test_nothing_feasible_means_no_best(make_loop):
    def huge(job):
        return Outcome("complete", {"score": 1.0, "params": 1e9})

    study = run(make_loop, huge)
    assert best_trial(study) is None
    assert summary(study)["best"] is None


@pytest.mark.parametrize("key", ["params", "macs", "bytes"])
def test_limits_are_read(key):
    assert Budget.from_config({key: 7}).limits == {key: 7}
    with pytest.raises(ValueError, match=rf"^budget\.{key} must be a whole number above 0, or null for no limit"):
        Budget.from_config({key: 0})


def test_python_api_knows_no_limits_by_default():
    assert optimize({"x": {"low": 0.0, "high": 1.0}}, lambda config: [(1, config["x"])], budget=2).best is not None
