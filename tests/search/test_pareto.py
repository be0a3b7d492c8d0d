"""Pareto studies under a pruner: who goes on at a rung, and what is stored there."""

import numpy as np
import optuna
import pytest

from kirigami import optimize
from kirigami.search.config.pruner import Asha
from kirigami.search.config.study import checked
from kirigami.search.errors import InputError
from kirigami.search.loop.running import at_rung, excess
from kirigami.search.proposal import halving
from kirigami.search.proposal.halving import Halving
from kirigami.search.proposal.judge import Report
from kirigami.search.study.record import stored_result
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Outcome
from kirigami.search.training.runners import Solo
from kirigami.spaces import Budget
from tests.search.loops import trials_of
from tests.search.pareto_trials import RUNGS, comes, pruner_of, trade

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]
ASHA = {"name": "asha", "min_resource": 1, "reduction_factor": 3}
SPACE = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 1, "high": 8}}


def both(config):
    return optimize(SPACE, trade, objective={"loss": "minimize", "size": "minimize"}, fidelities=9, **config)


class TestRungs:
    @pytest.mark.parametrize(
        ("settings", "every", "brackets"),
        [
            ({"name": "asha", "min_resource": 2, "reduction_factor": 3}, 1, ((2, 6, 18),)),
            ({"name": "asha", "min_resource": 2, "reduction_factor": 3}, 2, ((4, 12),)),
            ({"name": "asha", "min_resource": 1, "reduction_factor": 3, "min_early_stopping_rate": 1}, 1, ((3, 9),)),
            ({"name": "asha"}, 1, ((1, 4, 16),)),
            ({"name": "hyperband", "max_resource": "auto"}, 1, ((1, 3, 9), (3, 9), (9,), ())),
            ({"name": "hyperband", "max_resource": 9, "min_resource": 3}, 1, ((3, 9), (9,))),
        ],
    )
    def test_are_those_of_one_objective(self, settings, every, brackets):
        assert halving.build(pruner_of(**settings), 27, every).brackets == brackets

    def test_hyperband_gives_more_trials_to_the_brackets_that_begin_early(self):
        made = halving.build(pruner_of(name="hyperband", max_resource="auto"), 27)
        assert made.shares == (27, 12, 6, 4)

    def test_none_is_no_halving(self):
        assert halving.build(pruner_of(name="none"), 27) is None

    @pytest.mark.parametrize("name", ["median", "wilcoxon"])
    def test_pruners_that_know_one_objective_are_refused(self, name):
        said = (
            rf"^pruner.name must be one of \(asha, hyperband, none\) in a study of .* but got '{name}'. Set pruner=as"
        )
        with pytest.raises(InputError, match=said):
            halving.build(pruner_of(name=name), 27)
        with pytest.raises(InputError, match=said):
            both({"budget": 1, "pruner": name})

    def test_the_refusal_comes_before_torch(self, tmp_path):
        from kirigami.search.config.compose import compose

        raw = compose(
            ["study=digits", "objective=[accuracy,params]", "pruner=median", f"storage.url=sqlite:///{tmp_path}/s.db"]
        )
        with pytest.raises(InputError, match="in a study of several objectives, but got 'median'"):
            checked(raw)

    def test_a_full_trial_must_be_known(self):
        with pytest.raises(InputError, match=r"^pruner=asha in a search of several objectives needs fidelities"):
            optimize(SPACE, trade, budget=1, objective={"loss": "minimize", "size": "minimize"}, pruner="asha")


class TestDecisions:
    OBJECTIVES = ("loss", "size")

    def states(self, make_loop, values, **settings):
        loop = make_loop(comes(values), objectives=self.OBJECTIVES, trials=len(values), **{"judge": RUNGS, **settings})
        loop.run()
        return [state_of(trial) for trial in trials_of(loop)], trials_of(loop)

    def test_what_is_dominated_ends_and_what_adds_to_the_front_goes_on(self, make_loop):
        ends = [(1.0, 9.0), (9.0, 1.0)]
        crowd = [(8.0 + index / 10, 9.0) for index in range(7)]
        states, trials = self.states(make_loop, [ends[0], *crowd, ends[1], (8.7, 9.0), (0.5, 9.2)])
        # Eight others are there when the second end comes: three of the nine go on, and it is on the front.
        assert states == ["complete", *["pruned"] * 7, "complete", "pruned", "complete"]
        assert stored_result(trials[9])["reason"].startswith("loss 8.7, size 9 at fidelity 1: place ")

    def test_values_of_all_objectives_are_stored_at_rungs_alone(self, make_loop):
        _, trials = self.states(make_loop, [(1.0, 2.0), (2.0, 3.0)])
        kept = [{name: value for name, value in one.user_attrs.items() if name.startswith("rung")} for one in trials]
        assert kept[0] == {
            f"rung:{rung}": {"bracket": 0, "values": {"loss": 1.0, "size": 2.0}, "over": 0} for rung in (1, 3)
        }
        assert list(kept[1]) == ["rung:1"]
        assert all(trial.intermediate_values == {} for trial in trials)

    def test_a_rung_between_two_reports_is_asked_at_the_second(self, make_loop):
        def evaluate(config):
            yield 2, {"loss": 1.0, "size": 1.0}
            yield 5, {"loss": 0.5, "size": 1.0}

        loop = make_loop(evaluate, objectives=self.OBJECTIVES, trials=1, judge=RUNGS)
        loop.run()
        found = trials_of(loop)[0].user_attrs
        assert (found["rung:1"]["values"]["loss"], found["rung:3"]["values"]["loss"]) == (1.0, 0.5)

    def test_a_direction_is_heeded(self):
        def evaluate(config):
            for epoch in range(1, 10):
                yield epoch, {"gain": config["x"], "size": 1.0}

        objective = {"gain": "maximize", "size": "minimize"}
        found = optimize(SPACE, evaluate, budget=20, objective=objective, pruner=ASHA, fidelities=9, sampler="random")
        gains = {row["state"]: [] for row in found.trials}
        for row in found.trials:
            gains[row["state"]].append(row["params"]["x"])
        assert np.mean(gains["complete"]) > np.mean(gains["pruned"])
        assert [row["params"]["x"] for row in found.front] == [max(gains["complete"] + gains["pruned"])]

    def test_what_is_over_the_budget_gives_way(self, make_loop):
        """The small loss would go on, were it not over the limit."""

        def run(limit):
            loop = make_loop(comes([(5.0, 7.0), (0.1, 90.0)]), objectives=self.OBJECTIVES, trials=2, judge=RUNGS)
            loop.budget = Budget(trials=2, limits={"size": limit})
            loop.run()
            return [state_of(trial) for trial in trials_of(loop)], trials_of(loop)[1].user_attrs["rung:1"]["over"]

        assert run(limit=100) == (["complete", "complete"], 0.0)
        assert run(limit=30) == (["complete", "pruned"], 2.0)

    def test_a_technique_that_shrinks_may_be_over_the_budget_before(self, make_loop):
        def run(job):
            job.details["shrinks"] = True
            job.report(1, {"loss": 1.0, "size": 90.0})
            return Outcome("complete", {"loss": 1.0, "size": 20.0})

        loop = make_loop(Solo(run), objectives=self.OBJECTIVES, judge=RUNGS)
        loop.budget = Budget(trials=1, limits={"size": 30})
        loop.run()
        assert trials_of(loop)[0].user_attrs["rung:1"]["over"] == 0

    def test_an_objective_that_a_rung_lacks_is_an_error(self, make_loop):
        def evaluate(config):
            yield 1, {"loss": 1.0}

        loop = make_loop(evaluate, objectives=self.OBJECTIVES, trials=1, judge=RUNGS)
        loop.run()
        assert "objective 'size' is not among" in stored_result(trials_of(loop)[0])["reason"]

    def test_no_number_ends_a_trial_as_ever(self, make_loop):
        states, trials = self.states(make_loop, [(float("nan"), 1.0), (1.0, 1.0)])
        assert states == ["pruned", "complete"]
        assert "rung:1" not in trials[0].user_attrs

    def test_a_trial_trained_in_full_is_complete(self, make_loop):
        late = Halving(((9,),), (1,), 3)
        assert Report(8, 9, {}).passed(late.brackets[0])
        made = halving.build(Asha(min_resource=1, reduction_factor=3), 9)
        assert not Report(8, 9, {}).passed(made.brackets[0])

    def test_some_trials_end_before_any_goes_on(self, make_loop):
        waiting = Halving(((1, 3),), (1,), 3, bootstrap_count=2)
        states, _ = self.states(make_loop, [(1.0, 1.0), (0.9, 0.9), (0.8, 0.8)], judge=waiting)
        assert states == ["pruned", "pruned", "pruned"]
        states, _ = self.states(make_loop, [(1.0, 1.0), (0.9, 0.9), (0.8, 0.8)], judge=Halving(((1,),), (1,), 3, 2))
        assert states == ["pruned", "pruned", "complete"]


class TestCosts:
    def test_a_report_goes_before_what_was_known(self):
        details = {"params": 10, "macs": 20, "least_bytes": 30, "bytes": 99, "fit_s": 1.0}
        assert at_rung({"loss": 1.0, "params": 5.0}, details, 2.0) == {
            "seconds": 2.0,
            "params": 5.0,
            "macs": 20.0,
            "bytes": 30.0,
            "loss": 1.0,
        }

    def test_excess_is_summed_over_what_is_over(self):
        assert excess({"params": 30.0, "macs": 5.0}, {"params": 10, "macs": 10, "bytes": 1}) == 2.0


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "qmc"])
@pytest.mark.parametrize("pruner", [ASHA, {"name": "hyperband", "min_resource": 1, "max_resource": "auto"}])
def test_searches_prune_and_repeat_themselves(sampler, pruner):
    first, again = (both({"budget": 30, "sampler": sampler, "pruner": pruner, "seed": 3}) for _ in range(2))
    assert first.trials == again.trials
    states = [row["state"] for row in first.trials]
    assert set(states) == {"complete", "pruned"}
    assert sum(len(row["curve"]) for row in first.trials) < 0.9 * 30 * 9
    values = [row["values"] for row in first.trials if row["state"] == "complete"]
    assert len(first.front) == sum(not any(dominates(a, b) for a in values) for b in values)


def dominates(a, b):
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def test_a_rung_costs_one_write(make_loop, monkeypatch):
    writes = []
    monkeypatch.setattr(
        optuna.Trial,
        "set_user_attr",
        lambda self, name, value, write=optuna.Trial.set_user_attr: (writes.append(name), write(self, name, value)),
    )
    make_loop(trade, objectives=("loss", "size"), trials=1, judge=RUNGS).run()
    assert [name for name in writes if name not in ("worker", "origin", "outcome")] == ["rung:1", "rung:3"]
