"""The search from Python, as its docstring says."""

import math

import pytest

from kirigami import History, optimize
from kirigami.search.errors import InputError, StudyStopped

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = {"x": {"low": 0.0, "high": 1.0}}


def bowl(config):
    for epoch in range(1, 4):
        yield epoch, (config["x"] - 0.3) ** 2 + 1 / epoch


def test_the_example_of_the_module():
    def evaluate(config):
        for epoch in range(1, 10):
            yield epoch, (config["lr"] - 0.1) ** 2 + 1 / epoch

    history = optimize({"lr": {"low": 1e-4, "high": 1.0, "log": True}}, evaluate, budget=50, seed=0)
    assert isinstance(history, History)
    assert len(history.trials) == 50
    assert history.best["params"]["lr"] == pytest.approx(0.1, abs=0.03)
    assert history.best["values"][0] == pytest.approx(1 / 9, abs=1e-3)


def test_one_row_a_trial_in_order_of_asking():
    history = optimize(SPACE, bowl, budget=5)
    assert [row["number"] for row in history.trials] == [0, 1, 2, 3, 4]
    for row in history.trials:
        x = row["params"]["x"]
        assert set(row) == {"number", "state", "params", "values", "curve", "reason"}
        assert (row["state"], row["reason"]) == ("complete", None)
        assert row["values"] == [(x - 0.3) ** 2 + 1 / 3]
        assert row["curve"] == [[epoch, {"value": value}] for epoch, value in bowl({"x": x})]
    assert history.best == min(history.trials, key=lambda row: row["values"])
    assert len(history.study.trials) == 5


@pytest.mark.parametrize(("direction", "pick"), [("minimize", min), ("maximize", max)])
def test_either_direction(direction, pick):
    history = optimize(
        SPACE, lambda config: [(1, {"score": config["x"], "other": 0})], budget=20, objective={"score": direction}
    )
    assert history.best["values"][0] == pick(row["values"][0] for row in history.trials)
    later = [row["values"][0] for row in history.trials[15:]]
    assert (sum(later) / 5 > 0.5) == (direction == "maximize"), "the sampler heeds the direction"


def test_the_last_value_counts():
    history = optimize(SPACE, lambda config: [(1, 0.0), (2, 5.0)], budget=1)
    assert history.best["values"] == [5.0]


def test_failed_and_pruned_rows_say_why():
    def evaluate(config):
        if config["x"] < 0.3:
            raise ValueError("too small")
        yield 1, math.nan if config["x"] < 0.6 else 1.0

    history = optimize(SPACE, evaluate, budget=20, sampler="random")
    reasons = {row["state"]: row["reason"] for row in history.trials}
    assert reasons == {"failed": "ValueError: too small", "pruned": "value is nan at fidelity 1", "complete": None}
    assert history.best["params"]["x"] >= 0.6


def test_without_a_complete_trial_there_is_no_best():
    assert optimize(SPACE, lambda config: [(1, math.nan)], budget=3).best is None


def test_the_seed_decides():
    first, again, other = (optimize(SPACE, bowl, budget=15, seed=seed).trials for seed in (0, 0, 1))
    assert first == again
    assert not {row["params"]["x"] for row in first} & {row["params"]["x"] for row in other}


@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median"])
def test_the_seed_decides_under_a_pruner(pruner):
    def evaluate(config):
        for epoch in range(1, 28):
            yield epoch, config["x"] + 1 / epoch

    settings = {"name": pruner, **({} if pruner == "median" else {"min_resource": 1, "reduction_factor": 3})}
    first, again = (optimize(SPACE, evaluate, budget=40, pruner=settings, fidelities=27).trials for _ in range(2))
    assert first == again
    assert "pruned" in {row["state"] for row in first}


@pytest.mark.parametrize("pruner", ["asha", "hyperband"])
def test_the_names_of_pruners_do(pruner):
    def evaluate(config):
        for epoch in range(1, 28):
            yield epoch, config["x"] + 1 / epoch

    rows = optimize(SPACE, evaluate, budget=40, pruner=pruner, fidelities=27).trials
    reached = {len(row["curve"]) for row in rows}
    assert 27 in reached
    assert len(reached) > 1


def test_trials_are_pruned_before_the_largest_fidelity():
    def evaluate(config):
        for epoch in range(1, 10):
            yield epoch, config["x"]

    pruner = {"name": "asha", "min_resource": 1, "reduction_factor": 3}
    rows = optimize(SPACE, evaluate, budget=30, pruner=pruner, fidelities=9, sampler="random").trials
    spent = sum(len(row["curve"]) for row in rows)
    assert spent < 0.6 * 30 * 9
    assert {len(row["curve"]) for row in rows if row["state"] == "pruned"} <= {1, 3, 9}


def test_a_nested_space_and_a_config_it_varies():
    seen = []

    def evaluate(config):
        seen.append(config)
        yield 1, config["optimizer"]["lr"]

    config = {"optimizer": {"lr": 0.1, "momentum": 0.9}, "epochs": 3}
    optimize({"optimizer": {"lr": {"low": 0.0, "high": 1.0}}}, evaluate, budget=2, config=config)
    assert [one["optimizer"]["momentum"] for one in seen] == [0.9, 0.9]
    assert [one["epochs"] for one in seen] == [3, 3]
    assert 0.1 not in [one["optimizer"]["lr"] for one in seen]
    assert config == {"optimizer": {"lr": 0.1, "momentum": 0.9}, "epochs": 3}

    seen.clear()
    optimize({"optimizer": {"lr": {"low": 0.0, "high": 1.0}, "name": {"choices": ["a"]}}}, evaluate, budget=1)
    assert set(seen[0]["optimizer"]) == {"lr", "name"}


def test_conditions_and_beliefs_work_here_too():
    space = {
        "kind": {"choices": ["a", "b"], "prior": "b"},
        "width": {"low": 1, "high": 9, "when": {"kind": "b"}, "prior": 4},
    }
    rows = optimize(space, lambda config: [(1, 0.0)], budget=20).trials
    assert rows[0]["params"] == {"kind": "b", "width": 4}
    assert all(("width" in row["params"]) == (row["params"]["kind"] == "b") for row in rows)
    assert {row["params"]["kind"] for row in rows} == {"a", "b"}


def test_a_budget_of_seconds():
    import time

    def evaluate(config):
        for epoch in range(1, 1000):
            time.sleep(0.05)
            yield epoch, 1.0

    history = optimize(SPACE, evaluate, budget={"wall_s": 1})
    assert [row["state"] for row in history.trials] == ["pruned"]
    assert "budget.wall_s=1 was met" in history.trials[0]["reason"]


def test_a_function_that_only_fails_stops_the_search():
    def evaluate(config):
        raise RuntimeError("no")

    with pytest.raises(StudyStopped, match="10 trials in a row failed; the last one with RuntimeError: no"):
        optimize(SPACE, evaluate, budget=50)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": {"x": {"low": 1.0, "high": 0.0}}}, "space.x"),
        ({"space": {"x": {"low": 0.0, "hgih": 1.0}}}, "hgih"),
        ({"config": {"y": 1}}, "space.x: no such path"),
        ({"budget": 0}, "budget.trials must be a whole number above 0"),
        ({"budget": {"trails": 3}}, "budget.trails is unknown"),
        ({"budget": 2.5}, "budget must be a mapping"),
        ({"budget": True}, "budget"),
        ({"sampler": "tpee"}, "sampler.name must be one of"),
        ({"sampler": {"name": "tpe", "n": 1}}, "sampler.n: no such key"),
        ({"pruner": "asah"}, "pruner.name must be one of"),
        ({"objective": {"value": "down"}}, "objective.value must be one of"),
        ({"objective": {"a": "minimize", "b": "minimize"}, "sampler": "cmaes"}, "takes one objective"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_trial(arguments, words):
    def evaluate(config):
        raise AssertionError("a trial was run")

    with pytest.raises(ValueError, match=words.replace(".", r"\.")) as error:
        optimize(**{"space": SPACE, "evaluate": evaluate, "budget": 3, **arguments})
    assert "\n" not in str(error.value)


def test_input_errors_are_value_errors():
    assert issubclass(InputError, ValueError)
