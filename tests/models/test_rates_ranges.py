"""The range test finds where training stops to pay, and leaves no trace."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kirigami.models import Learner
from kirigami.models.schedules import range_test


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1))


def batches() -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 16, 6, generator=draw)
    return [(part, part.sum(1, keepdim=True)) for part in inputs]


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean()


def learner() -> Learner:
    return Learner(network(), squared, lambda outputs, targets: {}, {"name": "sgd", "lr": 0.3}, {"name": "constant"})


def test_rates_rise_by_equal_factors() -> None:
    found = range_test(learner(), batches(), 1e-5, 1e-2, 4)
    assert found.rates == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2])
    assert len(found.losses) == len(found.smoothed) == 4


def test_suggests_a_rate_that_learns_and_ends_at_one_that_does_not() -> None:
    """On a quadratic the largest stable rate is known: 2 / curvature."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, 1.0)
    ones = [(torch.ones(4, 1), torch.zeros(4, 1))]
    found = range_test(layer, ones, 1e-4, 1e3, 141, loss=squared, optimizer=torch.optim.SGD(layer.parameters(), lr=1.0))
    stable = 1.0  # the loss w^2 has curvature 2
    assert found.suggestion is not None
    assert found.highest == pytest.approx(10 * found.suggestion)
    assert stable / 10 < found.highest < stable * 3
    assert stable < found.rates[-1] < 1e3


def test_is_about_what_a_network_can_bear() -> None:
    found = range_test(learner(), batches(), 1e-5, 100.0, 100)
    assert found.suggestion is not None
    assert found.highest is not None
    assert 1e-3 < found.suggestion < found.highest < 10


def test_suggests_nothing_where_nothing_falls() -> None:
    found = range_test(learner(), batches(), 1e3, 1e4, 10)
    assert found.suggestion is None
    assert found.highest is None


def test_leaves_no_trace() -> None:
    module = learner()
    module.network[1].eval()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.3)
    squared(module(batches()[0][0]), batches()[0][1]).backward()
    optimizer.step()
    before, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())
    grads = [parameter.grad.clone() for parameter in module.parameters() if parameter.grad is not None]
    random = torch.get_rng_state()

    range_test(module, batches(), optimizer=optimizer)

    assert all(torch.equal(value, module.state_dict()[key]) for key, value in before.items())
    torch.testing.assert_close(optimizer.state_dict(), state, rtol=0, atol=0)
    assert all(
        torch.equal(one, p.grad) for one, p in zip(grads, module.parameters(), strict=True) if p.grad is not None
    )
    assert torch.equal(random, torch.get_rng_state())
    assert module.training
    assert not module.network[1].training


def test_restores_when_it_is_interrupted() -> None:
    module = learner()
    before = copy.deepcopy(module.state_dict())

    def broken() -> list[tuple[Tensor, Tensor]]:
        return [*batches()[:3], (torch.ones(2, 5), torch.ones(2, 1))]

    with pytest.raises(RuntimeError):
        range_test(module, broken())
    assert all(torch.equal(value, module.state_dict()[key]) for key, value in before.items())


def test_groups_keep_their_proportions() -> None:
    first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    seen: list[list[float]] = []

    class Seen(torch.optim.SGD):
        def step(self, closure: object = None) -> None:
            seen.append([group["lr"] for group in self.param_groups])

    groups = [{"params": first.parameters(), "lr": 0.1}, {"params": second.parameters(), "lr": 0.2}]
    loss = (torch.ones(1, 1), torch.zeros(1, 1))
    range_test(nn.Sequential(first, second), [loss], 1e-3, 1e-1, 3, loss=squared, optimizer=Seen(groups))
    assert [one for pair in seen for one in pair] == pytest.approx([5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"low": 1.0, "high": 0.1}, "low and high must be rates with 0 < low < high, but got 1.0 and 0.1"),
        ({"steps": 1}, "steps must be at least 2, but got 1"),
    ],
)
def test_names_the_fault(settings: dict, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        range_test(learner(), batches(), **settings)


def test_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match="batches is empty"):
        range_test(learner(), iter(batches()))
    with pytest.raises(ValueError, match="optimizer is required, since Sequential"):
        range_test(network(), batches(), loss=squared)
    with pytest.raises(ValueError, match="loss is required, since Sequential has no training_step"):
        range_test(network(), batches(), optimizer=torch.optim.SGD(network().parameters(), lr=0.1))
