"""What follows a tensor whose units change: optimisers' state by index, groups, gradients, links; and new values."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adafactor, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR

from kirigami.models import bits, sharing, sparsity
from kirigami.models.structure import Units, remove, resize, shapes, units, widen


def make(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 4, 8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )


INPUTS = torch.randn(5, 1, 4, 4, generator=torch.Generator().manual_seed(1))
OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda parameters: SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01),
    "adamw": lambda parameters: AdamW(parameters, lr=0.01, amsgrad=True),
    "rmsprop": lambda parameters: RMSprop(parameters, lr=0.001, momentum=0.5, centered=True),
    "adafactor": lambda parameters: Adafactor(parameters, lr=0.01),
}


def grouped(network: nn.Module, name: str) -> Optimizer:
    parameters = list(network.parameters())
    several = [parameter for parameter in parameters if parameter.dim() > 1]
    single = [parameter for parameter in parameters if parameter.dim() == 1]
    return OPTIMIZERS[name]([{"params": several}, {"params": single, "weight_decay": 0.0}])


def step(network: nn.Module, optimizer: Optimizer, inputs: Tensor) -> None:
    optimizer.zero_grad()
    network(inputs).square().mean().backward()
    optimizer.step()


def ready(name: str = "sgd") -> tuple[nn.Sequential, Optimizer, dict[str, Units]]:
    network = make()
    optimizer = grouped(network, name)
    for _ in range(2):
        step(network, optimizer, INPUTS)
    return network, optimizer, {one.name: one for one in units(network, INPUTS)}


@pytest.mark.parametrize("name", OPTIMIZERS)
class TestOptimizer:
    def test_state_follows_by_index(self, name: str) -> None:
        network, optimizer, found = ready(name)
        conv, linear = network[3], network[6]
        before = {key: value.clone() for key, value in optimizer.state[conv.weight].items()}
        flat = {key: value.clone() for key, value in optimizer.state[linear.weight].items()}
        remove(network, found["3"], [1], optimizer)
        kept, columns = [0, 2, 3], [*range(4), *range(8, 16)]
        assert optimizer.state[conv.weight]
        for key, value in optimizer.state[conv.weight].items():
            old = before[key]
            assert torch.equal(value, old if old.dim() == 0 or old.shape[0] == 1 else old[kept]), key
        for key, value in optimizer.state[linear.weight].items():
            old = flat[key]
            assert torch.equal(value, old if old.dim() < 2 or old.shape[1] == 1 else old[:, columns]), key

    def test_groups_and_schedules_hold_the_new_parameters(self, name: str) -> None:
        network, optimizer, found = ready(name)
        schedule = LambdaLR(optimizer, lambda epoch: 0.5**epoch)
        sizes = [len(group["params"]) for group in optimizer.param_groups]
        decays = [group["weight_decay"] for group in optimizer.param_groups]
        remove(network, found["0"], [0, 4], optimizer)
        widen(network, found["6"], [1, 1], optimizer=optimizer)
        assert [len(group["params"]) for group in optimizer.param_groups] == sizes
        assert [group["weight_decay"] for group in optimizer.param_groups] == decays
        held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
        assert sorted(held) == sorted(id(parameter) for parameter in network.parameters())
        assert set(map(id, optimizer.state)) <= set(held)
        for parameter in network.parameters():
            for key, value in optimizer.state[parameter].items():
                assert value.numel() == 1 or value.dim() == parameter.dim(), key
        before = copy.deepcopy(network.state_dict())
        step(network, optimizer, INPUTS)
        schedule.step()
        assert not torch.equal(network[6].weight, before["6.weight"])

    def test_a_unit_that_reads_and_is_read_as_zero_changes_no_step(self, name: str) -> None:
        """Training goes on as if the removed units had never been: they and their gradients were 0."""
        if name == "adafactor":
            pytest.skip("its steps depend on means over whole tensors")
        small, wide = make(), make()
        found = {one.name: one for one in units(wide, INPUTS)}
        widen(wide, found["6"], 2)
        one, other = grouped(small, name), grouped(wide, name)
        for _ in range(2):
            step(small, one, INPUTS)
            step(wide, other, INPUTS)
        remove(wide, found["6"], [8, 9], other)
        for _ in range(3):
            step(small, one, INPUTS)
            step(wide, other, INPUTS)
        for mine, theirs in zip(wide.parameters(), small.parameters(), strict=True):
            torch.testing.assert_close(mine, theirs)


def test_new_entries_have_no_state() -> None:
    network, optimizer, found = ready("adamw")
    before = optimizer.state[network[0].weight]["exp_avg"].clone()
    widen(network, found["0"], [2], optimizer=optimizer)
    state = optimizer.state[network[0].weight]
    assert torch.equal(state["exp_avg"][:6], before)
    assert not state["exp_avg"][6:].any()
    assert not optimizer.state[network[3].weight]["exp_avg_sq"][:, 6:].any()
    assert float(state["step"]) == 2


def test_an_optimiser_whose_state_cannot_follow_is_refused() -> None:
    network = make()
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=2)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = network(INPUTS).square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    (found, *_) = units(network, INPUTS)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=r"the state '\w+' of LBFGS for 0.weight cannot follow a change of shape"):
        remove(network, found, [0], optimizer)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_gradients_follow() -> None:
    network, _, found = ready()
    network(INPUTS).sum().backward()
    gradient = network[3].weight.grad.clone()
    remove(network, found["3"], [0])
    assert torch.equal(network[3].weight.grad, gradient[1:])


def test_buffers_attributes_and_frozen_parameters_follow() -> None:
    network, _, found = ready()
    network[0].weight.requires_grad_(False)
    mean = network[1].running_mean.clone()
    remove(network, found["0"], torch.tensor([5, 0]))
    assert torch.equal(network[1].running_mean, mean[1:5])
    assert (network[0].out_channels, network[1].num_features, network[3].in_channels) == (4, 4, 4)
    assert not network[0].weight.requires_grad
    assert network[1].weight.requires_grad


class TestWiden:
    def test_given_values_are_where_they_belong(self) -> None:
        network, _, found = ready()
        rows, columns = torch.randn(2, 6, 3, 3), torch.randn(8, 2 * 4)
        before = network[6].weight.detach().clone()
        widen(
            network,
            found["3"],
            2,
            incoming={"3.weight": rows, "3.bias": torch.ones(2)},
            outgoing={"6.weight": columns},
        )
        assert torch.equal(network[3].weight[4:], rows)
        assert network[3].bias[4:].tolist() == [1, 1]
        assert torch.equal(network[6].weight, torch.cat([before, columns], 1))

    def test_a_number_alone_adds_neutral_units(self) -> None:
        network, _, found = ready()
        network.eval()
        with torch.no_grad():
            before = network(INPUTS)
            widen(network, found["0"], 3)
            torch.testing.assert_close(network(INPUTS), before)
        assert network[1].weight[6:].tolist() == network[1].running_var[6:].tolist() == [1, 1, 1]
        assert not network[0].weight[6:].any()
        assert not network[3].weight[:, 6:].any()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"sources": [9]}, r"sources must be from 0 to 3 for 3, but got \[9\]"),
            ({"sources": 1, "incoming": {"6.weight": torch.ones(1)}}, "incoming must name one of"),
            ({"sources": 1, "outgoing": {"6.weight": torch.ones(8, 3)}}, r"must have shape \(8, 4\), but got \(8, 3\)"),
        ],
    )
    def test_refuses(self, arguments: dict[str, Any], message: str) -> None:
        network, _, found = ready()
        with pytest.raises(ValueError, match=message):
            widen(network, found["3"], **arguments)


@pytest.mark.parametrize(
    ("indices", "message"), [([4], r"must be from 0 to 3 for 3, but got \[4\]"), ([0, 1, 2, 3], "one must remain")]
)
def test_removal_refuses(indices: list[int], message: str) -> None:
    network, _, found = ready()
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match=message):
        remove(network, found["3"], indices)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


LINKS: dict[str, Any] = {
    "magnitude": lambda: sparsity.MagnitudePruning(density=0.4),
    "continuous": lambda: sparsity.ContinuousSparsification(density=0.4),
    "uniform": lambda: bits.Uniform(bits=4),
}


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("name", LINKS)
class TestLinks:
    def test_are_cut_with_their_weights(self, name: str, hard: bool) -> None:
        network, technique = make().eval(), LINKS[name]()
        technique.attach(network)
        technique.advance(0.5)
        if hard:
            technique.harden()
        found = {one.name: one for one in units(network, INPUTS)}
        weight = network[6].weight.detach().clone()
        remove(network, found["3"], [1])
        remove(network, found["6"], [0, 7])
        columns = [*range(4), *range(8, 16)]
        assert torch.equal(network[6].weight, weight[1:7][:, columns])
        widen(network, found["3"], [0])
        network(INPUTS).sum().backward()
        assert network[6].weight.shape == (6, 16)

    def test_a_fresh_network_with_links_takes_the_weights(self, name: str, hard: bool) -> None:
        network, technique = make().eval(), LINKS[name]()
        technique.attach(network)
        for one in units(network, INPUTS):
            remove(network, one, [0])
        if hard:
            technique.harden()
        plain_first, links_first = make(1).eval(), make(1).eval()
        resize(plain_first, shapes(network))
        LINKS[name]().attach(plain_first)
        LINKS[name]().attach(links_first)
        resize(links_first, {key: value.shape for key, value in network.state_dict().items()})
        for fresh in (plain_first, links_first):
            fresh.load_state_dict(network.state_dict())
            assert torch.equal(fresh(INPUTS), network(INPUTS))


def test_layers_that_share_are_refused() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    found = units(network, torch.randn(2, 4))
    sharing.SoftSharing(templates=2).attach(network)
    message = "layer '0' shares its weight: structured removal changes shapes; layers that share must keep theirs"
    with pytest.raises(ValueError, match=message):
        units(network, torch.randn(2, 4))
    with pytest.raises(ValueError, match=message):
        remove(network, found[0], [0])


def test_learnt_bits_are_refused_while_they_learn() -> None:
    network, technique = make(), bits.SMOL()
    technique.attach(network)
    with pytest.raises(ValueError, match="layer '0' still learns its bits"):
        units(network, INPUTS)
    technique.harden()
    (found, *_) = units(network, INPUTS)
    remove(network, found, [0])
    assert network(INPUTS).shape == (5, 3)
