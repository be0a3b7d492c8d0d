"""What an ONNX file holds of a network's weights: the smallest exact form, shared ones once."""

import math

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from kirigami.models.compact import encode, read
from kirigami.models.graph import cut, fill, to_onnx
from kirigami.models.sharing.bank import bank_of
from kirigami.models.structure import remove, units
from tests.models.graph_networks import Scaled, assert_same_outputs, exported_codes, folded, pixels, trained

pytestmark = pytest.mark.usefixtures("operators_once")

TYPES = onnx.TensorProto.DataType


def kernels(data: bytes) -> list[onnx.TensorProto]:
    """Return the constants with four dimensions."""
    return [one for one in onnx.load_from_string(data).graph.initializer if len(one.dims) == 4]


@pytest.mark.parametrize(
    ("bits", "kind", "each"), [(1, TYPES.INT2, 2), (3, TYPES.INT4, 4), (5, TYPES.INT8, 8), (8, TYPES.INT16, 16)]
)
def test_codes_are_stored_at_their_bits(bits: int, kind: int, each: int) -> None:
    _, data = exported_codes(bits)
    found = kernels(data)
    assert [one.data_type for one in found] == [kind] * 2
    assert [len(one.raw_data) for one in found] == [math.ceil(math.prod(one.dims) * each / 8) for one in found]
    nodes = onnx.load_from_string(data).graph.node
    assert [node.op_type for node in nodes].count("DequantizeLinear") == 2


def test_weights_are_the_networks_to_the_bit() -> None:
    network, data = exported_codes(5)
    proto = onnx.load_from_string(data)
    constants = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    made = [node for node in proto.graph.node if node.op_type == "DequantizeLinear"]
    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for node, layer in zip(made, layers, strict=True):
        codes, scale = (constants[name] for name in node.input)
        assert torch.equal(torch.from_numpy(codes.astype("float32") * scale), layer.weight)


def test_without_dequantise_weights_are_cast() -> None:
    network, _ = exported_codes(3)
    data = to_onnx(network, pixels(2), preprocessing=Scaled(), dequantise=False)
    kinds = [node.op_type for node in onnx.load_from_string(data).graph.node]
    assert "DequantizeLinear" not in kinds
    assert {one.data_type for one in kernels(data)} == {TYPES.INT4}
    assert_same_outputs(data, nn.Sequential(Scaled(), network), [pixels(3)])
    assert fill(cut(data, network), read(encode(network))) == data


class TestSharing:
    def test_folded_weights_are_stored_once(self) -> None:
        network = folded(True)
        layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
        data = to_onnx(network, pixels(2), preprocessing=Scaled())
        distinct = {bank_of(layer) if hasattr(layer, "parametrizations") else layer for layer in layers}
        assert len(kernels(data)) == len(distinct) < len(layers)
        assert len(data) < 0.6 * 4 * sum(layer.weight.numel() for layer in layers)
        assert_same_outputs(data, nn.Sequential(Scaled(), network), [pixels(3)])
        assert fill(cut(data, network), read(encode(network))) == data

    def test_tied_and_equal_weights_are_stored_once(self) -> None:
        torch.manual_seed(0)
        first, same, equal = (nn.Linear(8, 8, bias=False) for _ in range(3))
        same.weight = first.weight
        equal.weight.data.copy_(first.weight.data)
        data = to_onnx(nn.Sequential(first, same, equal), torch.randn(2, 8))
        stored = [one for one in onnx.load_from_string(data).graph.initializer if len(one.dims) == 2]
        assert len(stored) == 1
        assert 256 < len(data) < 512

    def test_one_table_serves_embedding_and_output(self) -> None:
        class Tied(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(7, 8)

            def forward(self, inputs: torch.Tensor) -> torch.Tensor:
                return self.embedding(inputs) @ self.embedding.weight.T

        network, batch = Tied().eval(), torch.randint(7, (3, 5))
        data = to_onnx(network, batch)
        assert [tuple(one.dims) for one in onnx.load_from_string(data).graph.initializer].count((7, 8)) == 1
        assert_same_outputs(data, network, [batch])


def test_float16_holds_what_was_rounded_to_it() -> None:
    network = trained({"name": "mlp", "width": 16})
    for parameter in network.parameters():
        parameter.data.copy_(parameter.data.half().float())
    data = to_onnx(network, pixels(2), preprocessing=Scaled())
    kinds = {one.data_type for one in onnx.load_from_string(data).graph.initializer if len(one.dims) == 2}
    assert kinds == {TYPES.FLOAT16}
    assert_same_outputs(data, nn.Sequential(Scaled(), network), [pixels(3)])


def test_removed_channels_are_not_in_the_file() -> None:
    network = trained({"name": "mlp", "width": 64, "depth": 1})
    wide = to_onnx(network, pixels(2), preprocessing=Scaled())
    (found,) = units(network, Scaled()(pixels(2)))
    remove(network, found, range(48))
    narrow = to_onnx(network, pixels(2), preprocessing=Scaled())
    assert len(narrow) < 0.3 * len(wide)
    assert_same_outputs(narrow, nn.Sequential(Scaled(), network), [pixels(3)])
