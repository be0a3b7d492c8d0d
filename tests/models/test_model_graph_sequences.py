"""Networks of sequences in ONNX: the built-in ones, and a foreign one of many kinds of layers."""

import onnx
import torch
from test_model_graph_networks import check, hardened
from test_model_networks import batch, build
from torch import Tensor, nn


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
    data = check(hardened(build("transformer")), batch("transformer"))
    assert "DequantizeLinear" not in operators(data)  # ONNX Runtime would round what a MatMul multiplies with it


def test_recurrent_network_with_masks_and_codes() -> None:
    data = check(hardened(build("gru")), batch("gru"))
    assert operators(data).count("GRU") == 2


def test_foreign_network_with_masks_and_codes() -> None:
    torch.manual_seed(0)
    data = check(hardened(Foreign()), torch.randn(6, 1, 4, 4))
    assert operators(data).count("Conv") == 3
