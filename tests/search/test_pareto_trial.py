"""Real trials of Pareto studies: what is known at a rung, latency as a limit and as an objective, and what is shown."""

import json
import threading

import pytest
from optuna.storages import InMemoryStorage
from rich.console import Console

from kirigami import models
from kirigami.search.config.compose import compose
from kirigami.search.config.pruner import Asha
from kirigami.search.config.resolve import resolve
from kirigami.search.config.sampler import Random
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.loop import Loop
from kirigami.search.proposal import halving
from kirigami.search.proposal.samplers import sampler_factory
from kirigami.search.rehearsal.objectives import check_objectives
from kirigami.search.report import figures, results
from kirigami.search.report import page as report
from kirigami.search.study import ranking
from kirigami.search.study import study as studies
from kirigami.search.study.ranking import metric_names
from kirigami.search.study.record import result_of
from kirigami.search.training import alone as trial
from kirigami.search.training import building, costs
from kirigami.search.training.job import Job
from kirigami.search.workers.worker import Orders, prepare
from kirigami.spaces import Budget, PriorSampler, Space
from kirigami.spaces.costs import COSTS

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SMALL = ["study=digits_dense", "~space.network", "space=[]"]
SMALL += ["network.width=4", "network.depth=2", "trainer.epochs=3", "trainer.device=cpu"]


def config_of(*overrides, objective="accuracy", **budget):
    config = resolve(compose([*SMALL, *overrides]))
    config["objective"] = objective
    config["budget"] |= budget
    return config


def run(config):
    job = Job(0, config, lambda fidelity, metrics: None)
    return trial.train(job), job


@pytest.fixture
def clock(monkeypatch):
    """Let latencies be those of a list, and count how often they are asked for."""
    asked = []

    def set_to(*values):
        left = iter(values)

        def latency_ms(network, inputs, *_):
            asked.append((type(network).__name__, len(inputs)))
            return next(left)

        monkeypatch.setattr(models.cost, "latency_ms", latency_ms)
        return asked

    return set_to


class TestLatency:
    def test_is_not_measured_where_nobody_asks(self, clock):
        asked = clock()
        outcome, job = run(config_of())
        assert outcome.state == "complete"
        assert not asked
        assert "latency_ms" not in job.details

    def test_over_the_budget_costs_no_training(self, clock):
        asked = clock(2.5)
        outcome, job = run(config_of(latency_ms=2.0))
        assert (outcome.state, len(asked)) == ("infeasible", 1)
        assert outcome.reason == "at least 2.5 latency_ms, over budget.latency_ms=2.0; not trained"
        assert outcome.metrics["latency_ms"] == 2.5
        assert not job.curve

    def test_is_measured_again_at_the_end_for_one_sample(self, clock):
        asked = clock(1.5, 1.25)
        outcome, job = run(config_of(latency_ms=2.0))
        assert outcome.state == "complete"
        assert [count for _, count in asked] == [1, 1]
        assert outcome.metrics["latency_ms"] == job.details["latency_ms"] == 1.25

    @pytest.mark.parametrize(
        "objective", [["accuracy", "latency_ms"], {"accuracy": "maximize", "latency_ms": "minimize"}]
    )
    def test_is_measured_where_it_is_an_objective(self, clock, objective):
        clock(1.5, 1.25)
        outcome, _ = run(config_of(objective=objective))
        assert outcome.metrics["latency_ms"] == 1.25

    def test_what_shrinks_is_trained_all_the_same(self, clock, monkeypatch):
        clock(2.5, 1.25)
        made = building.build_techniques({"sparsity": config_of("sparsity=magnitude")["sparsity"]})
        made[0].shrinks = True
        monkeypatch.setattr(building, "build_techniques", lambda config: made)
        outcome, job = run(config_of("sparsity=magnitude", latency_ms=2.0))
        assert outcome.state == "complete"
        assert outcome.metrics["latency_ms"] == 1.25
        assert job.details["shrinks"]

    def test_weights_made_of_others_are_made_once(self, monkeypatch):
        from torch.nn.utils import parametrize

        seen = []
        monkeypatch.setattr(models.cost, "latency_ms", lambda *_: seen.append(parametrize._cache_enabled) or 1.0)
        run(config_of("sparsity=magnitude", latency_ms=2.0))
        assert seen == [1, 1]

    def test_is_a_number_for_a_real_network(self):
        config = TrialConfig.from_resolved(config_of(latency_ms=1.0))
        task = building.open_task(config)
        assert costs.latency(building.build_network(config, task), task)["latency_ms"] > 0

    def test_is_nothing_for_a_module_without_forward(self, monkeypatch):
        def refuse(*_):
            raise NotImplementedError

        monkeypatch.setattr(models.cost, "latency_ms", refuse)
        config = TrialConfig.from_resolved(config_of(latency_ms=1.0))
        task = building.open_task(config)
        assert costs.latency(building.build_network(config, task), task) == {}

    @pytest.mark.parametrize("value", [0, -1, True, "2", float("inf"), float("nan")])
    def test_a_budget_of_it_is_a_number_above_0(self, value):
        with pytest.raises(ValueError, match=r"^budget\.latency_ms must be milliseconds above 0, or null for no limit"):
            Budget.from_config({"latency_ms": value})

    def test_a_budget_of_it_is_a_limit(self):
        assert Budget.from_config({"latency_ms": 2}).limits == {"latency_ms": 2.0}

    def test_it_may_be_an_objective_beside_a_metric(self):
        config = TrialConfig.from_resolved(config_of())
        task = building.open_task(config)
        check_objectives(config, {"accuracy": "maximize", "latency_ms": "minimize"}, task)
        with pytest.raises(InputError, match="objective must be one of"):
            check_objectives(config, {"latency_ms": "minimize", "accuracy": "maximize"}, task)


def test_the_least_bytes_are_known_at_a_rung_and_the_file_has_more():
    outcome, job = run(config_of("sparsity=magnitude", objective=["accuracy", "bytes"]))
    assert 0 < job.details["least_bytes"] < outcome.metrics["bytes"] == job.details["bytes"]
    assert "least_bytes" not in run(config_of())[1].details


@pytest.fixture(scope="module")
def digits():
    """A pruned Pareto study of real trials, on one seed: nine of them, widths drawn at random."""
    space = Space.from_config(
        {"network": {"width": {"low": 2, "high": 12}}, "optimizer": {"lr": {"low": 1e-4, "high": 0.1, "log": True}}},
        (raw := config_of(objective=["accuracy", "bytes"])),
    )
    directions = {"accuracy": "maximize", "bytes": "minimize"}
    study = studies.create(InMemoryStorage(), "pareto", directions, {"space": "s"})
    study.sampler = PriorSampler(sampler_factory(Random(), 0), space, 0)
    Loop(
        study=study,
        space=space,
        runner=trial_runner(),
        budget=Budget(trials=9),
        prepare=lambda values: resolve(space.apply(raw, values)),
        judge=halving.build(Asha(min_resource=1, reduction_factor=3), 3),
    ).run()
    return study


def trial_runner():
    from kirigami.search.training.runners import Solo

    return Solo(trial.train)


def test_a_rung_compares_the_least_bytes_and_the_study_the_real_ones(digits):
    found = results.summary(digits)["trials"]
    assert found["pruned"] > 0
    assert found["complete"] + found["pruned"] == 9
    for one in digits.get_trials(deepcopy=False):
        outcome, values = one.user_attrs["outcome"], one.user_attrs["rung:1"]["values"]
        assert values == {"accuracy": outcome["curve"][0][1]["accuracy"], "bytes": outcome["least_bytes"]}
        if outcome["state"] == "complete":
            assert one.values == [outcome["metrics"]["accuracy"], outcome["bytes"]]
            assert outcome["bytes"] > outcome["least_bytes"]


def test_the_whole_front_is_printed_best_first(digits, capsys):
    front = ranking.front(digits)
    assert [one.values[0] for one in front] == sorted((one.values[0] for one in front), reverse=True)
    assert [one.values[1] for one in front] == sorted((one.values[1] for one in front), reverse=True)
    results.print_table(digits, 1, Console(width=120))
    out = capsys.readouterr().out
    count = results.summary(digits)["trials"]["complete"]
    assert f"the front, {len(front)}" in out
    assert f"{count} complete" in out
    for one in front:
        assert f"{one.values[0]:.4f}" in out
    results.print_json(digits, 1)
    assert [row["number"] for row in json.loads(capsys.readouterr().out)["front"]] == [one.number for one in front]


def test_the_front_is_a_figure_of_the_page(digits, tmp_path):
    page = report.write_report(digits, tmp_path).read_text()
    assert "<h2>Pareto front</h2>" in page
    _, figure = figures.front_figure(digits)
    rest, front = figure.data
    assert [[y, x] for x, y in zip(front.x, front.y, strict=True)] == sorted(one.values for one in digits.best_trials)
    assert len(rest.x) + len(front.x) == results.summary(digits)["trials"]["complete"]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_any_number_of_objectives_has_a_page(count, tmp_path):
    from kirigami import optimize

    names = [f"f{index}" for index in range(count)]

    def evaluate(config):
        yield 1, {name: (config["x"] - index / count) ** 2 for index, name in enumerate(names)}

    found = optimize({"x": {"low": 0.0, "high": 1.0}}, evaluate, budget=5, objective=dict.fromkeys(names, "minimize"))
    assert "<h2>Pareto front</h2>" in report.write_report(found.study, tmp_path).read_text()


@pytest.mark.parametrize("cost", COSTS)
def test_every_cost_is_an_objective(cost, tmp_path):
    """From the words of the config to the values of the trials, with what the worker itself makes of them."""
    store = f"storage.url=sqlite:///{tmp_path}/studies.db"
    raw = compose([*SMALL, store, f"objective=[accuracy,{cost}]", "budget.trials=2", "name=both"])
    loop = prepare(Orders(raw, str(tmp_path), 0, 1, []), threading.Event())
    loop.run()
    trials = loop.study.get_trials(deepcopy=False)
    assert metric_names(loop.study) == ["accuracy", cost]
    assert [direction.name for direction in loop.study.directions] == ["MAXIMIZE", COSTS[cost].direction.upper()]
    assert [trial.values[1] > 0 for trial in trials] == [True, True]
    assert [trial.values[1] for trial in trials] == [result_of(trial).metrics[cost] for trial in trials]
