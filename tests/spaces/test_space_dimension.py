"""Dimensions suggest values of the right kind, and beliefs draw what the dimension can take."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FixedTrial

from kirigami.spaces import Dimension, Prior, Space

CONFIG = {"a": {"x": 0.1, "n": 3, "k": "r", "plan": [8, 16], "options": {}}}
RANGES = {
    "float": {"low": 0.0, "high": 1.0},
    "float log": {"low": 1e-4, "high": 1.0, "log": True},
    "float step": {"low": 0.1, "high": 0.7, "step": 0.2},
    "float whole step": {"low": 0.0, "high": 10.0, "step": 5},
    "int": {"low": 1, "high": 9},
    "int log": {"low": 1, "high": 512, "log": True},
    "int step": {"low": 16, "high": 64, "step": 16},
    "negative": {"low": -3, "high": -1},
}


def one(node, leaf="x"):
    (dimension,) = Space.from_config({"a": {leaf: node}}, CONFIG).dimensions
    return dimension


@pytest.mark.parametrize(
    ("node", "distribution"),
    [
        (RANGES["float"], FloatDistribution(0.0, 1.0)),
        (RANGES["float log"], FloatDistribution(1e-4, 1.0, log=True)),
        (RANGES["float step"], FloatDistribution(0.1, 0.7, step=0.2)),
        ({"low": 0, "high": 0.5}, FloatDistribution(0.0, 0.5)),
        (RANGES["int"], IntDistribution(1, 9)),
        (RANGES["int log"], IntDistribution(1, 512, log=True)),
        (RANGES["int step"], IntDistribution(16, 64, step=16)),
        ({"choices": ["r", 1, None, "s", 0.5]}, CategoricalDistribution(["r", 1, None, "s", 0.5])),
        ({"choices": [[1, 2], {"b": 1, "a": None}]}, CategoricalDistribution(["[1, 2]", '{"a": null, "b": 1}'])),
        ({"choices": [float("inf"), 1.0]}, CategoricalDistribution([float("inf"), 1.0])),
    ],
)
def test_distribution_is_what_optuna_calls_it(node, distribution):
    dimension = one(node)
    assert dimension.distribution == distribution
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    dimension.suggest(trial)
    assert trial.distributions == {"a.x": distribution}


@pytest.mark.parametrize("node", RANGES.values(), ids=RANGES)
def test_suggested_values_lie_in_the_dimension_and_ints_are_ints(node):
    dimension = one(node)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    values = [dimension.suggest(study.ask()) for _ in range(20)]
    assert all(dimension.contains(value) for value in values)
    assert {type(value) for value in values} == {type(node["low"])}
    assert len(set(values)) > 1


@pytest.mark.parametrize("choice", [[8, 16], {"depth": [1, {"b": None}]}, [], {}, "[8]", 3, None, False])
def test_any_choice_comes_back_as_it_was_written(choice):
    dimension = one({"choices": ["other", choice]}, "plan")
    study = optuna.create_study()
    study.enqueue_trial({"a.plan": dimension.distribution.choices[1]})
    value = dimension.suggest(study.ask())
    assert value == choice
    assert type(value) is type(choice)


def test_a_decoded_choice_is_the_callers_to_change():
    dimension = one({"choices": [[1, [2]], [3]]}, "plan")
    first = dimension.suggest(FixedTrial({"a.plan": "[1, [2]]"}))
    first[1].append(9)
    assert dimension.suggest(FixedTrial({"a.plan": "[1, [2]]"})) == [1, [2]]


@pytest.mark.parametrize(
    ("node", "inside", "outside"),
    [
        (RANGES["float"], [0.0, 0.5, 1, 1.0], [-0.1, 1.1, "0.5", None, True, float("nan")]),
        (RANGES["float step"], [0.1, 0.3, 0.5, 0.7], [0.2, 0.8]),
        (RANGES["int"], [1, 9], [0, 10, 2.5, 2.0, False]),
        (RANGES["int step"], [16, 48, 64], [17, 80]),
        ({"choices": ["r", [1]]}, ["r", [1]], ["s", 1, [2]]),
    ],
)
def test_contains(node, inside, outside):
    dimension = one(node)
    assert [value for value in inside if not dimension.contains(value)] == []
    assert [value for value in outside if dimension.contains(value)] == []


@pytest.mark.parametrize("spread", [1e-9, 0.15, 50.0])
@pytest.mark.parametrize("node", RANGES.values(), ids=RANGES)
def test_beliefs_draw_what_optuna_accepts(node, spread):
    for value in (node["low"], node["high"]):
        dimension = one({**node, "prior": {"value": value, "spread": spread}})
        generator = np.random.default_rng(0)
        drawn = [dimension.draw_prior(generator) for _ in range(50)]
        assert {type(number) for number in drawn} == {type(node["low"])}
        assert all(dimension.contains(number) for number in drawn)
        assert all(dimension.distribution._contains(dimension.distribution.to_internal_repr(n)) for n in drawn)


def test_a_narrow_belief_stays_near_and_a_wide_one_fills_the_range():
    generator = np.random.default_rng(0)
    narrow, wide = (
        Dimension("a.x", low=1e-4, high=1.0, log=True, prior=Prior(1e-2, spread=spread)) for spread in (0.05, 100.0)
    )
    near = np.log10([narrow.draw_prior(generator) for _ in range(2000)])
    assert near.mean() == pytest.approx(-2.0, abs=0.02)
    assert near.std() == pytest.approx(0.2, abs=0.02)  # 0.05 of the four decades
    far = np.log10([wide.draw_prior(generator) for _ in range(2000)])
    assert np.histogram(far, bins=4, range=(-4.0, 0.0))[0] == pytest.approx(500, abs=100)


def test_a_belief_at_the_end_is_truncated_not_piled_up_there():
    dimension = Dimension("a.x", low=0.0, high=1.0, prior=Prior(0.0, spread=0.1))
    generator = np.random.default_rng(0)
    drawn = np.array([dimension.draw_prior(generator) for _ in range(2000)])
    assert (drawn == 0.0).sum() == 0
    assert drawn.mean() == pytest.approx(0.1 * np.sqrt(2.0 / np.pi), abs=0.005)  # half-normal


def test_a_believed_choice_becomes_the_one_listed():
    assert [type(one({"choices": [1, 2], "prior": prior}).prior.value) for prior in (2, 2.0)] == [int, int]


def test_a_belief_fades():
    prior = Prior(1.0, weight=0.6)
    assert [prior.chance(number) for number in (0, 10, 90)] == pytest.approx([0.6, 0.3, 0.06])
