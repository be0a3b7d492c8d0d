"""Hardened networks of every form that an ONNX file has to hold, and what their files must answer."""

import functools
from typing import Any

import numpy
import onnxruntime
import torch
from torch import Tensor, nn

from kirigami.models import build_network
from kirigami.models.bits import SMOL, Quantisation, Uniform
from kirigami.models.compact import encode, read
from kirigami.models.graph import cut, fill, to_onnx
from kirigami.models.sharing import SoftSharing, fold
from kirigami.models.sharing.bank import bank_of, banks, row_of
from kirigami.models.sparsity import RandomPruning
from kirigami.models.technique import Technique

IMAGES = {"in_shape": (1, 8, 8), "out_features": 10}


LEVELS = onnxruntime.GraphOptimizationLevel


class Scaled(nn.Module):
    """Pixels of 0 to 16 to [0, 1], moved by a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("moved", torch.tensor([0.1]), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.float() / 16 - self.moved


def pixels(rows: int) -> Tensor:
    return torch.randint(17, (rows, 1, 8, 8), generator=torch.Generator().manual_seed(rows), dtype=torch.uint8)


def trained(config: dict[str, Any], *techniques: Technique) -> nn.Module:
    """Return a network whose norms, and quantisers of inputs, have seen data, its techniques hard."""
    torch.manual_seed(0)
    network = build_network(config, **IMAGES)
    for technique in techniques:
        technique.attach(network)
    for technique in techniques:
        if isinstance(technique, Quantisation):
            technique.inputs.advance(0.0)
    for rows in (16, 17):
        network(Scaled()(pixels(rows)))
    for technique in techniques:
        if isinstance(technique, SMOL):
            for link in technique.links.values():
                link.s.data.add_(torch.linspace(0, 12, link.s.numel()).view_as(link.s))
        technique.harden()
    return network.eval()


def folded(one: bool) -> nn.Module:
    """Return a network with layers that hold one weight, times a number each; the first number is 1 where asked."""
    network = trained({"name": "convnet", "width": 16, "depth": 4, "multiplier": 1}, SoftSharing(templates=2))
    assert fold(network, tau=1e-6).clusters
    with torch.no_grad():
        for layers in banks(network).values():
            bank, rows = bank_of(next(iter(layers.values()))), [row_of(layer) for layer in layers.values()]
            if one and len(bank.templates) == 1:
                first = rows[0].clone()
                bank.templates.mul_(first)
                for row in rows:
                    row.div_(first)
    return network


def coded(bits: int) -> nn.Module:
    config = {"name": "convnet", "width": 8, "depth": 2}
    return trained(config, RandomPruning(density=0.3), Uniform(bits=bits))


def rounded_inputs() -> nn.Module:
    config = {"name": "convnet", "width": 8, "depth": 2}
    return trained(config, RandomPruning(density=0.3), Uniform(bits=3, activation_bits=4))


def all_of_them() -> nn.Module:
    techniques = (SoftSharing(templates=2), RandomPruning(density=0.5), SMOL(bits=3, initial_bits=5))
    return trained({"name": "convnet", "width": 8, "depth": 4, "multiplier": 1}, *techniques)


MAKERS = {
    "coded": lambda: coded(3),
    "rounded-inputs": rounded_inputs,
    "all": all_of_them,
    "folded": lambda: folded(False),
}


def session(data: bytes, level: Any = LEVELS.ORT_ENABLE_ALL) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def assert_same_outputs(data: bytes, wanted: nn.Module, batches: list[Tensor]) -> None:
    for level in (LEVELS.ORT_DISABLE_ALL, LEVELS.ORT_ENABLE_ALL):
        running = session(data, level)
        for batch in batches:
            with torch.no_grad():
                expected = wanted(batch).numpy()
            found = running.run(None, {"input": batch.numpy()})[0]
            assert found.shape == expected.shape
            assert numpy.abs(found - expected).max() < 2e-6 * max(1, numpy.abs(expected).max())
            assert (found.argmax(-1) == expected.argmax(-1)).all()


def hardened(network: nn.Module) -> nn.Module:
    for technique in (RandomPruning(density=0.4), Uniform(bits=3)):
        technique.attach(network)
        technique.harden()
    return network.eval()


def assert_goes_round(network: nn.Module, inputs: Tensor) -> bytes:
    data = to_onnx(network, inputs)
    assert_same_outputs(data, network, [inputs[:1], inputs[:3], torch.cat([inputs] * 3)[:17]])
    assert fill(cut(data, network), read(encode(network))) == data
    return data


@functools.cache
def exported_codes(bits: int) -> tuple[nn.Module, bytes]:
    """Return a network of weights of so many bits, and its ONNX file; each is exported once."""
    network = coded(bits)
    return network, to_onnx(network, pixels(2), preprocessing=Scaled())
