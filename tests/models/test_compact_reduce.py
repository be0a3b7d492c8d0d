"""A finished network says the same with fewer numbers, and nearly the same with coarser ones."""

import copy

import pytest
import torch
from torch import nn

from kirigami.models import build_network
from kirigami.models.compact import change, decode, encode, encoded_bytes, plain, read, reduce, rounded
from tests.models.compact_networks import IMAGES, chained, encoded, forms, trained

NETWORKS = {
    "convnet": {"name": "convnet", "width": 8},
    "resnet": {"name": "resnet", "depth": 8, "width": 8},
    "wrn": {"name": "wrn", "depth": 10, "widen": 1},
}


def seasoned(name: str) -> nn.Module:
    """Return a network whose norms have seen shifted data, and whose vectors are nothing special."""
    torch.manual_seed(0)
    network = build_network(NETWORKS[name], **IMAGES)
    for _ in range(20):
        network(3 * torch.randn(16, 1, 8, 8) + 1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return network.eval()


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


class TestReduce:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_keeps_the_function_and_saves_bytes(self, name: str) -> None:
        network, inputs = seasoned(name), torch.randn(20, 1, 8, 8)
        untouched = copy.deepcopy(network)
        small = reduce(network)
        with torch.no_grad():
            wanted = network(inputs)
            assert (small(inputs) - wanted).abs().max() < 1e-5 * max(1.0, float(wanted.abs().max()))
        assert norms(small)
        for norm in norms(small):
            neutral = torch.sqrt(norm.running_var + norm.eps)
            assert torch.equal(neutral, torch.ones_like(neutral))
            assert not norm.running_mean.any()
        vectors = sum(norm.running_mean.numel() for norm in norms(small))
        assert encoded_bytes(small) < encoded_bytes(network) - 2 * 2.9 * vectors
        assert all(torch.equal(value, untouched.state_dict()[key]) for key, value in network.state_dict().items())

    def test_links_stay(self) -> None:
        network, inputs = chained("mask, bits by weight"), torch.randn(20, 1, 8, 8)
        small = reduce(network)
        assert forms(encode(small))["stages.0.0.conv1.weight"] == "levels"
        with torch.no_grad():
            assert (small(inputs) - network(inputs)).abs().max() < 1e-4
        assert torch.equal(decode(encode(small), plain(network))(inputs), small(inputs))

    @pytest.mark.parametrize("arguments", [{"affine": False}, {"track_running_stats": False}])
    def test_norms_that_cannot_be_reduced_stay(self, arguments: dict[str, bool]) -> None:
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, **arguments))
        network(torch.randn(9, 3))
        inputs = torch.randn(5, 3)
        assert torch.equal(reduce(network.eval())(inputs), network(inputs))

    def test_networks_without_norms_stay(self) -> None:
        network = nn.Linear(3, 4)
        assert encode(reduce(network)) == encode(network)


class TestRounded:
    def test_few_bits_are_few_bytes(self) -> None:
        network, inputs = reduce(chained("mask, bits", depth=8, width=8)), torch.randn(40, 1, 8, 8)
        sizes = [encoded_bytes(rounded(network, bits)) for bits in (4, 6, 8)]
        assert sizes == sorted(sizes)
        assert sizes[-1] < 0.85 * encoded_bytes(network)
        with torch.no_grad():
            errors = [float((rounded(network, bits)(inputs) - network(inputs)).abs().mean()) for bits in (4, 6, 8)]
        assert errors[0] > 2 * errors[1] > 4 * errors[2] > 0

    def test_is_stored_to_the_bit(self) -> None:
        network, inputs = rounded(chained("mask, bits"), 6), torch.randn(20, 1, 8, 8)
        assert change(network, encode(network), inputs) == 0

    def test_head_becomes_codes_and_links_stay(self) -> None:
        network = chained("mask, bits")
        parts = read(encode(rounded(network, 5))).parts
        before = read(encoded("mask, bits")).parts
        head = parts["head.linear.weight"]
        assert head.form == "levels"
        assert int(head.bits) == 5
        assert (head.levels % 2 == 1).all()
        for name, part in before.items():
            if part.form == "levels":
                assert (parts[name].levels == part.levels).all()

    def test_vectors_have_so_many_significant_bits(self) -> None:
        before, after = trained(), rounded(trained(), 5)
        for norm, coarse in zip(norms(before), norms(after), strict=True):
            mantissa, _ = torch.frexp(coarse.weight)
            assert torch.equal(mantissa * 32, (mantissa * 32).round())
            assert ((coarse.weight - norm.weight).abs() <= norm.weight.abs() / 32).all()

    def test_constants_stay(self) -> None:
        norm = nn.BatchNorm1d(3)
        nn.init.constant_(norm.running_var, 0.3)
        assert torch.equal(rounded(norm, 2).running_var, norm.running_var)

    def test_bits_out_of_range_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"bits must be at least 2 and below 9, but got 9"):
            rounded(nn.Linear(2, 2), 9)
