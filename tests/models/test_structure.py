"""Units of our own networks: what is found, and that removing and adding units does to the outputs what it should."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kirigami.models.cost import macs, parameters
from kirigami.models.networks import build_network
from kirigami.models.structure import Units, remove, units, widen
from kirigami.models.structure.price import price

IMAGE = (1, 8, 8)
CASES: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"name": "mlp", "width": 12}, (6,)),
    "mlp-batch": ({"name": "mlp", "width": 12, "norm": "batch"}, (6,)),
    "mlp-group": ({"name": "mlp", "width": 16, "norm": "group"}, (6,)),
    "convnet": ({"name": "convnet", "width": 4}, IMAGE),
    "convnet-group": ({"name": "convnet", "width": 8, "norm": "group"}, IMAGE),
    "convnet-dense": ({"name": "convnet", "width": 4, "dense": True}, IMAGE),
    "resnet": ({"name": "resnet", "depth": 14, "width": 4}, IMAGE),
    "resnet-group": ({"name": "resnet", "depth": 8, "width": 8, "norm": "group"}, IMAGE),
    "resnet-preactivation": ({"name": "resnet", "depth": 8, "width": 4, "preactivation": True}, IMAGE),
    "wrn": ({"name": "wrn", "depth": 10, "widen": 1}, IMAGE),
    "vgg": ({"name": "vgg", "width": 4}, IMAGE),
    "transformer": ({"name": "transformer", "width": 8, "heads": 2, "depth": 1}, (5,)),
}


def make(case: str) -> tuple[nn.Module, Tensor]:
    """Build a network with settled norms, and inputs for it."""
    config, shape = CASES[case]
    torch.manual_seed(0)
    text = config["name"] == "transformer"
    dense = config.get("dense", False)
    config = {key: value for key, value in config.items() if key != "dense"}
    vocabulary = 7 if text else None
    network = build_network(config, in_shape=shape, out_features=3, vocabulary=vocabulary, dense=dense)
    inputs = torch.randint(0, 7, (6, *shape)) if text else torch.randn(6, *shape)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        network(inputs)
    return network.eval(), inputs


def zero(network: nn.Module, one: Units, gone: Tensor) -> None:
    """Zero what reads some units."""
    for axis in one.of("in"):
        weight = network.get_submodule(axis.module).weight
        weight.data.index_fill_(axis.tensors["weight"], axis.entries(gone), 0)


def half(one: Units) -> Tensor:
    return torch.randperm(one.count, generator=torch.Generator().manual_seed(one.count))[: one.count // 2]


@pytest.mark.parametrize("case", CASES)
class TestNetwork:
    def test_removed_equals_zeroed(self, case: str) -> None:
        network, inputs = make(case)
        zeroed, found = copy.deepcopy(network), units(network, inputs)
        before = parameters(network)
        with torch.no_grad():
            dense = network(inputs)
        for one in found:
            gone = half(one)
            zero(zeroed, one, gone)
            remove(network, one, gone)
        with torch.no_grad():
            small, wanted = network(inputs), zeroed(inputs)
        torch.testing.assert_close(small, wanted, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(small, dense, atol=1e-3)
        assert parameters(network) < (0.9 if case == "transformer" else 0.6) * before

    def test_widening_by_copies_changes_nothing(self, case: str) -> None:
        network, inputs = make(case)
        with torch.no_grad():
            before, size = network(inputs), parameters(network)
            for one in units(network, inputs):
                widen(network, one, [0, 1, 1])
            after = network(inputs)
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-4)
        assert parameters(network) > size

    def test_trains_on_and_can_be_found_again(self, case: str) -> None:
        network, inputs = make(case)
        found = units(network, inputs)
        for one in found:
            remove(network, one, half(one))
        again = units(network, inputs)
        assert [(one.name, one.count) for one in again] == [(one.name, one.count) for one in found]
        for one, other in zip(found, again, strict=True):
            for axis, same in zip(one.axes, other.axes, strict=True):
                assert axis.module == same.module
                assert torch.equal(axis.index, same.index)
                assert torch.equal(axis.unit, same.unit)
        network.train()(inputs).square().mean().backward()
        assert all(parameter.grad is not None for parameter in network.parameters())

    def test_price_is_that_of_the_network_built(self, case: str) -> None:
        network, inputs = make(case)
        found = units(network, inputs)
        kept = [torch.ones(one.count, dtype=torch.bool) for one in found]
        assert price(network, found, inputs, "params").total(kept) == parameters(network)
        assert price(network, found, inputs, "macs").total(kept) == macs(network, inputs)
        for one, mask in zip(found, kept, strict=True):
            mask[half(one)] = False
        prices = {of: price(network, found, inputs, of).total(kept) for of in ("units", "params", "macs")}
        for one, mask in zip(found, kept, strict=True):
            remove(network, one, torch.nonzero(~mask).flatten())
        assert prices["units"] == sum(one.count for one in found)
        assert prices["params"] == parameters(network)
        assert prices["macs"] == macs(network, inputs)


def test_inputs_and_outputs_are_never_touched() -> None:
    network, inputs = make("resnet")
    for one in units(network, inputs):
        assert "head.linear" not in [axis.module for axis in one.of("out")]
        assert "stem.0" not in [axis.module for axis in one.of("in")]


def test_a_residual_stream_is_one_set_of_units() -> None:
    network, inputs = make("resnet")
    stream = next(one for one in units(network, inputs) if one.name == "stem.0")
    makers = {axis.module for axis in stream.of("out")}
    assert makers == {"stem.0", "stages.0.0.conv2", "stages.0.1.conv2"}
    assert {axis.module for axis in stream.of("along")} == {"stem.1", "stages.0.0.norm2", "stages.0.1.norm2"}


def test_units_of_a_group_norm_are_its_groups() -> None:
    network, inputs = make("convnet-group")
    found = units(network, inputs)
    norms = [network.get_submodule(one.of("along")[0].module) for one in found]
    assert [one.count for one in found] == [norm.num_groups for norm in norms]
    remove(network, found[1], [0, 5])
    assert (norms[1].num_groups, norms[1].num_channels, norms[1].weight.numel()) == (6, 12, 12)


def test_a_recurrent_network_has_none() -> None:
    network = build_network({"name": "gru", "width": 6}, in_shape=(5,), out_features=3, vocabulary=7)
    assert units(network, torch.randint(0, 7, (2, 5))) == []
