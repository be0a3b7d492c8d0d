"""A hardened network runs in ONNX Runtime with its own outputs, and a compact file gives the ONNX file's very bytes."""

import json
from collections import Counter
from typing import Any

import numpy
import onnx
import onnxruntime
import pytest
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
CLASSES = [str(digit) for digit in range(10)]
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


class Made:
    """A network and its files."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.onnx = to_onnx(network, pixels(2), preprocessing=Scaled(), classes=CLASSES)
        self.skeleton = cut(self.onnx, network)
        self.proto = onnx.load_from_string(self.onnx)


@pytest.fixture(scope="module", params=MAKERS)
def made(request: pytest.FixtureRequest) -> Made:
    return Made(MAKERS[request.param]())


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


class TestEveryForm:
    def test_outputs_are_those_of_the_network(self, made: Made) -> None:
        assert_same_outputs(made.onnx, nn.Sequential(Scaled(), made.network), [pixels(rows) for rows in (1, 3, 17)])

    def test_compact_file_gives_the_same_bytes(self, made: Made) -> None:
        file = read(encode(made.network, extra={"graph": made.skeleton}))
        assert fill(file.extra["graph"], file) == made.onnx

    def test_skeleton_is_small(self, made: Made) -> None:
        assert len(made.skeleton) < 130

    def test_file_is_sound_and_stripped(self, made: Made) -> None:
        onnx.checker.check_model(made.proto, full_check=True)
        assert made.proto.SerializeToString() == made.onnx
        assert (made.proto.producer_name, made.proto.doc_string, len(made.proto.graph.value_info)) == ("", "", 0)
        assert not any(node.name or node.doc_string or node.metadata_props for node in made.proto.graph.node)
        assert {one.domain for one in made.proto.opset_import} == {""}

    def test_classes_are_in_the_metadata(self, made: Made) -> None:
        assert json.loads(session(made.onnx).get_modelmeta().custom_metadata_map["classes"]) == CLASSES

    def test_norms_stay_operators(self, made: Made) -> None:
        norms = sum(isinstance(module, nn.BatchNorm2d) for module in made.network.modules())
        assert Counter(node.op_type for node in made.proto.graph.node)["BatchNormalization"] == norms > 0


def test_equal_networks_give_equal_bytes() -> None:
    first, second = (
        to_onnx(trained({"name": "mlp", "width": 8}, Uniform(bits=3)), pixels(rows), preprocessing=Scaled())
        for rows in (1, 5)
    )
    assert first == second
