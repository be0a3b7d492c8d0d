"""Networks of sequences in ONNX: the built-in ones, and a foreign one of many kinds of layers."""

import onnx
import pytest
import torch
from torch import Tensor, nn

from tests.models.graph_networks import assert_goes_round, hardened
from tests.models.network_cases import batch, build

pytestmark = pytest.mark.usefixtures("operators_once")


class Foreign(nn.Module):
    """A residual, a depthwise convolution and torch's own recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inward = nn.Conv2d(1, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.norm = nn.BatchNorm2d(8)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.recurrent = nn.GRU(8, 6, batch_first=True)
        self.outward = nn.Linear(6, 10)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(self.inward(images))
        hidden = hidden + torch.relu(self.norm(self.pointwise(self.depthwise(hidden))))
        states, _ = self.recurrent(hidden.flatten(2).transpose(1, 2))
        return self.outward(states[:, -1])


def operators(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def test_transformer_with_masks_and_codes() -> None:
    data = assert_goes_round(hardened(build("transformer")), batch("transformer"))
    assert "DequantizeLinear" not in operators(data)  # ONNX Runtime would round what a MatMul multiplies with it


def test_recurrent_network_with_masks_and_codes() -> None:
    data = assert_goes_round(hardened(build("gru")), batch("gru"))
    assert operators(data).count("GRU") == 2


def test_foreign_network_with_masks_and_codes() -> None:
    torch.manual_seed(0)
    data = assert_goes_round(hardened(Foreign()), torch.randn(6, 1, 4, 4))
    assert operators(data).count("Conv") == 3
