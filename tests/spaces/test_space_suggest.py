"""A space suggests only what is active, applies it to the config, and probes each value once."""

import copy
import json

import optuna
import pytest
from optuna.trial import FixedTrial

from kirigami.spaces import Dimension, Space

CONFIG = {
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "network": {"name": "mlp", "width": 128, "depth": 2, "plan": [8, 8]},
    "sparsity": {"method": "none", "density": 0.5, "start": 0.1},
    "trainer": {"steps": None},
}
SPACE = {
    "sparsity": {
        "start": {"low": 0.0, "high": 0.5, "when": {"sparsity.density": {"high": 0.3}, "network.depth": [2, 3]}},
        "density": {
            "low": 0.02,
            "high": 1.0,
            "log": True,
            "when": {"sparsity.method": ["continuous", "obd"]},
            "prior": {"value": 0.1, "weight": 0.3},
        },
        "method": {"choices": ["none", "continuous", "obd"], "prior": "obd"},
    },
    "network": {"depth": {"low": 1, "high": 4}, "plan": {"choices": [[8, 8], [16]]}},
}


def random_trials(space, number, seed=0):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    for _ in range(number):
        trial = study.ask()
        yield trial, space.suggest(trial)


def test_dimensions_follow_their_parents_in_an_order_that_the_config_does_not_decide():
    space = Space.from_config(SPACE, CONFIG)
    paths = [dimension.path for dimension in space.dimensions]
    assert paths == ["network.depth", "network.plan", "sparsity.method", "sparsity.density", "sparsity.start"]
    backwards = {room: dict(reversed(node.items())) for room, node in reversed(SPACE.items())}
    assert Space.from_config(backwards, CONFIG).dimensions == space.dimensions
    assert len(space) == 5


def test_only_active_dimensions_are_suggested():
    space = Space.from_config(SPACE, CONFIG)
    seen = set()
    for trial, values in random_trials(space, 200):
        dense = values["sparsity.method"] == "none"
        started = not dense and values["sparsity.density"] <= 0.3 and values["network.depth"] in (2, 3)
        assert ("sparsity.density" in values) == (not dense)
        assert ("sparsity.start" in values) == started
        assert set(trial.params) == set(values)
        seen.add((dense, started))
    assert seen == {(True, False), (False, False), (False, True)}


@pytest.mark.parametrize(
    ("method", "active"), [("none", False), ("obd", True), ("continuous", True), (["obd"], False), (None, False)]
)
def test_a_frozen_parent_counts_with_its_fixed_value(method, active):
    space = {"sparsity": {key: node for key, node in SPACE["sparsity"].items() if key == "density"}}
    config = {**CONFIG, "sparsity": {**CONFIG["sparsity"], "method": method}}
    frozen = Space.from_config(space, config)
    assert len(frozen) == 1
    for _, values in random_trials(frozen, 3):
        assert ("sparsity.density" in values) == active
    assert len(frozen.probes()) == 2 * active


def test_children_of_a_switched_off_dimension_are_off():
    space = {**SPACE, "sparsity": {key: SPACE["sparsity"][key] for key in ("density", "start")}}
    switched_off = Space.from_config(space, CONFIG)
    for _, values in random_trials(switched_off, 5):
        assert set(values) == {"network.depth", "network.plan"}
    assert {path for probe in switched_off.probes() for path in probe} == {"network.depth", "network.plan"}


@pytest.mark.parametrize(
    ("steps", "active"), [(None, False), (5, False), (10, True), (20, True), (20.5, False), ([15], False)]
)
def test_a_range_on_a_fixed_number_includes_its_ends(steps, active):
    space = {"optimizer": {"lr": {"low": 0.1, "high": 1.0, "when": {"trainer.steps": {"low": 10, "high": 20}}}}}
    (assignment,) = [v for _, v in random_trials(Space.from_config(space, {**CONFIG, "trainer": {"steps": steps}}), 1)]
    assert bool(assignment) == active


def test_apply_replaces_leaves_in_a_copy():
    space, before = Space.from_config(SPACE, CONFIG), copy.deepcopy(CONFIG)
    plan = [16]
    applied = space.apply(CONFIG, {"network.plan": plan, "sparsity.method": "obd", "optimizer.lr": 0.5})
    assert applied["network"] == {**CONFIG["network"], "plan": [16]}
    assert (applied["sparsity"]["method"], applied["optimizer"]["lr"]) == ("obd", 0.5)
    applied["network"]["plan"].append(1)
    applied["optimizer"]["name"] = "adam"
    assert before == CONFIG
    assert plan == [16]


def test_apply_takes_what_the_store_holds():
    space = Space.from_config(SPACE, CONFIG)
    for trial, values in random_trials(space, 10):
        assert space.apply(CONFIG, trial.params) == space.apply(CONFIG, values)
    assert space.suggest(FixedTrial(trial.params)) == values


@pytest.mark.parametrize("path", ["optimizer.lrr", "optimizer", "optimizer.lr.scale"])
def test_apply_refuses_what_is_no_leaf(path):
    with pytest.raises(ValueError, match=f"{path}: no such leaf in the config. Did you mean"):
        Space.from_config({}, CONFIG).apply(CONFIG, {path: 1})


def test_probes_try_each_value_once_with_parents_that_make_it_active():
    space = Space.from_config(SPACE, CONFIG)
    assert space.probes() == [
        {"network.depth": 1},
        {"network.depth": 4},
        {"network.plan": [8, 8]},
        {"network.plan": [16]},
        {"sparsity.method": "none"},
        {"sparsity.method": "continuous"},
        {"sparsity.method": "obd"},
        {"sparsity.method": "continuous", "sparsity.density": 0.02},
        {"sparsity.method": "continuous", "sparsity.density": 1.0},
        # network.depth stays at the config's 2, which is allowed; density cannot stay at its .5.
        {"network.depth": 2, "sparsity.method": "continuous", "sparsity.density": 0.02, "sparsity.start": 0.0},
        {"network.depth": 2, "sparsity.method": "continuous", "sparsity.density": 0.02, "sparsity.start": 0.5},
    ]


def test_every_probe_is_a_possible_trial():
    space = Space.from_config(SPACE, CONFIG)
    missing = {"network.depth": 4, "network.plan": "[16]", "sparsity.method": "none", "sparsity.density": 1.0}
    for probe in space.probes():
        stored = {path: json.dumps(value) if isinstance(value, list) else value for path, value in probe.items()}
        suggested = space.suggest(FixedTrial(missing | {"sparsity.start": 0.1} | stored))
        assert probe.items() <= suggested.items()


@pytest.mark.parametrize(
    ("parent", "condition", "chosen"),
    [
        ({"low": 1, "high": 9}, {"low": 5}, 5),
        ({"low": 1, "high": 9}, {"high": 1}, 1),
        ({"low": 1, "high": 9, "step": 4}, {"low": 2, "high": 8}, 5),
        ({"low": 0, "high": 9, "step": 3}, {"low": 4, "high": 8}, 6),
        ({"low": 1, "high": 9}, {"low": 2.5, "high": 3}, 3),
        ({"low": 1, "high": 9}, [7, 8], 7),
        ({"low": 1, "high": 3}, {"low": -5, "high": 50}, 2),
    ],
)
def test_a_probe_finds_a_parent_value(parent, condition, chosen):
    space = {"network": {"depth": parent, "width": {"low": 1, "high": 2, "when": {"network.depth": condition}}}}
    probes = Space.from_config(space, CONFIG).probes()
    assert [probe["network.depth"] for probe in probes if "network.width" in probe] == [chosen, chosen]


def test_conditions_of_several_children_on_one_parent_are_met_together():
    space = {
        "network": {
            "depth": {"low": 1, "high": 9},
            "width": {"low": 1, "high": 2, "when": {"network.depth": {"low": 3, "high": 6}}},
        },
        "optimizer": {"lr": {"low": 0.1, "high": 1.0, "when": {"network.width": 1, "network.depth": {"low": 5}}}},
    }
    probes = Space.from_config(space, CONFIG).probes()
    assert probes[-1] == {"network.depth": 5, "network.width": 1, "optimizer.lr": 1.0}


def test_canonical_form_is_plain_and_reads_back():
    space = Space.from_config(SPACE, CONFIG)
    found = space.to_dict()
    assert json.loads(json.dumps(found)) == found
    assert list(found) == sorted(found)
    assert found["sparsity.method"]["prior"] == {"value": "obd", "weight": 0.5, "spread": 0.15}
    assert found["sparsity.start"]["when"] == {"network.depth": [2, 3], "sparsity.density": {"high": 0.3}}
    again = Space.from_config(found, CONFIG)
    assert again.to_dict() == found
    assert again.dimensions == space.dimensions


def test_canonical_form_forgets_how_it_was_written():
    short = {"optimizer": {"lr": {"low": 0.1, "high": 1.0, "when": {"optimizer.name": "sgd"}, "prior": 0.5}}}
    long = {"optimizer.lr": {"when": {"optimizer.name": ["sgd"]}, "log": False, "step": None, "high": 1.0, "low": 0.1}}
    long["optimizer.lr"]["prior"] = {"value": 0.5, "weight": 0.5, "spread": 0.15}
    assert Space.from_config(short, CONFIG).to_dict() == Space.from_config(long, CONFIG).to_dict()


def test_distributions_name_every_dimension():
    space = Space.from_config(SPACE, CONFIG)
    assert space.distributions() == {one.path: one.distribution for one in space.dimensions}
    assert len(space.distributions()) == 5


def test_a_config_leaf_may_be_called_low():
    (dimension,) = Space.from_config(
        {"band": {"low": {"low": 1, "high": 2}}}, {"band": {"low": 1, "high": 5}}
    ).dimensions
    assert dimension == Dimension("band.low", low=1, high=2)
