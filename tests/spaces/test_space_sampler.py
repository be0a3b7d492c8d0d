"""Any Optuna sampler goes on after a stop as if undisturbed, and heeds what an expert believes."""

import subprocess
import sys

import optuna
import pytest
from optuna.samplers import (
    BruteForceSampler,
    GridSampler,
    RandomSampler,
)

from kirigami.spaces import PriorSampler, Space
from kirigami.spaces.sampler import derive_seed
from tests.spaces.sampler_cases import BELIEVED, CONFIG, PLAIN, SAMPLERS, SPACES, run, score

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


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
