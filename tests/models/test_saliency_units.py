"""Scores of units, each against an independent computation, and how many units can go."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import hessian, vmap

from kirigami.models.saliency import UNIT_CRITERIA, Gates, removable, unit_scores
from kirigami.models.structure import Units, remove, units


class Residual(nn.Module):
    """Two coupled convolutions around a shortcut, norms, ReLU as a function, and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.inner, self.outer = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        stream = F.relu(self.norm(self.stem(inputs)))
        stream = F.relu(stream + self.outer(F.relu(self.inner(stream))))
        return self.head(stream.mean((-2, -1)))


def flat() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5), nn.Tanh(),
        nn.Linear(5, 3),
    )  # fmt: skip


def dense() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.Sigmoid(), nn.Linear(5, 3))


NETWORKS: dict[str, Callable[[], nn.Module]] = {"residual": Residual, "flat": flat, "dense": dense}


def make(name: str) -> tuple[nn.Module, list[Units], list[tuple[Tensor, Tensor]]]:
    torch.manual_seed(0)
    network = NETWORKS[name]()
    batches = [(torch.randn(8, 1, 6, 6), torch.randint(0, 3, (8,))) for _ in range(2)]
    network.train()
    network(batches[0][0])  # gives norms statistics
    return network, units(network, batches[0][0]), batches


def loss_of(network: nn.Module) -> Callable[[Any], Tensor]:
    return lambda batch: F.cross_entropy(network(batch[0]), batch[1])


class TestCriteria:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_oracle_is_the_loss_of_the_network_without_the_unit(self, name: str) -> None:
        network, sets, batches = make(name)
        scores = unit_scores(network, sets, batches, loss_of(network), "oracle")
        before = mean_loss(network, batches)
        for place, one in enumerate(sets):
            for unit in range(one.count):
                smaller = copy.deepcopy(network)
                remove(smaller, units(smaller, batches[0][0])[place], [unit])
                rise = mean_loss(smaller, batches) - before
                assert float(scores[one.name][unit]) == pytest.approx(rise, abs=1e-5)

    @pytest.mark.parametrize("name", NETWORKS)
    def test_taylor2_is_the_second_order_expansion_of_the_oracle(self, name: str) -> None:
        """The exact expansion by the gate of one unit, open for all rows at once, is what Hutchinson estimates."""
        network, sets, batches = make(name)
        network.double().eval()
        batch = batches[0][0].double(), batches[0][1]
        found = unit_scores(network, sets, [batch], loss_of(network), "taylor2", probes=1000)
        for one in sets:
            exact = torch.stack([expansion(network, one, unit, batch) for unit in range(one.count)])
            torch.testing.assert_close(found[one.name].double(), exact, atol=0.15 * float(exact.abs().max()), rtol=0.05)

    def test_taylor_in_terms_of_activations(self) -> None:
        network, sets, batches = make("dense")
        batch = batches[0]
        hidden = network[:3](batch[0]).detach()
        one = lambda h, y: F.cross_entropy(network[3](h[None]), y[None])  # noqa: E731
        gradient = vmap(torch.func.grad(one))(hidden, batch[1])
        curvature = vmap(lambda h, y: hessian(one)(h, y).diagonal())(hidden, batch[1])
        first = unit_scores(network, sets, [batch], loss_of(network), "taylor1")["1"]
        torch.testing.assert_close(first, (hidden * gradient).abs().mean(0).detach())
        second = unit_scores(network, sets, [batch], loss_of(network), "taylor2", probes=1000)["1"]
        expected = (-hidden * gradient + 0.5 * hidden.square() * curvature).mean(0).detach()
        torch.testing.assert_close(second, expected, atol=0.02 * float(expected.abs().max()), rtol=0.02)

    def test_norm_is_over_all_layers_that_make_the_unit(self) -> None:
        network, sets, _ = make("residual")
        scores = unit_scores(network, sets, [], loss_of(network), "norm")
        coupled = network.stem.weight.flatten(1).square().sum(1) + network.outer.weight.flatten(1).square().sum(1)
        torch.testing.assert_close(scores["stem"], coupled.sqrt().detach())
        torch.testing.assert_close(scores["inner"], network.inner.weight.flatten(1).norm(dim=1).detach())

    def test_apoz_counts_after_the_activation_and_before_pooling(self) -> None:
        network, sets, batches = make("flat")
        scores = unit_scores(network, sets, batches, loss_of(network), "apoz")
        network.eval()
        after = torch.cat([network[:3](batch[0]) for batch in batches])
        torch.testing.assert_close(scores["0"], (after != 0).float().mean((0, 2, 3)))
        assert torch.equal(scores["5"], torch.ones(5))

    def test_apoz_without_an_activation_module_counts_what_is_read(self) -> None:
        network, sets, batches = make("residual")
        scores = unit_scores(network, sets, batches, loss_of(network), "apoz")
        network.eval()
        inputs = torch.cat([batch[0] for batch in batches])
        read = F.relu(network.inner(F.relu(network.norm(network.stem(inputs)))))
        torch.testing.assert_close(scores["inner"], (read != 0).float().mean((0, 2, 3)))

    @pytest.mark.parametrize("criterion", UNIT_CRITERIA)
    def test_leaves_the_network_as_it_was(self, criterion: str) -> None:
        network, sets, batches = make("flat")
        state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
        unit_scores(network, sets, batches, loss_of(network), criterion, training=True)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
        assert network.training
        assert torch.equal(random, torch.get_rng_state())
        assert not any(module._forward_pre_hooks or module._forward_hooks for module in network.modules())
        assert all(parameter.grad is None for parameter in network.parameters())

    @pytest.mark.parametrize("criterion", ["taylor1", "taylor2", "oracle"])
    def test_closed_units_count_as_removed(self, criterion: str) -> None:
        network, sets, batches = make("dense")
        closed = {"1": torch.tensor([False, True, False, False, True])}
        found = unit_scores(network, sets, batches, loss_of(network), criterion, closed, probes=1500)["1"]
        smaller = copy.deepcopy(network)
        fewer = units(smaller, batches[0][0])
        remove(smaller, fewer[0], [1, 4])
        expected = unit_scores(smaller, fewer, batches, loss_of(smaller), criterion, probes=1500)["1"]
        scale = float(expected.abs().max())
        torch.testing.assert_close(found[[0, 2, 3]], expected, atol=0.02 * scale, rtol=0.02)

    def test_refuses_unknown_criteria(self) -> None:
        network, sets, batches = make("dense")
        with pytest.raises(ValueError, match=r"criterion must be one of .*, but got 'taylor'"):
            unit_scores(network, sets, batches, loss_of(network), "taylor")
        with pytest.raises(ValueError, match=r"batches must hold at least 1 batch for oracle, but got 0"):
            unit_scores(network, sets, [], loss_of(network), "oracle")


def mean_loss(network: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> float:
    network.eval()
    with torch.no_grad():
        return sum(float(loss_of(network)(batch)) for batch in batches) / len(batches)


def expansion(network: nn.Module, one: Units, unit: int, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the loss's expansion when each row closes its own gate of one unit: by its rows' own derivatives."""
    total = torch.zeros((), dtype=torch.float64)
    for row in range(len(batch[0])):
        gate = torch.ones((), dtype=torch.float64, requires_grad=True)
        handles = [network.get_submodule(axis.module).register_forward_pre_hook(scaled(axis, unit, gate))
                   for axis in one.of("in")]  # fmt: skip
        value = loss_of(network)((batch[0][row : row + 1], batch[1][row : row + 1]))
        (slope,) = torch.autograd.grad(value, gate, create_graph=True)
        (bend,) = torch.autograd.grad(slope, gate)
        total += (-slope + 0.5 * bend).detach() / len(batch[0])
        for handle in handles:
            handle.remove()
    return total


def scaled(axis: Any, unit: int, gate: Tensor) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
    def hook(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        wide = torch.zeros(inputs[0].shape[1], dtype=torch.float64)
        wide[axis.entries([unit])] = 1
        wide = wide.view(-1, *[1] * (inputs[0].dim() - 2))
        return (inputs[0] * (1 - wide + gate * wide),)

    return hook


class TestRemovable:
    def weighted(self) -> tuple[nn.Sequential, list[Units], Tensor]:
        """Return a network whose output is 1a + 2b + 3c + 4d of four inputs of ones."""
        network = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False))
        with torch.no_grad():
            network[0].weight.copy_(torch.eye(4))
            network[2].weight.copy_(torch.tensor([[3.0, 1.0, 4.0, 2.0]]))
        inputs = torch.ones(2, 4)
        return network, units(network, inputs), inputs

    def test_removes_the_least_until_too_much_is_lost(self) -> None:
        network, sets, inputs = self.weighted()
        quality = lambda: float(network(inputs)[0, 0])  # noqa: E731
        loss = lambda batch: -network(batch).mean()  # noqa: E731
        found = removable(network, sets, [inputs], loss, quality, "oracle", tolerance=3.0)
        assert found.order == [("0", 1), ("0", 3)]
        assert found.quality == [10.0, 9.0, 7.0]
        assert found.count == 2
        assert found.indices("0") == [1, 3]
        assert found.rankings == {"oracle": 3}
        assert float(network(inputs).detach()[0, 0]) == 10.0

    def test_one_unit_stays(self) -> None:
        network, sets, inputs = self.weighted()
        found = removable(network, sets, [inputs], lambda b: -network(b).mean(), lambda: 1.0, "taylor2")
        assert found.indices("0") == [0, 1, 3]

    def test_ranks_anew_after_each_removal(self) -> None:
        """Two units that say the same: either may go, but not both."""
        network, sets, inputs = self.weighted()
        with torch.no_grad():
            network[2].weight.copy_(torch.tensor([[1.0, 1.0, 1.2, 0.0]]))
        loss = lambda batch: (1 - network(batch)).clamp(min=0).square().sum()  # noqa: E731
        found = removable(network, sets, [inputs], loss, lambda: -float(loss(inputs)), "oracle", tolerance=1e-3)
        assert found.indices("0") == [0, 1, 3]
        ranked_once = unit_scores(network, sets, [inputs], loss, "oracle")["0"]
        assert torch.all(ranked_once == 0)

    def test_blend_goes_on_with_the_expensive_criterion(self) -> None:
        network, sets, inputs = self.weighted()
        with torch.no_grad():
            network[0].weight[2, 2] = 0.5  # small by norm, large by what it does: 2 of 8
        quality = lambda: float(network(inputs)[0, 0])  # noqa: E731
        loss = lambda batch: -network(batch).mean()  # noqa: E731
        cheap = removable(network, sets, [inputs], loss, quality, "norm", tolerance=3.5)
        blend = removable(network, sets, [inputs], loss, quality, "norm", tolerance=3.5, finish="oracle", retreat=1.0)
        assert cheap.order == [("0", 2)]
        assert blend.indices("0") == [1, 3] or blend.indices("0") == [1, 2]
        assert blend.count == 2
        assert blend.rankings["norm"] == cheap.rankings["norm"]
        assert len(blend.quality) == 1 + blend.count

    def test_gates_compute_what_is_left_after_removal(self) -> None:
        network, sets, batches = make("residual")
        network.eval()
        gates = Gates(network, sets, {"stem": torch.tensor([True, False, False, True])})
        with gates.placed():
            gated = network(batches[0][0])
        remove(network, sets[[one.name for one in sets].index("stem")], [0, 3])
        torch.testing.assert_close(network(batches[0][0]), gated)

    def test_refuses_to_retreat_further_than_the_start(self) -> None:
        network, sets, inputs = self.weighted()
        with pytest.raises(ValueError, match=r"retreat must be at least 0"):
            removable(network, sets, [inputs], lambda b: network(b).mean(), lambda: 1.0, retreat=1.5)
