"""What the loop writes, with one objective or several; and the same seed, stopped or not."""

import math
import time
from types import SimpleNamespace

import optuna
import pytest

from kirigami.search.study import recovery
from kirigami.search.study.ledger import Ledger
from kirigami.search.study.record import Worker, stored_result
from kirigami.search.study.states import state_of
from kirigami.search.training.job import Outcome, not_a_number
from kirigami.search.training.runners import Solo
from tests.search.loops import constant, reasons, states, trials_of, xs

pytestmark = [
    pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning"),
    pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*"),
]


class TestWhatIsWritten:
    def test_only_rungs_reach_the_store_and_the_curve_is_whole(self, make_loop, bowl, sqlite_url):
        loop = make_loop(bowl, url=sqlite_url, trials=2, rungs=(2, 6))
        loop.run()
        for trial in trials_of(loop):
            assert sorted(trial.intermediate_values) == [2, 6]
            curve = stored_result(trial)["curve"]
            assert [fidelity for fidelity, _ in curve] == list(range(1, 10))
            assert curve[1][1]["score"] == trial.intermediate_values[2]
            assert curve[-1][1]["score"] == trial.value

    @pytest.mark.parametrize(("rungs", "reported"), [(None, [1, 2, 3, 4, 5, 6, 7, 8, 9]), ((), [])])
    def test_all_rungs_or_none(self, make_loop, bowl, rungs, reported):
        loop = make_loop(bowl, trials=1, rungs=rungs)
        loop.run()
        assert sorted(trials_of(loop)[0].intermediate_values) == reported

    def test_a_rung_between_two_reports_is_asked_at_the_second(self, make_loop):
        loop = make_loop(lambda config: ((step, 1.0) for step in (4, 8, 12)), trials=1, rungs=(3, 6, 7))
        loop.run()
        assert sorted(trials_of(loop)[0].intermediate_values) == [4, 8]

    def test_config_versions_worker_and_seconds(self, make_loop, sqlite_url):
        def evaluate(config):
            time.sleep(0.02)
            yield 1, 1.0

        loop = make_loop(evaluate, url=sqlite_url, trials=1, config={"x": 0.5, "y": 2, "seed": 7})
        loop.run()
        (trial,) = trials_of(loop)
        origin, outcome = trial.user_attrs["origin"], stored_result(trial)
        assert origin["config"] == {**trial.params, "seed": 7}
        assert origin["seed"] == 7
        assert "optuna" in origin["versions"]
        assert not recovery.is_gone(Worker.from_attrs(trial.user_attrs))
        assert outcome["wall_s"] >= 0.02
        assert outcome["device_s"] == outcome["wall_s"]
        assert outcome["metrics"] == {"score": 1.0}

    def test_details_of_the_runner(self, make_loop):
        def run(job):
            job.details.update(device_s=0.5, bytes=100)
            return Outcome("complete", {"score": 1.0})

        loop = make_loop(Solo(run), trials=1)
        loop.run()
        assert stored_result(trials_of(loop)[0])["device_s"] == 0.5
        assert stored_result(trials_of(loop)[0])["bytes"] == 100

    def test_only_the_best_network_is_kept(self, make_loop, tmp_path):
        def run(job):
            made = SimpleNamespace(save=lambda path: path.write_text("weights"))
            return Outcome("complete", {"score": abs(job.number - 2)}, trained=made)

        folder, kept = tmp_path / "networks", []
        loop = make_loop(Solo(run), trials=4, folder=folder)
        for trials in (1, 2, 3, 4):
            make_loop(Solo(run), study=loop.study, trials=trials, folder=folder).run()
            kept.append([file.name for file in folder.iterdir()])
        assert kept == [[f"trial-0000{number}.safetensors"] for number in (0, 1, 2, 2)]


class TestSeveralObjectives:
    def evaluate(self, config):
        for fidelity in (1, 2):
            yield fidelity, {"score": config["x"], "size": -config["x"] * fidelity}

    def test_they_are_stored_and_nothing_is_pruned(self, make_loop):
        median = {"name": "median", "n_startup_trials": 0}
        loop = make_loop(self.evaluate, objectives=("score", "size"), trials=6, pruner=median)
        loop.run()
        assert states(loop) == ["complete"] * 6
        for trial in trials_of(loop):
            assert trial.values == [trial.params["x"], -2 * trial.params["x"]]
            assert trial.intermediate_values == {}
            assert len(stored_result(trial)["curve"]) == 2
        assert len(loop.study.best_trials) == 6

    def test_one_that_is_missing_at_the_end(self, make_loop):
        loop = make_loop(constant({"score": 1.0}), objectives=("score", "size"), trials=1)
        loop.run()
        assert "objective 'size' is not among" in reasons(loop)[0]


def test_not_a_number_names_the_metric():
    assert not_a_number({"a": 1.0, "b": 0}) is None
    assert not_a_number({"a": 1.0, "b": math.inf, "c": math.nan}) == "b"


SEEDED = ["random", "tpe", "cmaes", "qmc", "nsga2"]


def record(loop):
    return [(trial.params, trial.values, state_of(trial), trial.intermediate_values) for trial in trials_of(loop)]


class TestTheSameSeed:
    median = {"name": "median", "n_startup_trials": 3}

    @pytest.mark.parametrize("sampler", SEEDED)
    def test_gives_the_same_study(self, make_loop, bowl, sampler):
        loops = [make_loop(bowl, study=self.study(), sampler=sampler, trials=20, pruner=self.median) for _ in range(2)]
        for loop in loops:
            loop.run()
        assert record(loops[0]) == record(loops[1])
        assert {"complete", "pruned"} <= set(states(loops[0]))

    def test_and_another_seed_another_one(self, make_loop, bowl):
        loops = [make_loop(bowl, study=self.study(), seed=seed, trials=3) for seed in (0, 1)]
        for loop in loops:
            loop.run()
        assert not set(xs(trials_of(loops[0]))) & set(xs(trials_of(loops[1])))

    @pytest.mark.parametrize("sampler", SEEDED)
    def test_a_study_stopped_between_trials_goes_on_as_if_undisturbed(self, make_loop, bowl, sqlite_url, sampler):
        settings = {"sampler": sampler, "pruner": self.median, "rungs": (3, 9)}
        url = sqlite_url if sampler == "cmaes" else None  # it keeps its state in the store
        whole = make_loop(bowl, **settings, trials=14, study=self.study())
        whole.run()
        first = make_loop(bowl, url=url, **settings, trials=7)
        first.run()
        resumed = make_loop(bowl, url=url, study=None if url else first.study, **settings, trials=14)
        resumed.run()
        assert record(resumed) == record(whole)

    @pytest.mark.parametrize("end", ["stopped", "killed"])
    @pytest.mark.parametrize("sampler", SEEDED)
    def test_a_study_ended_within_a_trial_meets_its_budget(
        self, make_loop, bowl, sqlite_url, sampler, end, dead_worker
    ):
        """The trial under way is run again with its parameters; all up to it are as if undisturbed."""
        whole = make_loop(bowl, sampler=sampler, trials=12, rungs=(), study=self.study())
        whole.run()
        url = sqlite_url if sampler == "random" else None
        resumed = self.ended_within(make_loop, bowl, url, sampler, end, dead_worker)
        ledger = Ledger(trials_of(resumed))
        assert (ledger.count("complete"), ledger.finished, ledger.open) == (12, 12, 0)
        assert ledger.count("interrupted") == 1
        complete = [trial.params for trial in ledger.by_state["complete"]]
        assert complete[:8] == [trial.params for trial in trials_of(whole)][:8]
        assert len({str(params) for params in complete}) == 12

    @pytest.mark.parametrize("end", ["stopped", "killed"])
    @pytest.mark.parametrize("sampler", ["random", "tpe"])
    def test_a_study_ended_within_a_trial_goes_on_as_if_undisturbed(self, make_loop, bowl, sampler, end, dead_worker):
        whole = make_loop(bowl, sampler=sampler, trials=12, rungs=(), study=self.study())
        whole.run()
        resumed = self.ended_within(make_loop, bowl, None, sampler, end, dead_worker)
        complete = Ledger(trials_of(resumed)).by_state["complete"]
        assert [trial.params for trial in complete] == [trial.params for trial in trials_of(whole)]

    @staticmethod
    def study():
        """A study of its own in memory."""
        study = optuna.create_study()
        study.set_metric_names(["score"])
        return study

    @staticmethod
    def ended_within(make_loop, bowl, url, sampler, end, dead_worker):
        """End a study of twelve trials in its eighth, and resume it."""
        first = make_loop(bowl, url=url, sampler=sampler, trials=7, rungs=())
        first.run()
        trial = first.study.ask()
        trial.set_user_attr("worker", dead_worker if end == "killed" else vars(recovery.signature()))
        first.space.suggest(trial)
        if end == "stopped":
            recovery.hand_back(first.study, trial)
        study = None if url else first.study
        resumed = make_loop(bowl, url=url, study=study, sampler=sampler, trials=12, rungs=())
        resumed.run()
        return resumed
