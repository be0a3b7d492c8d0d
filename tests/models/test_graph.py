"""A hardened network runs in ONNX Runtime with its own outputs, and a compact file gives the ONNX file's very bytes."""

import json
from collections import Counter

import onnx
import pytest
from torch import nn

from kirigami.models.bits import Uniform
from kirigami.models.compact import encode, read
from kirigami.models.graph import cut, fill, to_onnx
from tests.models.graph_networks import MAKERS, Scaled, assert_same_outputs, pixels, session, trained

pytestmark = pytest.mark.usefixtures("operators_once")

CLASSES = [str(digit) for digit in range(10)]


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
