"""Each way a space can be wrong is one line that says what to do."""

import re

import pytest

from kirigami.spaces import Budget, Space

CONFIG = {
    "seed": 0,
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
    "network": {"name": "mlp", "width": 128, "depth": 2, "activation": "relu"},
    "sparsity": {"method": "none", "density": 0.5},
    "trainer": {"steps": None, "milestones": [10, 20]},
}
METHOD = {"choices": ["none", "continuous", "obd"]}


def lr(**keys):
    return {"optimizer": {"lr": {"low": 1e-3, "high": 1.0, **keys}}}


def width(**keys):
    return {"network": {"width": {"low": 16, "high": 64, **keys}}}


def when(condition, **others):
    return {
        "sparsity": {"method": METHOD, "density": {"low": 0.1, "high": 1.0, "when": condition}},
        "network": {"width": {"low": 16, "high": 64, "step": 16}},
        **others,
    }


CYCLE = {
    "optimizer": {
        "lr": {"low": 0.1, "high": 1.0, "when": {"optimizer.momentum": {"low": 0.5}}},
        "momentum": {"low": 0.0, "high": 1.0, "when": {"optimizer.name": "sgd"}},
        "name": {"choices": ["sgd", "adam"], "when": {"optimizer.lr": {"high": 0.5}}},
    }
}
CONTRADICTION = {
    "sparsity": {"method": METHOD, "density": {"low": 0.1, "high": 1.0, "when": {"sparsity.method": "obd"}}},
    "network": {
        "width": {"low": 1, "high": 9, "when": {"sparsity.method": "continuous", "sparsity.density": {"low": 0.5}}}
    },
}

TABLE = {
    "space no mapping": ([1], "space must be a mapping that mirrors the config, but got [1]."),
    "unknown leaf": (
        {"optimizer": {"lrr": {"low": 0.1, "high": 1.0}}},
        "space.optimizer.lrr: no such path in the config. Did you mean space.optimizer.lr?",
    ),
    "unknown branch": (
        {"optimzer": {"lr": {"low": 0.1, "high": 1.0}}},
        "space.optimzer: no such path in the config. Did you mean space.optimizer?",
    ),
    "right key in the wrong branch": (
        {"network": {"momentum": {"low": 0.1, "high": 1.0}}},
        "space.network.momentum: no such path in the config. Did you mean space.optimizer.momentum?",
    ),
    "unknown dotted": (
        {"optimizer.lrr": {"low": 0.1, "high": 1.0}},
        "space.optimizer.lrr: no such path in the config. Did you mean space.optimizer.lr?",
    ),
    "branch": (
        {"optimizer": {"low": 0.1, "high": 1.0}},
        "space.optimizer is a branch of the config, not a leaf. Vary one of its leaves: space.optimizer.name, "
        "space.optimizer.lr",
    ),
    "scalar on branch": ({"optimizer": 3}, "space.optimizer must be a mapping of the leaves of optimizer, but got 3."),
    "below a leaf": (
        {"optimizer": {"lr": {"scale": {"low": 0.1, "high": 1.0}}}},
        "space.optimizer.lr.scale: optimizer.lr is a leaf of the config (0.1), nothing stands below it. "
        "Put the distribution on space.optimizer.lr.",
    ),
    "below a leaf, dotted": (
        {"optimizer.lr.scale": {"low": 0.1, "high": 1.0}},
        "space.optimizer.lr.scale: optimizer.lr",
    ),
    "given twice": (
        {"optimizer": {"lr": {"low": 0.1, "high": 1.0}}, "optimizer.lr": {"low": 0.1, "high": 1.0}},
        "space.optimizer.lr is given twice.",
    ),
    "scalar": (
        {"optimizer": {"lr": 0.1}},
        "space.optimizer.lr must be {low: a, high: b} or {choices: [...]}, but got 0.1. "
        "To fix a value use ~space.optimizer.lr optimizer.lr=0.1.",
    ),
    "true": ({"optimizer": {"lr": True}}, "To fix a value use ~space.optimizer.lr optimizer.lr=true."),
    "text": ({"network": {"activation": "relu"}}, "use ~space.network.activation network.activation=relu."),
    "bare list": ({"network": {"depth": [1, 2]}}, "but got [1, 2]. Write {choices: [1, 2]}."),
    "low == high": (lr(low=1.0), "space.optimizer.lr: low must be less than high, but got low=1.0 and high=1.0. "),
    "low > high": (width(low=65), "must be less than high, but got low=65 and high=64. To fix a value use ~space."),
    "log from 0": (lr(low=0.0, log=True), "space.optimizer.lr: log needs low above 0, but got low=0.0."),
    "log of negatives": (width(low=-3, log=True), "space.network.width: log needs low above 0, but got low=-3."),
    "log no boolean": (lr(log="yes"), "space.optimizer.lr.log must be true or false, but got 'yes'."),
    "log and step": (lr(log=True, step=0.1), "space.optimizer.lr has both log and step=0.1. Remove one of them"),
    "step 0": (width(step=0), "space.network.width.step must be above 0, but got 0."),
    "step < 0": (lr(step=-0.1), "space.optimizer.lr.step must be above 0, but got -0.1."),
    "broken step": (
        width(step=0.5),
        "space.network.width.step must be a whole number between whole ends, but got 0.5.",
    ),
    "step beside the range": (
        width(step=10),
        "step must divide the range from 16 to 64, but got 10. Set high to 56 or 66.",
    ),
    "step beyond the range": (width(step=100), "from 16 to 64, but got 100. Set high to 116."),
    "infinite": (lr(high=float("inf")), "space.optimizer.lr.high must be a finite number, but got inf."),
    "nan": (lr(low=float("nan")), "space.optimizer.lr.low must be a finite number, but got nan."),
    "nan step": (lr(step=float("nan")), "space.optimizer.lr.step must be a finite number, but got nan."),
    "text for a number": (lr(low="1e-3"), "space.optimizer.lr.low must be a number, but got '1e-3'. Write it plainly"),
    "boolean for a number": (width(low=True), "space.network.width.low must be a number, but got True."),
    "null for a number": (width(low=None), "space.network.width.low must be a number, but got None."),
    "unknown key": (
        {"optimizer": {"lr": {"low": 0.1, "hgih": 1.0}}},
        "space.optimizer.lr has the unknown key 'hgih'; it takes (low, high, log, step, choices, when, prior). "
        "Did you mean 'high'?",
    ),
    "missing high": ({"optimizer": {"lr": {"low": 0.1}}}, "space.optimizer.lr has no high; a range takes both"),
    "missing low": ({"optimizer": {"lr": {"high": 0.1}}}, "space.optimizer.lr has no low; a range takes both"),
    "missing both": ({"optimizer": {"lr": {}}}, "space.optimizer.lr has no low and no high; a range takes both"),
    "choices and range": (lr(choices=[1]), "space.optimizer.lr has choices and also low, high."),
    "choices from 0": (
        {"network": {"depth": {"choices": [1], "low": 0}}},
        "space.network.depth has choices and also low. Give a range or choices, not both.",
    ),
    "no choices": ({"network": {"depth": {"choices": []}}}, "space.network.depth.choices must hold at least one value"),
    "choices no list": (
        {"network": {"activation": {"choices": "relu"}}},
        "space.network.activation.choices must be a list, but got 'relu'.",
    ),
    "choice twice": (
        {"network": {"depth": {"choices": [1, 2, 1]}}},
        "space.network.depth.choices holds 1 twice (equal to 1). Remove one of them.",
    ),
    "choice twice in disguise": (
        {"network": {"depth": {"choices": [1, 1.0]}}},
        "space.network.depth.choices holds 1.0 twice (equal to 1).",
    ),
    "list twice": ({"trainer": {"milestones": {"choices": [[1, 2], [1, 2]]}}}, "choices holds [1, 2] twice"),
    "list and its text": ({"trainer": {"milestones": {"choices": [[1, 2], "[1, 2]"]}}}, "holds '[1, 2]' twice"),
    "choice of a strange type": (
        {"network": {"depth": {"choices": [{1}]}}},
        "choices takes numbers, text, true, false",
    ),
    "choice nan": ({"network": {"depth": {"choices": [float("nan")]}}}, "choices takes numbers, text, true, false"),
    "prior outside": (lr(prior=5), "space.optimizer.lr.prior must be a number from 0.001 to 1.0, but got 5."),
    "prior between steps": (
        width(step=16, prior=20),
        "must be a whole number from 16 to 64 in steps of 16, but got 20.",
    ),
    "prior broken": (
        width(prior=20.5),
        "space.network.width.prior must be a whole number from 16 to 64, but got 20.5.",
    ),
    "prior text": (lr(prior="low"), "space.optimizer.lr.prior must be a number from 0.001 to 1.0, but got 'low'."),
    "prior no choice": (
        {"network": {"activation": {"choices": ["relu", "silu"], "prior": "rleu"}}},
        "space.network.activation.prior must be one of (relu, silu), but got 'rleu'. Did you mean 'relu'?",
    ),
    "prior value outside": (
        lr(prior={"value": 2.0}),
        "space.optimizer.lr.prior.value must be a number from 0.001 to 1.0",
    ),
    "prior weight": (lr(prior={"value": 0.1, "weight": 2}), "prior.weight must be a number from 0 to 1, but got 2."),
    "prior spread": (lr(prior={"value": 0.1, "spread": 0}), "prior.spread must be a fraction of the range above 0"),
    "prior without value": (lr(prior={"weight": 0.5}), "space.optimizer.lr.prior has no value; a belief needs one."),
    "prior key": (
        lr(prior={"value": 0.1, "wieght": 0.5}),
        "prior has the unknown key 'wieght'; it takes (value, weight, spread). Did you mean 'weight'?",
    ),
    "when no mapping": (
        when("obd"),
        "space.sparsity.density.when must be a mapping {other.path: value}, but got 'obd'.",
    ),
    "when unknown path": (
        when({"sparsity.methd": "obd"}),
        "space.sparsity.density.when.sparsity.methd: no such path in the config. Did you mean sparsity.method?",
    ),
    "when on a branch": (when({"network": "mlp"}), "network is a branch of the config, not a leaf."),
    "when nested": (
        when({"sparsity": {"method": "obd"}}),
        "unknown key 'method'; a range takes (low, high). Write a path",
    ),
    "when no value": (when({"sparsity.method": []}), "when.sparsity.method must name at least one value, but got []."),
    "when empty range": (
        when({"network.width": {}}),
        "must be a value, a list of values or {low: a, high: b}, but got {}.",
    ),
    "when never taken": (
        when({"sparsity.method": ["none", "obdd"]}),
        "when.sparsity.method: sparsity.method never takes 'obdd'; it takes (none, continuous, obd). "
        "Did you mean 'obd'?",
    ),
    "when value beyond a range": (
        when({"network.width": 65}),
        "network.width never takes 65; it takes 16 to 64 in steps of 16.",
    ),
    "when value between steps": (when({"network.width": 17}), "network.width never takes 17;"),
    "when range beyond a range": (when({"network.width": {"low": 65}}), "network.width never lies in {'low': 65};"),
    "when range between steps": (when({"network.width": {"low": 17, "high": 31}}), "network.width never lies in"),
    "when range on choices": (
        when({"sparsity.method": {"low": 1}}),
        "when.sparsity.method is a range, but sparsity.method has the choices (none, continuous, obd).",
    ),
    "when range on fixed text": (when({"optimizer.name": {"low": 1}}), "is a range, but optimizer.name is 'sgd'."),
    "when range of text": (
        when({"network.width": {"low": "a"}}),
        "when.network.width.low must be a number, but got 'a'.",
    ),
    "when range upside down": (
        when({"network.width": {"low": 48, "high": 32}}),
        "low must not exceed high, but got low=48",
    ),
    "when itself": (
        when({"sparsity.density": {"low": 0.5}}),
        "space: the when conditions form a cycle, sparsity.density -> sparsity.density.",
    ),
    "cycle": (
        CYCLE,
        "form a cycle, optimizer.lr -> optimizer.momentum -> optimizer.name -> optimizer.lr. Remove one of them.",
    ),
    "contradiction": (
        CONTRADICTION,
        "space.network.width can never be active: its conditions on sparsity.method contradict each other.",
    ),
}


@pytest.mark.parametrize(("space", "message"), TABLE.values(), ids=TABLE)
def test_wrong_space_is_one_line(space, message):
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        Space.from_config(space, CONFIG)
    assert str(caught.value).startswith("space")
    assert str(caught.value).endswith((".", "?"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("space", [None, {}, {"optimizer": {}}, {"optimizer": None, "network": {}}])
def test_empty_space_has_no_dimensions(space):
    empty = Space.from_config(space, CONFIG)
    assert len(empty) == 0
    assert empty.probes() == []
    assert empty.to_dict() == {}


BUDGETS = {
    "no mapping": (100, "budget must be a mapping such as {trials: 100}, but got 100."),
    "unknown": (
        {"trails": 3},
        "budget.trails is unknown; a budget takes "
        "(trials, wall_s, failures_in_a_row, params, macs, bytes, latency_ms, device_s, money). "
        "Did you mean budget.trials?",
    ),
    "zero": ({"trials": 0}, "budget.trials must be a whole number above 0, or null for no limit, but got 0."),
    "broken": ({"trials": 1.5}, "budget.trials must be a whole number above 0"),
    "boolean": ({"trials": True}, "budget.trials must be a whole number above 0"),
    "text": ({"wall_s": "1h"}, "budget.wall_s must be seconds above 0, or null for no limit, but got '1h'."),
    "negative": ({"wall_s": -1}, "budget.wall_s must be seconds above 0"),
    "no failure": ({"failures_in_a_row": 0}, "budget.failures_in_a_row must be a whole number above 0, but got 0."),
    "null failures": ({"failures_in_a_row": None}, "budget.failures_in_a_row must be a whole number above 0, but got"),
    "devices": ({"device_s": 0}, "budget.device_s must be seconds above 0, or null for no limit, but got 0."),
    "infinite": ({"wall_s": float("inf")}, "budget.wall_s must be seconds above 0"),
}


@pytest.mark.parametrize(("config", "message"), BUDGETS.values(), ids=BUDGETS)
def test_wrong_budget_is_one_line(config, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Budget.from_config(config)


COSTS = {
    "no price": (
        {"per_device_hour": None, "currency": "EUR"},
        "budget.money=5 needs the price of a device, but cost.per_device_hour is null. Set cost.per_device_hour=2.5",
    ),
    "unknown": ({"per_hour": 3}, "cost.per_hour is unknown; a cost takes (per_device_hour, currency)."),
    "free": (
        {"per_device_hour": 0},
        "cost.per_device_hour must be a price above 0, or null where it is not known, but",
    ),
    "no currency": ({"per_device_hour": 1, "currency": 3}, "cost.currency must be a name such as USD, but got 3."),
    "no mapping": (3, "cost must be a mapping such as {per_device_hour: 2.5}, but got 3."),
}


@pytest.mark.parametrize(("cost", "message"), COSTS.values(), ids=COSTS)
def test_wrong_cost_is_one_line(cost, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Budget.from_config({"money": 5}, cost)


def test_budget_reads_its_price():
    found = Budget.from_config({"money": 5, "device_s": 60}, {"per_device_hour": 2.5, "currency": "EUR"})
    assert found == Budget(money=5.0, device_s=60.0, per_device_hour=2.5, currency="EUR")
    assert Budget.from_config({"money": 5}).limits == {}, "who only reads the limits needs no price"


def test_budget_reads_its_limits():
    assert Budget.from_config({"trials": 100, "wall_s": 60}) == Budget(trials=100, wall_s=60.0)
    assert Budget.from_config({"failures_in_a_row": 3}).failures_in_a_row == 3
    assert Budget.from_config({"trials": None}) == Budget.from_config(None) == Budget()
