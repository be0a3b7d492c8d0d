"""Optimisers learn, decay what they should, and name a user's mistakes."""

import copy

import pytest
import torch
from torch import nn

from kirigami.errors import ArgumentError
from kirigami.models import build_network
from kirigami.models.optimizers import OPTIMIZERS, build_optimizer


def network() -> nn.Module:
    torch.manual_seed(0)
    return build_network({"name": "convnet", "width": 4}, in_shape=(1, 8, 8), out_features=3)


@pytest.mark.parametrize("name", OPTIMIZERS)
class TestOptimizer:
    def test_lowers_a_loss(self, name: str) -> None:
        model = nn.Linear(4, 1)
        optimizer = build_optimizer(model, {"name": name, "lr": 0.01})
        inputs = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
        losses = []
        for _ in range(50):
            loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]

    def test_has_defaults(self, name: str) -> None:
        assert build_optimizer(network(), {"name": name}).param_groups[0]["lr"] > 0

    def test_state_goes_round(self, name: str) -> None:
        def step(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
            model(torch.ones(2, 3)).sum().backward()
            optimizer.step()

        one, other = nn.Linear(3, 1), nn.Linear(3, 1)
        first, second = (build_optimizer(model, {"name": name}) for model in (one, other))
        step(first, one)
        other.load_state_dict(one.state_dict())
        second.load_state_dict(copy.deepcopy(first.state_dict()))
        one.zero_grad()
        step(first, one)
        step(second, other)
        assert torch.equal(one.weight, other.weight)


class TestDecay:
    def test_spares_norms_and_biases(self) -> None:
        decayed, spared = build_optimizer(network(), {"name": "sgd", "weight_decay": 0.1}).param_groups
        assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
        assert all(p.ndim > 1 for p in decayed["params"])
        assert all(p.ndim == 1 for p in spared["params"])
        assert len(decayed["params"]) + len(spared["params"]) == len(list(network().parameters()))

    def test_takes_all_if_asked(self) -> None:
        config = {"name": "sgd", "weight_decay": 0.1, "decay_norms": True}
        (group,) = build_optimizer(network(), config).param_groups
        assert group["weight_decay"] == 0.1

    def test_leaves_groups_that_decide_themselves(self) -> None:
        model = network()
        groups = [{"params": model.head.parameters(), "weight_decay": 0.7}, {"params": model.features.parameters()}]
        decays = [
            g["weight_decay"] for g in build_optimizer(groups, {"name": "adamw", "weight_decay": 0.1}).param_groups
        ]
        assert decays == [0.7, 0.1, 0.0]

    def test_leaves_out_what_wants_no_gradient(self) -> None:
        model = nn.Linear(3, 1)
        model.weight.requires_grad_(False)
        (group,) = build_optimizer(model.parameters(), {"name": "sgd"}).param_groups
        assert group["params"] == [model.bias]


def test_options_arrive() -> None:
    config = {"name": "adamw", "lr": 0.02, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.3}
    group = build_optimizer(nn.Linear(2, 1), config).param_groups[0]
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (0.02, (0.8, 0.95), 1e-3, 0.3)


def test_ignores_what_belongs_to_another_optimizer() -> None:
    config = {"lr": 0.1, "momentum": 0.5, "beta1": 0.8}
    assert build_optimizer(nn.Linear(2, 1), {"name": "sgd", **config}).param_groups[0]["momentum"] == 0.5
    assert build_optimizer(nn.Linear(2, 1), {"name": "adam", **config}).param_groups[0]["betas"] == (0.8, 0.999)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "name is not set"),
        ({"name": "sdg"}, "Did you mean 'sgd'?"),
        ({"name": "sgd", "momentun": 0.9}, "momentun is no argument of sgd. Did you mean 'momentum'?"),
        ({"name": "sgd", "parameters": 1}, "parameters is no argument of sgd"),
        ({"name": "sgd", "lr": "1e-3x"}, "lr must be a number, but got '1e-3x'"),
        ({"name": "sgd", "lr": -1.0}, "lr must be at least 0"),
        ({"name": "sgd", "lr": float("nan")}, "lr must be at least 0"),
        ({"name": "sgd", "momentum": 1.0}, "momentum must be at least 0 and below 1, but got 1.0"),
        ({"name": "adam", "beta2": 1.5}, "beta2 must be at least 0 and below 1, but got 1.5"),
        ({"name": "adam", "weight_decay": -0.1}, "weight_decay must be at least 0"),
    ],
)
def test_names_the_fault(config: dict, expected: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        build_optimizer(nn.Linear(2, 1), config)
    assert expected in str(caught.value)
