"""Every sampler with every pruner, what their settings mean, and how wrong ones are refused."""

import itertools
import math

import numpy as np
import optuna
import pytest

from kirigami import optimize
from kirigami.search.config.sampler import check_several
from kirigami.search.config.settings import Proposal
from kirigami.search.errors import InputError
from kirigami.search.proposal.pruners import PRUNERS, build_pruner, rungs
from kirigami.search.proposal.samplers import SAMPLERS, sampler_factory
from kirigami.search.study.record import stored_result
from kirigami.search.study.states import state_of

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")

SPACE = {
    "optimizer": {"lr": {"low": 1e-4, "high": 1.0, "log": True}, "name": {"choices": ["sgd", "adam"]}},
    "depth": {"low": 1, "high": 6},
}
PRUNER_SETTINGS = {
    "asha": {"name": "asha", "min_resource": 1, "reduction_factor": 3},
    "hyperband": {"name": "hyperband", "min_resource": 1, "max_resource": "auto", "reduction_factor": 3},
    "median": {"name": "median", "n_startup_trials": 3, "n_warmup_steps": 2},
    "wilcoxon": {"name": "wilcoxon", "p_threshold": 0.1},
    "none": {"name": "none"},
}


def sampler_of(settings):
    return Proposal.read({"sampler": settings}).sampler


def pruner_of(settings):
    return Proposal.read({"pruner": settings}).pruner


def valley(config):
    """Fall towards a valley at lr = .01, depth 3, adam; the start says something about the end."""
    value = math.log10(config["optimizer"]["lr"] / 0.01) ** 2 + abs(config["depth"] - 3)
    value += config["optimizer"]["name"] == "sgd"
    for epoch in range(1, 10):
        yield epoch, value + 1 / epoch


def test_each_name_has_its_settings_here():
    assert set(PRUNER_SETTINGS) == set(PRUNERS)


@pytest.mark.parametrize("pruner", PRUNERS)
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "gp"])
def test_every_sampler_searches_under_every_pruner(sampler, pruner):
    history = optimize(SPACE, valley, budget=24, seed=2, sampler=sampler, pruner=PRUNER_SETTINGS[pruner], fidelities=9)
    found = [row["state"] for row in history.trials]
    assert len(found) == 24
    assert set(found) <= {"complete", "pruned"}
    assert ("pruned" in found) == (pruner != "none")
    assert history.best["values"][0] < 2.5  # of values up to 8; a median draw has 3.6


@pytest.mark.parametrize("pruner", ["none", "asha"])
def test_the_gaussian_process_too(pruner):
    sampler = {"name": "gp", "n_startup_trials": 5}
    history = optimize(
        {"x": {"low": 0.0, "high": 1.0}},
        lambda config: [(epoch, (config["x"] - 0.3) ** 2 + 1 / epoch) for epoch in range(1, 10)],
        budget=9,
        sampler=sampler,
        pruner=PRUNER_SETTINGS[pruner],
        fidelities=9,
    )
    assert [row["state"] for row in history.trials].count("failed") == 0
    assert history.best["values"][0] < 1 / 9 + 0.01


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_sampler_learns(sampler):
    """Chance comes within .3 decades of the valley in a tenth of its draws."""

    def bowl(config):
        yield 1, math.log10(config["lr"] / 0.01) ** 2 + math.log10(config["decay"] / 0.01) ** 2

    space = {name: {"low": 1e-4, "high": 1.0, "log": True} for name in ("lr", "decay")}
    history = optimize(space, bowl, budget=60, seed=1, sampler=sampler)
    values = [row["values"][0] for row in history.trials]
    assert np.median(values[40:]) < 0.6 * np.median(values[:10])


class TestContract:
    """What every sampler owes a study, whatever it learns."""

    SPACE = {
        "kind": {"choices": ["a", "b"]},
        "lr": {"low": 1e-4, "high": 1.0, "log": True},
        "width": {"low": 8, "high": 64, "step": 8, "when": {"kind": "b"}},
    }

    @pytest.fixture(params=SAMPLERS)
    def search(self, request):
        """Search with a sampler; the first three draws of those that learn are random."""
        quiet = {"warn_independent_sampling": False} if request.param in ("qmc", "cmaes", "gp") else {}
        startup = {"n_startup_trials": 3} if request.param in ("tpe", "cmaes", "gp") else {}

        def run(seed=0, evaluate=lambda config: [(1, math.log10(config["lr"]) ** 2)], space=self.SPACE, budget=8):
            sampler = {"name": request.param, **quiet, **startup}
            return optimize(space, evaluate, budget=budget, seed=seed, sampler=sampler)

        return run

    def test_draws_lie_in_the_space_and_on_what_is_active(self, search):
        for row in search().trials:
            drawn = row["params"]
            assert drawn["kind"] in ("a", "b")
            assert 1e-4 <= drawn["lr"] <= 1.0
            assert ("width" in drawn) == (drawn["kind"] == "b")
            assert drawn.get("width", 8) in range(8, 65, 8)

    def test_a_seed_decides_every_draw(self, search):
        first, again, other = (search(seed).trials for seed in (3, 3, 4))
        assert first == again
        assert [row["params"] for row in first] != [row["params"] for row in other]

    def test_draws_differ(self, search):
        """A model may come back to the edge of the space, but not again and again."""
        assert len({row["params"]["lr"] for row in search().trials}) >= 6

    def test_failures_and_early_ends_do_not_stop_it(self, search):
        def evaluate(config):
            if config["kind"] == "a":
                raise RuntimeError
            yield 1, math.nan if config["lr"] > 0.1 else 1.0

        assert len(search(evaluate=evaluate).trials) == 8

    def test_one_dimension_is_enough(self, search):
        history = search(space={"lr": self.SPACE["lr"]})
        assert [row["state"] for row in history.trials] == ["complete"] * 8


class TestWrongSettings:
    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"name": "tpee"}, ["sampler.name must be one of (tpe, ", "but got 'tpee'", "Did you mean 'tpe'?"]),
            ({"name": None}, ["sampler.name must be one of"]),
            ({}, ["sampler.name must be one of"]),
            ({"name": "tpe", "n_startup": 3}, ["sampler.n_startup: no such key", "'n_startup_trials'"]),
            (
                {"name": "qmc", "qmc_type": "hammersley"},
                ["sampler.qmc_type must be one of (sobol, halton)"],
            ),
            ({"name": "nsga2", "population_size": 1}, ["sampler.population_size must be a whole number of at least 2"]),
        ],
    )
    def test_of_a_sampler(self, settings, words):
        with pytest.raises(InputError) as error:
            sampler_factory(sampler_of(settings), 0)
        assert "\n" not in str(error.value)
        for word in words:
            assert word in str(error.value)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"name": "asah"}, ["pruner.name must be one of (asha, ", "but got 'asah'", "Did you mean 'asha'?"]),
            ({}, ["pruner.name must be one of"]),
            ({"name": "asha", "min_resources": 1}, ["pruner.min_resources: no such key", "'min_resource'"]),
            ({"name": "asha", "min_resource": 0}, ["pruner", "min_resource"]),
            ({"name": "asha", "reduction_factor": 1}, ["pruner", "reduction_factor"]),
            ({"name": "median", "n_warmup_steps": -1}, ["pruner", "n_warmup_steps"]),
            ({"name": "hyperband", "max_resource": 2.5}, ["pruner.max_resource must be", "or auto, but got 2.5"]),
            ({"name": "none", "rate": 1}, ["pruner.rate: no such key"]),
        ],
    )
    def test_of_a_pruner(self, settings, words):
        with pytest.raises(InputError) as error:
            build_pruner(pruner_of(settings), fidelities=9)
        assert "\n" not in str(error.value)
        for word in words:
            assert word in str(error.value)

    @pytest.mark.parametrize(
        "wrong", [{"reduction_factor": 1}, {"min_resource": 0}, {"min_resource": -1}, {"reduction_factor": 2.5}]
    )
    @pytest.mark.parametrize("name", ["asha", "hyperband"])
    def test_that_give_no_ladder_of_rungs(self, name, wrong):
        """Optuna looks at some of these in a trial only, and a ladder that does not rise has no end."""
        with pytest.raises(InputError, match=r"^pruner"):
            build_pruner(pruner_of({**PRUNER_SETTINGS[name], **wrong}), fidelities=9)

    @pytest.mark.parametrize("name", SAMPLERS)
    def test_of_a_sampler_for_several_objectives(self, name):
        if name in ("gp", "cmaes"):
            with pytest.raises(InputError, match=r"takes one objective, but the study has 2\. Set sampler=nsga2"):
                check_several(sampler_of({"name": name}), 2)
        else:
            check_several(sampler_of({"name": name}), 2)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in ("gp", "cmaes")])
def test_several_objectives(name):
    def evaluate(config):
        yield 1, {"loss": config["x"], "size": 1 - config["x"]}

    history = optimize(
        {"x": {"low": 0.0, "high": 1.0}},
        evaluate,
        budget=12,
        sampler=name,
        objective={"loss": "minimize", "size": "minimize"},
    )
    assert [row["state"] for row in history.trials] == ["complete"] * 12
    assert len(history.study.best_trials) == 12
    assert history.best["values"][0] == min(row["values"][0] for row in history.trials)


class TestRungs:
    @pytest.mark.parametrize(
        ("settings", "fidelities", "every", "expected"),
        [
            ({"name": "none"}, 100, 1, ()),
            ({"name": "median"}, 5, 1, (1, 2, 3, 4)),
            ({"name": "wilcoxon"}, 100, 25, (25, 50, 75)),
            ({"name": "asha", "min_resource": 1}, 100, 1, (1, 4, 16, 64)),
            ({"name": "asha", "min_resource": 2, "reduction_factor": 3}, 54, 1, (2, 6, 18)),
            ({"name": "asha", "min_resource": 2, "reduction_factor": 3}, 55, 1, (2, 6, 18, 54)),
            (
                {"name": "asha", "min_resource": 1, "reduction_factor": 2, "min_early_stopping_rate": 2},
                16,
                1,
                (4, 8),
            ),
            ({"name": "asha", "min_resource": 1, "reduction_factor": 3}, 90, 5, (5, 15, 45)),
            ({"name": "asha", "min_resource": 20}, 9, 1, ()),
            ({"name": "asha", "min_resource": "auto"}, 4, 1, (1, 2, 3)),
            ({"name": "hyperband"}, 9, 1, (1, 3)),
            ({"name": "hyperband", "min_resource": 2, "reduction_factor": 2}, 9, 1, (2, 4, 8)),
        ],
    )
    def test_where_the_pruner_decides(self, settings, fidelities, every, expected):
        """Never at the end, where a trial is trained in full and nothing is left to save."""
        assert rungs(pruner_of(settings), fidelities, every) == expected


def noisy(config):
    """27 reports that fall with noise, the same ones at each call."""
    generator = np.random.default_rng(int(config["x"] * 1e9))
    for fidelity, noise in enumerate(generator.normal(0, 0.3, 27), start=1):
        yield fidelity, config["x"] + 3 / fidelity + noise


def decisions(loop):
    return [
        (trial.params, state_of(trial), len(stored_result(trial)["curve"]))
        for trial in loop.study.get_trials(deepcopy=False)
    ]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize(
    "settings",
    [
        {"name": "asha", "min_resource": 1, "reduction_factor": 3},
        {"name": "asha", "min_resource": 2, "reduction_factor": 2, "min_early_stopping_rate": 1},
        {"name": "hyperband", "min_resource": 1, "max_resource": 27, "reduction_factor": 3},
    ],
    ids=["asha", "asha late", "hyperband"],
)
def test_reporting_at_rungs_alone_decides_as_reporting_always(make_loop, settings, sampler):
    found = []
    before_the_end = tuple(range(1, 27))
    for wanted in (before_the_end, rungs(pruner_of(settings), 27)):
        study = optuna.create_study(study_name="s")  # Hyperband's brackets hang on the name
        study.set_metric_names(["score"])
        loop = make_loop(noisy, study=study, sampler=sampler, pruner=settings, rungs=wanted, trials=60)
        loop.run()
        found.append(decisions(loop))
        assert (max(len(trial.intermediate_values) for trial in study.trials) == 26) == (wanted == before_the_end)
    assert found[0] == found[1]
    assert len({reports for _, _, reports in found[0]}) > 2


@pytest.mark.parametrize("sampler", ["qmc", "tpe", "random", "cmaes", "nsga2"])
def test_a_conditional_dimension_is_drawn_anew_each_time(sampler):
    """It is outside the joint sequence of some samplers; a fixed seed there would repeat one number for ever."""
    space = {
        "kind": {"choices": ["a", "b"]},
        "lr": {"low": 0.0, "high": 1.0},
        "width": {"low": 0.0, "high": 1.0, "when": {"kind": "b"}},
        "decay": {"low": 0.0, "high": 1.0, "when": {"kind": "a"}},
    }
    settings = {"name": sampler, **({"warn_independent_sampling": False} if sampler in ("qmc", "cmaes") else {})}
    history = optimize(space, lambda config: [(1, config["lr"])], budget=24, sampler=settings)
    for name in ("width", "decay"):
        values = [row["params"][name] for row in history.trials if name in row["params"]]
        assert len(values) > 2
        assert len(set(values)) == len(values)


def test_quasi_random_points_fill_the_space_evenly():
    """Sixteen Sobol points of one scrambling leave no sixteenth of an axis with more than two of them."""
    space = {"x": {"low": 0.0, "high": 1.0}, "y": {"low": 0.0, "high": 1.0}}
    history = optimize(space, lambda config: [(1, 0.0)], budget=17, sampler="qmc", seed=3)
    for name in ("x", "y"):  # the first trial is drawn independently
        cells = [int(row["params"][name] * 16) for row in history.trials[1:]]
        assert all(len(list(group)) <= 2 for _, group in itertools.groupby(sorted(cells)))
        assert len(set(cells)) > 13


@pytest.mark.parametrize("window", [49, 0, True, "all", 100.0])
def test_a_window_that_makes_no_sense_is_refused(window):
    with pytest.raises(InputError, match=r"sampler\.window must be a whole number of at least 50 trials"):
        sampler_of({"name": "tpe", "window": window})


def test_only_the_estimator_takes_a_window():
    assert sampler_of({"name": "tpe"}).sees() == 1000
    assert sampler_of({"name": "tpe", "window": None}).sees() is None
    assert sampler_of({"name": "random"}).sees() is None
    with pytest.raises(InputError, match=r"sampler\.window: no such key"):
        sampler_of({"name": "nsga2", "window": 100})
