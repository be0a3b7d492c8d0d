"""Any Optuna sampler goes on after a stop as if undisturbed, and heeds what an expert believes."""

import subprocess
import sys

import optuna
import pytest
from optuna.samplers import (
    BruteForceSampler,
    CmaEsSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    PartialFixedSampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import TrialState

from kirigami.spaces import PriorSampler, Space
from kirigami.spaces.sampler import derive_seed
from kirigami.spaces.window import Window

CONFIG = {"optimizer": {"lr": 0.1, "momentum": 0.9}, "network": {"depth": 2, "kind": "a", "plan": [1], "width": 8}}
PLAIN = {
    "optimizer": {"lr": {"low": 1e-4, "high": 1.0, "log": True}, "momentum": {"low": 0.0, "high": 1.0}},
    "network": {"depth": {"low": 1, "high": 6}},
}
NESTED = {
    "optimizer": PLAIN["optimizer"],
    "network": {
        "kind": {"choices": ["a", "b", "c"]},
        "plan": {"choices": [[1], [1, 2]], "when": {"network.kind": ["b", "c"]}},
        "width": {"low": 8, "high": 64, "step": 8, "when": {"network.plan": [[1, 2]]}},
    },
}
BELIEVED = {
    "optimizer": {
        "lr": {"low": 1e-4, "high": 1.0, "log": True, "prior": {"value": 0.03, "weight": 0.9, "spread": 0.1}},
        "momentum": {"low": 0.0, "high": 1.0},
    },
    "network": {
        "kind": {"choices": ["a", "b", "c"], "prior": {"value": "c", "weight": 0.5}},
        "plan": {"choices": [[1], [1, 2]], "when": {"network.kind": ["b", "c"]}, "prior": [1, 2]},
        "width": {"low": 8, "high": 64, "step": 8, "when": {"network.plan": [[1, 2]]}, "prior": 48},
    },
}
SPACES = {"plain": PLAIN, "nested": NESTED, "believed": BELIEVED}


def quasi_random(seed):
    # One sequence for the whole study, whose position lies in the storage; the seed is for what stands beside it.
    return QMCSampler(
        scramble=True, seed=7, independent_sampler=RandomSampler(seed=seed), warn_independent_sampling=False
    )


SAMPLERS = {
    "random": lambda seed: RandomSampler(seed=seed),
    "tpe": lambda seed: TPESampler(seed=seed, n_startup_trials=5),
    "tpe alone": lambda seed: TPESampler(seed=seed, n_startup_trials=5, multivariate=False, constant_liar=False),
    "tpe groups": lambda seed: TPESampler(seed=seed, n_startup_trials=5, multivariate=True, group=True),
    "cma-es": lambda seed: CmaEsSampler(seed=seed, n_startup_trials=2, popsize=4, warn_independent_sampling=False),
    "qmc": quasi_random,
    "nsga-ii": lambda seed: NSGAIISampler(seed=seed, population_size=5),
    "nsga-iii": lambda seed: NSGAIIISampler(seed=seed, population_size=5),
    "partial": lambda seed: PartialFixedSampler({"optimizer.momentum": 0.5}, RandomSampler(seed=seed)),
}
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def score(values):
    return (values["optimizer.lr"] - 0.01) ** 2 + values.get("optimizer.momentum", 0.0) + values.get("network.depth", 0)


def run(sampler, space, trials, storage=None):
    """Run `trials` trials, with every fourth pruned and every seventh failed, and return the parameters of all."""
    study = optuna.create_study(study_name="s", storage=storage, sampler=sampler, load_if_exists=True)
    for _ in range(trials):
        trial = study.ask()
        values = space.suggest(trial)
        if trial.number % 7 == 6:
            study.tell(trial, state=TrialState.FAIL)
        elif trial.number % 4 == 3:
            trial.report(score(values), 1)
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, score(values))
    return [trial.params for trial in study.get_trials(deepcopy=False)]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("base", SAMPLERS.values(), ids=SAMPLERS)
def test_a_stopped_study_goes_on_as_if_undisturbed(base, space):
    space = Space.from_config(space, CONFIG)
    whole = run(PriorSampler(base, space, seed=3), space, 25)
    storage = optuna.storages.InMemoryStorage()
    assert run(PriorSampler(base, space, seed=3), space, 10, storage) == whole[:10]
    assert run(PriorSampler(base, space, seed=3), space, 15, storage) == whole
    assert len({str(params) for params in whole}) > 15


@pytest.mark.parametrize("name", ["tpe groups", "cma-es"])
def test_a_study_on_disk_goes_on_as_one_in_memory(name, tmp_path):
    space = Space.from_config(BELIEVED, CONFIG)
    whole = run(PriorSampler(SAMPLERS[name], space, seed=3), space, 25)
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    run(PriorSampler(SAMPLERS[name], space, seed=3), space, 10, url)
    assert run(PriorSampler(SAMPLERS[name], space, seed=3), space, 15, url) == whole


def test_the_test_can_fail_without_the_wrapper():
    space = Space.from_config(PLAIN, CONFIG)
    storage = optuna.storages.InMemoryStorage()
    whole = run(RandomSampler(seed=3), space, 25)
    run(RandomSampler(seed=3), space, 10, storage)
    assert run(RandomSampler(seed=3), space, 15, storage) != whole


PROGRAM = """
import warnings; warnings.simplefilter("ignore")
from tests_of_sampler import run, SAMPLERS, BELIEVED, CONFIG
from kirigami.spaces import PriorSampler, Space
space = Space.from_config(BELIEVED, CONFIG)
print(run(PriorSampler(SAMPLERS["tpe groups"], space, seed=3), space, 25))
"""


def test_the_hash_seed_of_a_process_changes_nothing():
    program = PROGRAM.replace("tests_of_sampler", __name__)
    paths = [path for path in sys.path if path]
    outputs = [
        subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{program}"],
            env={"PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    ]
    assert outputs[0] == outputs[1]
    assert "optimizer.lr" in outputs[0]


def test_seeds_are_the_same_everywhere_and_fit_numpy():
    assert derive_seed(0, 1) == 2839049726  # another value would disturb every stored study
    seeds = {derive_seed(seed, number) for seed in range(30) for number in range(30)}
    assert len(seeds) == 900
    assert 0 <= min(seeds) < max(seeds) < 2**32


def test_another_seed_gives_another_study():
    space = Space.from_config(PLAIN, CONFIG)
    first, second = (run(PriorSampler(SAMPLERS["random"], space, seed=seed), space, 3) for seed in (0, 1))
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_workers_that_share_a_seed_never_draw_the_same_numbers():
    space, storage = Space.from_config(PLAIN, CONFIG), optuna.storages.InMemoryStorage()
    workers = [
        optuna.create_study(
            study_name="s",
            storage=storage,
            load_if_exists=True,
            sampler=PriorSampler(SAMPLERS["random"], space, seed=0),
        )
        for _ in range(3)
    ]
    drawn = [space.suggest(worker.ask())["optimizer.lr"] for _ in range(5) for worker in workers]
    assert len(set(drawn)) == 15


@pytest.mark.parametrize("name", ["random", "tpe", "tpe groups", "cma-es"])
def test_a_batch_of_trials_keeps_each_trials_own_draws(name):
    space = Space.from_config(BELIEVED, CONFIG)

    def batch(order):
        study = optuna.create_study(sampler=PriorSampler(SAMPLERS[name], space, seed=0))
        for _ in range(8):
            trial = study.ask()
            study.tell(trial, score(space.suggest(trial)))
        trials = [study.ask() for _ in range(3)]
        return {index: space.suggest(trials[index]) for index in order} if order else study

    first, second = batch((0, 1, 2)), batch((0, 1, 2))
    assert first == second
    assert len({values["optimizer.momentum"] for values in first.values()}) == 3
    if name == "random":  # the others look at the running trials, so there the order may matter
        assert batch((2, 0, 1)) == first


@pytest.mark.parametrize("base", SAMPLERS.values(), ids=SAMPLERS)
def test_the_first_trial_is_what_the_expert_believes(base):
    space = Space.from_config(BELIEVED, CONFIG)
    (params,) = run(PriorSampler(base, space, seed=0), space, 1)
    params.pop("optimizer.momentum")
    assert params == {"optimizer.lr": 0.03, "network.kind": "c", "network.plan": "[1, 2]", "network.width": 48}


@pytest.mark.parametrize("base", SAMPLERS.values(), ids=SAMPLERS)
def test_beliefs_are_drawn_as_often_as_said_and_fade(base):
    node = {"low": 0.0, "high": 1.0, "prior": {"value": 0.25, "weight": 0.8, "spread": 1e-6}}
    space = Space.from_config({"optimizer": {"lr": node}}, {"optimizer": {"lr": 0.1}})
    near = []
    for seed in range(8):
        study = optuna.create_study(sampler=PriorSampler(base, space, seed=seed))
        for _ in range(21):
            trial = study.ask()
            value = space.suggest(trial)["optimizer.lr"]
            near.append((trial.number, abs(value - 0.25) < 1e-4))
            study.tell(trial, (value - 0.9) ** 2)
    early = [hit for number, hit in near if 1 <= number <= 10]
    late = [hit for number, hit in near if number > 10]
    # Means of .8 / (1 + n / 10) over n: .54 and .31; 80 draws each have a standard deviation of about .055.
    assert sum(early) / len(early) == pytest.approx(0.54, abs=0.17)
    assert sum(late) / len(late) == pytest.approx(0.31, abs=0.17)


def test_weight_zero_leaves_all_but_the_first_trial_to_the_sampler():
    free = Space.from_config(PLAIN, CONFIG)
    node = {**PLAIN["optimizer"]["lr"], "prior": {"value": 0.01, "weight": 0}}
    space = Space.from_config({**PLAIN, "optimizer": {**PLAIN["optimizer"], "lr": node}}, CONFIG)
    believed, plain = (run(PriorSampler(SAMPLERS["qmc"], one, seed=0), one, 10)[1:] for one in (space, free))
    assert believed == plain


def test_an_enqueued_value_outranks_a_belief():
    space = Space.from_config(BELIEVED, CONFIG)
    study = optuna.create_study(sampler=PriorSampler(SAMPLERS["random"], space, seed=0))
    study.enqueue_trial({"optimizer.lr": 0.5})
    assert space.suggest(study.ask())["optimizer.lr"] == 0.5


def test_another_distribution_of_the_same_name_is_left_to_the_sampler():
    space = Space.from_config(BELIEVED, CONFIG)
    study = optuna.create_study(sampler=PriorSampler(SAMPLERS["random"], space, seed=0))
    assert 2.0 <= study.ask().suggest_float("optimizer.lr", 2.0, 3.0) <= 3.0


@pytest.mark.parametrize(
    "base",
    [lambda seed: GridSampler({"network.depth": [1, 2, 3]}, seed=0), lambda seed: BruteForceSampler(seed=seed)],
    ids=["grid", "brute force"],
)
def test_exhaustive_samplers_visit_each_value_once(base):
    space = Space.from_config({"network": {"depth": {"low": 1, "high": 3}}}, CONFIG)
    study = optuna.create_study(sampler=PriorSampler(base, space, seed=0))
    study.optimize(lambda trial: float(space.suggest(trial)["network.depth"]), n_trials=3)
    assert sorted(trial.params["network.depth"] for trial in study.trials) == [1, 2, 3]


def test_several_objectives():
    space = Space.from_config(BELIEVED, CONFIG)
    study = optuna.create_study(
        directions=["minimize", "maximize"], sampler=PriorSampler(SAMPLERS["nsga-ii"], space, seed=0)
    )
    study.optimize(lambda trial: (score(space.suggest(trial)), trial.number), n_trials=15)
    assert len(study.best_trials) >= 1


def test_a_told_trial_leaves_nothing_behind():
    space = Space.from_config(PLAIN, CONFIG)
    sampler = PriorSampler(SAMPLERS["random"], space, seed=0)
    study = optuna.create_study(sampler=sampler)
    trials = [study.ask() for _ in range(3)]
    assert len(sampler._inner) == 3
    for trial in trials:
        study.tell(trial, 1.0)
    assert len(sampler._inner) == 0


class TestWindow:
    """A long study's sampler sees its best and its latest trials; a short one's sees all."""

    @staticmethod
    def filled(values, states=None, directions=("minimize",)):
        study = optuna.create_study(directions=directions)
        for number, value in enumerate(values):
            state = (states or {}).get(number, TrialState.COMPLETE)
            values_of = value if isinstance(value, tuple) else (value,)
            study.add_trial(
                optuna.create_trial(
                    state=state,
                    values=values_of if state is TrialState.COMPLETE else None,
                    params={"x": number / len(values)},
                    distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
                    intermediate_values={number % 4: 1.0} if state is TrialState.PRUNED else {},
                )
            )
        return study

    def test_a_study_that_fits_is_shown_as_it_is(self):
        study = self.filled(range(60))
        assert Window(60).over(study) is study

    def test_the_best_and_the_latest_are_shown_and_all_that_are_open(self):
        study = self.filled(range(100), {3: TrialState.FAIL, 99: TrialState.PRUNED})
        study.ask()
        seen = Window(50).over(study).get_trials()
        best = [number for number in range(26) if number != 3]
        assert [trial.number for trial in seen] == [*best, *range(75, 101)]

    def test_a_window_that_grew_with_the_study_shows_what_a_fresh_one_shows(self):
        states = dict.fromkeys(range(0, 200, 3), TrialState.PRUNED)
        study = self.filled([(number * 37) % 101 for number in range(120)], states)
        grown = Window(50)
        grown.over(study)
        running = [study.ask() for _ in range(4)]
        grown.over(study)
        study.tell(running[2], -1.0)
        study.tell(running[0], 7.0)
        study.ask()  # Optuna's own reading is as old as the last ask
        numbers = [[one.number for one in window.over(study).get_trials()] for window in (grown, Window(50))]
        assert numbers[0] == numbers[1]
        assert running[2].number in numbers[0]

    def test_a_window_is_read_on_from_trial_to_trial_under_hyperband_too(self):
        study = self.filled(range(100))
        study.pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
        study.sampler = PriorSampler(
            SAMPLERS["tpe"], Space.from_config({"x": {"low": 0.0, "high": 1.0}}, {"x": 0.5}), 0
        )
        study.sampler._window = Window(50)
        for _ in range(3):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.report(1.0, 1)
            trial.should_prune()
            study.tell(trial, 1.0)
        assert study.sampler._window._read == 103
        assert len(study.sampler._window._latest) == 50

    def test_the_split_of_the_estimator_keeps_its_best(self):
        """The 25 trials that the estimator takes for good are those it takes from the whole study."""
        from optuna.samplers._tpe.sampler import _split_trials

        states = dict.fromkeys(range(290), TrialState.PRUNED)
        study = self.filled([(number * 37) % 101 for number in range(300)], states)
        seen = Window(60).over(study)
        good = [_split_trials(one, one.get_trials(deepcopy=False), 25)[0] for one in (study, seen)]
        assert [trial.number for trial in good[0]] == [trial.number for trial in good[1]]

    def test_with_several_objectives_the_front_is_shown(self):
        values = [(1.0, 5.0), (2.0, 4.0), (0.5, 6.0), *[(9.0, 9.0 + number) for number in range(80)]]
        study = self.filled(values, directions=("minimize", "minimize"))
        seen = Window(50).over(study).get_trials()
        assert [trial.number for trial in seen] == [0, 1, 2, *range(36, 83)]

    @pytest.mark.parametrize("name", ["tpe", "tpe alone", "tpe groups"])
    def test_draws_are_the_same_below_the_cap_and_go_on_above_it(self, name):
        space = Space.from_config(NESTED, CONFIG)
        whole = run(PriorSampler(SAMPLERS[name], space, seed=3), space, 70)
        seen = run(PriorSampler(SAMPLERS[name], space, seed=3, window=50), space, 70)
        assert seen[:51] == whole[:51]
        assert seen != whole

    def test_estimators_read_a_study_by_the_names_that_a_view_has(self, monkeypatch):
        """Whatever reads the whole study past the view would grow slower with it: hold Optuna to it."""
        study = self.filled([float(number % 10) for number in range(80)])
        seen = Window(50).over(study)
        monkeypatch.setattr(type(study), "_get_trials", None)
        monkeypatch.setattr(type(study), "get_trials", None)
        trial = seen.get_trials()[-1]
        sampler = TPESampler(seed=0, multivariate=True, group=True)
        space = sampler.infer_relative_search_space(seen, trial)
        monkeypatch.setattr(study._storage, "set_trial_system_attr", lambda *_: None)
        assert 0 <= sampler.sample_relative(seen, trial, space)["x"] <= 1
