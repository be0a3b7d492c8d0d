"""Batch-norm statistics measured again."""

import pytest
import torch
from torch import nn

from kirigami.models.norms import reestimate


def build() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))


BATCHES = [(torch.randn(16, 3, generator=torch.Generator().manual_seed(i)) + i, torch.zeros(16)) for i in range(5)]


def test_statistics_are_plain_averages_over_batches() -> None:
    network = build()
    network(BATCHES[0][0])  # an old estimate that must go
    assert reestimate(network, BATCHES) == 1
    hidden = torch.stack([network[0](inputs).detach() for inputs, _ in BATCHES])
    torch.testing.assert_close(network[2].running_mean, hidden.mean((0, 1)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network[2].running_var, hidden.var(1).mean(0), atol=1e-5, rtol=1e-5)


def test_nothing_else_changes() -> None:
    network = build()
    network[4].eval()
    parameters = [parameter.clone() for parameter in network.parameters()]
    reestimate(network, (inputs for inputs, _ in BATCHES))
    assert [module.training for module in network] == [True, True, True, True, False]
    assert network.training
    assert network[2].momentum == 0.1
    assert all(torch.equal(old, new) for old, new in zip(parameters, network.parameters(), strict=True))


def test_without_norms_or_batches() -> None:
    assert reestimate(nn.Linear(3, 2), []) == 0
    network = build()
    network(BATCHES[0][0])
    mean = network[2].running_mean.clone()
    with pytest.raises(ValueError, match="a batch at least"):
        reestimate(network, [])
    assert torch.equal(network[2].running_mean, mean)
    assert network[2].momentum == 0.1
