"""New units and layers: what the function does at growth, what they begin as, and what the optimiser knows of them."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kirigami import models
from kirigami.models.growth import INITS, Ground, firefly, gradmax, net2wider, random
from kirigami.models.growth.initial import derivative
from kirigami.models.growth.place import TINY
from kirigami.models.growth.view import gradient, matrix, mean_loss, trial
from kirigami.models.structure import units

IMAGES: dict[str, dict[str, Any]] = {
    "mlp": {"name": "mlp", "depth": 2, "width": 12},
    "mlp, batch norm": {"name": "mlp", "depth": 2, "width": 12, "norm": "batch"},
    "convnet": {"name": "convnet", "width": 6},
    "convnet, no norm": {"name": "convnet", "width": 6, "norm": "none"},
    "convnet, group norm": {"name": "convnet", "width": 16, "depth": 2, "norm": "group"},
    "resnet": {"name": "resnet", "width": 4, "depth": 8},
    "resnet, preactivation": {"name": "resnet", "width": 4, "depth": 8, "preactivation": True},
    "wrn": {"name": "wrn", "widen": 1, "depth": 10},
    "vgg": {"name": "vgg", "width": 2},
}
TEXTS: dict[str, dict[str, Any]] = {"transformer": {"name": "transformer", "width": 16}}
NETWORKS = {**IMAGES, **TEXTS}
WITHOUT_UNITS = {"gru"}


def build(name: str, **changes: Any) -> tuple[nn.Module, Tensor]:
    """Return a network whose statistics, scales and biases are away from where they begin, and inputs for it."""
    torch.manual_seed(0)
    if name in TEXTS:
        config = {**TEXTS[name], **changes}
        network = models.build_network(config, in_shape=(6,), out_features=5, vocabulary=5)
        inputs = torch.randint(0, 5, (8, 6))
    else:
        network = models.build_network({**IMAGES[name], **changes}, in_shape=(1, 8, 8), out_features=3)
        inputs = torch.randn(8, 1, 8, 8)
    with torch.no_grad():
        for key, tensor in [*network.named_parameters(), *network.named_buffers()]:
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 2)
            elif tensor.dim() == 1:
                tensor.add_(0.3 * torch.randn_like(tensor))
    return network.eval(), inputs


def ground(network: nn.Module, inputs: Tensor, *optimizers: torch.optim.Optimizer, scale: float = 1.0) -> Ground:
    """Return a task of lot for the network, as growth sees it."""
    outputs = network(inputs).detach()
    targets = torch.randint(0, outputs.shape[-1], outputs.shape[:-1], generator=torch.Generator().manual_seed(1))

    def loss(batch: Any) -> Tensor:
        return F.cross_entropy(network(batch[0]).flatten(0, -2), batch[1].flatten())

    return Ground(network, [(inputs, targets)], loss, torch.Generator().manual_seed(2), optimizers, scale)


def step(network: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor) -> None:
    optimizer.zero_grad()
    network(inputs).square().mean().backward()
    optimizer.step()


def off(network: nn.Module, inputs: Tensor, before: Tensor) -> float:
    """Return the largest change of the outputs, in units of the largest output."""
    with torch.no_grad():
        return float((network(inputs) - before).abs().max() / before.abs().max())


def test_every_network_has_a_case() -> None:
    assert {config["name"] for config in NETWORKS.values()} | WITHOUT_UNITS == set(models.networks.NETWORKS)


@pytest.mark.parametrize("name", NETWORKS)
class TestFunction:
    def test_wider_keeps_it(self, name: str) -> None:
        network, inputs = build(name)
        before, sizes = network(inputs).detach(), models.cost.parameters(network)
        found = units(network, inputs)
        for one in found:
            net2wider(network, one, one.count, generator=torch.Generator().manual_seed(1))
        assert found
        assert models.cost.parameters(network) > 1.5 * sizes
        assert off(network, inputs, before) < 1e-5

    def test_silent_units_keep_it(self, name: str) -> None:
        network, inputs = build(name)
        before = network(inputs).detach()
        chance, best = copy.deepcopy(network), network
        for method, grown in ((random, chance), (gradmax, best)):
            one = units(grown, inputs)[0]
            method(ground(grown, inputs), one, 2)
            assert off(grown, inputs, before) < 1e-5

    def test_a_trial_leaves_no_trace(self, name: str) -> None:
        network, inputs = build(name)
        held = [id(value) for value in [*network.parameters(), *network.buffers()]]
        state, shown = copy.deepcopy(network.state_dict()), repr(network)
        found = units(network, inputs)
        counts = [one.count for one in found]
        for one in found:
            with trial(network, one):
                firefly(ground(network, inputs), one, 2, rounds=1)
                net2wider(network, one, 1)
                assert repr(network) != shown
        assert [id(value) for value in [*network.parameters(), *network.buffers()]] == held
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
        assert repr(network) == shown
        assert [one.count for one in found] == counts


def test_noise_parts_copies() -> None:
    network, inputs = build("mlp")
    before = network(inputs).detach()
    net2wider(network, units(network, inputs)[0], 12, noise=0.1, generator=torch.Generator().manual_seed(0))
    rows = network.hidden[0].weight
    assert not any(torch.equal(one, other) for one in rows[:12] for other in rows[12:])
    assert 1e-5 < off(network, inputs, before) < 0.5


class TestGradMax:
    """Against the published formula on a plain network, where it can be written down."""

    def case(self) -> tuple[nn.Sequential, Tensor, Tensor]:
        torch.manual_seed(3)
        network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4)).double()
        return network, torch.randn(32, 6).double(), torch.randn(32, 4).double()

    def squared(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Ground:
        loss = lambda batch: F.mse_loss(network(batch[0]), batch[1])  # noqa: E731
        return Ground(network, [(inputs, targets)], loss, torch.Generator().manual_seed(0))

    def published(self, network: nn.Sequential, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over rows of dL/dz h', z the outputs, h the inputs, by the loss's own derivative."""
        slope = 2 * (network(inputs) - targets).detach() / targets.numel()
        return slope.T @ inputs

    def test_derivative_is_the_published_matrix(self) -> None:
        network, inputs, targets = self.case()
        found = derivative(self.squared(network, inputs, targets), units(network, inputs)[0])
        assert torch.allclose(found, self.published(network, inputs, targets), rtol=1e-4, atol=1e-6)

    def test_takes_the_top_left_singular_vectors(self) -> None:
        network, inputs, targets = self.case()
        length = float(network[2].weight.detach().norm(dim=0).mean())
        left, values, _ = torch.linalg.svd(self.published(network, inputs, targets))
        grown, one = self.squared(network, inputs, targets), units(network, inputs)[0]
        gradmax(grown, one, 3)
        new = network[2].weight.detach()[:, 5:]
        assert torch.allclose(new.norm(dim=0), torch.full((3,), length).double(), rtol=1e-4)
        assert torch.allclose((left[:, :3].T @ new / length).abs(), torch.eye(3).double(), atol=1e-4)
        assert torch.equal(network[0].weight.detach()[5:], torch.zeros(3, 6).double())
        slopes = gradient(network, one, "out", [5, 6, 7], grown.loss, grown.batches)
        assert torch.allclose(slopes.norm(dim=1), length * values[:3], rtol=1e-3)

    def test_beyond_the_rank_vectors_turn_round(self) -> None:
        network, inputs, targets = self.case()
        gradmax(self.squared(network, inputs, targets), units(network, inputs)[0], 6)
        new = network[2].weight.detach()[:, 5:]
        assert torch.allclose(new[:, 4:], -new[:, :2])

    @pytest.mark.parametrize("name", ["mlp", "convnet", "convnet, no norm", "resnet", "vgg"])
    def test_no_other_directions_are_steeper(self, name: str) -> None:
        """At equal norm of the new weights, through norms, pooling and several readers."""
        network, inputs = build(name)
        grown, one = ground(network, inputs), units(network, inputs)[0]

        def steepness(method: Any) -> float:
            with trial(network, one):
                before = one.count
                method(grown, one, 2)
                fresh = range(before, one.count)
                norms = one.of("along")
                if not norms:
                    return float(gradient(network, one, "out", fresh, grown.loss, grown.batches).norm())
                scales = [network.get_submodule(axis.module).weight for axis in norms]
                found = torch.autograd.grad(grown.loss(grown.batches[0]), scales)
                sides = [part[axis.entries(fresh)] for part, axis in zip(found, norms, strict=True)]
                return float(torch.cat(sides).norm())

        best = steepness(gradmax)
        assert all(best > steepness(random) for _ in range(10))

    def test_the_norm_has_the_statistics_of_what_it_sees(self) -> None:
        network, inputs = build("convnet")
        grown, one = ground(network, inputs), units(network, inputs)[0]
        gradmax(grown, one, 2)
        convolution, norm = network.features[0], network.features[1]
        seen = convolution(inputs)[:, -2:].detach()
        assert torch.allclose(norm.running_mean[-2:], seen.mean((0, 2, 3)), atol=1e-5)
        assert torch.allclose(norm.running_var[-2:], seen.var((0, 2, 3)), rtol=1e-4)
        assert torch.equal(norm.weight.detach()[-2:], torch.zeros(2))
        assert torch.equal(norm.bias.detach()[-2:], torch.full((2,), TINY))

    @pytest.mark.parametrize("activation", ["sigmoid", "gaussian"])
    def test_refuses_activations_that_are_not_silent(self, activation: str) -> None:
        network, inputs = build("mlp", activation=activation)
        state = copy.deepcopy(network.state_dict())
        with pytest.raises(ValueError, match="cannot begin silent"):
            gradmax(ground(network, inputs, scale=5.0), units(network, inputs)[0], 8)
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())

    def test_refuses_activations_without_a_slope(self) -> None:
        network = nn.Sequential(nn.Linear(3, 4), nn.Hardtanh(0.5, 1.0), nn.Linear(4, 2))
        with pytest.raises(ValueError, match="have no gradient where they are 0"):
            gradmax(ground(network, torch.randn(8, 3)), units(network, torch.randn(8, 3))[0], 1)

    def test_refuses_units_without_bias_or_norm(self) -> None:
        network = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
        with pytest.raises(ValueError, match="neither a bias nor a norm"):
            gradmax(ground(network, torch.randn(8, 3)), units(network, torch.randn(8, 3))[0], 1)


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet", "transformer"])
def test_firefly_does_not_raise_the_loss(name: str) -> None:
    network, inputs = build(name)
    grown = ground(network, inputs)
    before = mean_loss(network, grown.loss, grown.batches)
    firefly(grown, units(network, inputs)[0], 3)
    assert mean_loss(network, grown.loss, grown.batches) < before


def test_firefly_keeps_the_steepest_candidates() -> None:
    """More candidates to choose from fall no slower, over several lots."""
    network, inputs = build("mlp")
    falls = []
    for pool in (1, 16):
        fall = 0.0
        for seed in range(5):
            grown = ground(network, inputs, scale=0.05)
            grown.generator.manual_seed(seed)
            one = units(network, inputs)[0]
            before = mean_loss(network, grown.loss, grown.batches)
            with trial(network, one):
                firefly(grown, one, 2, pool=pool, rounds=0)
                fall += before - mean_loss(network, grown.loss, grown.batches)
        falls.append(fall)
    assert falls[1] > 1.2 * falls[0] > 0


@pytest.mark.parametrize("method", INITS)
@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_optimiser_state_follows(method: str, optimiser: str) -> None:
    network, inputs = build("convnet")
    made = {
        "sgd": lambda: torch.optim.SGD(network.parameters(), 0.1, momentum=0.9),
        "adamw": lambda: torch.optim.AdamW(network.parameters(), 1e-2),
    }[optimiser]()
    step(network, made, inputs)
    key = {"sgd": "momentum_buffer", "adamw": "exp_avg"}[optimiser]
    before = made.state[network.features[0].weight][key].clone()
    INITS[method](ground(network, inputs, made), units(network, inputs)[0], 3)
    state = made.state[network.features[0].weight][key]
    assert torch.equal(state[:6], before)
    assert torch.equal(state[6:], torch.zeros(3, 1, 3, 3))
    held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in network.parameters()}
    step(network, made, inputs)


def test_matrices_have_a_row_a_unit() -> None:
    """A flattened image gives a unit as many columns as it has pixels."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 2))
    one = units(network, torch.randn(2, 1, 3, 3))[0]
    assert matrix(network, one, "out").shape == (4, 9)
    outgoing = matrix(network, one, "in")
    assert outgoing.shape == (4, 18)
    assert set(outgoing[1].tolist()) == set(network[3].weight[:, 9:18].flatten().tolist())


def test_refuses_numbers_out_of_range() -> None:
    network, inputs = build("mlp")
    with pytest.raises(ValueError, match="count must be at least 1"):
        net2wider(network, units(network, inputs)[0], 0)
    with pytest.raises(ValueError, match=r"noise must be at least 0"):
        net2wider(network, units(network, inputs)[0], 1, noise=-1)
