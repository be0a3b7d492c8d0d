"""Grids of numbers, the wire format, and skeletons that are damaged."""

import numpy
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from torch import nn

from kirigami.models.graph import cut, fill, to_onnx
from kirigami.models.graph.grid import find, pack
from kirigami.models.graph.model import BITS, INT2, INT4, INT8, INT16, Form, Model, Node, Port, Tensor, letters

pytestmark = pytest.mark.usefixtures("operators_once")

TYPES = onnx.TensorProto.DataType


class TestGrid:
    @pytest.mark.parametrize(
        ("levels", "kind"),
        [
            ([-1, 0, 1], INT2),
            ([-3, -1, 1, 3], INT4),
            ([3, 5, 7], INT4),
            ([-15, 0, 15, 7], INT8),
            ([127, 126, 41], INT8),
            ([255, -253, 11], INT16),
        ],
    )
    def test_whole_numbers_are_found(self, levels: list[int], kind: int) -> None:
        for scale in numpy.random.default_rng(0).uniform(1e-3, 1e3, 50).astype(numpy.float32):
            values = numpy.array(levels, numpy.float32) * scale
            found = find(values)
            assert found is not None
            grid, dtype = found
            assert (grid.integers(values).astype(numpy.float32) * grid.scale(values) == values).all()
            assert BITS[dtype] <= BITS[kind]

    @pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")], [1.0, numpy.pi, 100.1]])
    def test_others_are_not(self, values: list[float]) -> None:
        assert find(numpy.array(values, numpy.float32)) is None

    def test_random_numbers_are_not(self) -> None:
        assert find(numpy.random.default_rng(0).normal(size=100).astype(numpy.float32)) is None

    @pytest.mark.parametrize("dtype", [INT2, INT4, INT8, INT16])
    def test_packing_is_that_of_onnx(self, dtype: int) -> None:
        top = 1 << BITS[dtype] - 1
        integers = numpy.random.default_rng(dtype).integers(-top, top, 13)
        proto = onnx.TensorProto(data_type=dtype, dims=[13], raw_data=pack(integers, dtype))
        assert (numpy_helper.to_array(proto).astype(numpy.int64) == integers).all()


def test_letters_never_repeat() -> None:
    names = [letters(number) for number in range(4000)]
    assert names[:2] == ["a", "b"]
    assert len(set(names)) == 4000
    assert len(names[-1]) == 3


def test_every_kind_of_attribute_is_written_as_onnx_writes_it() -> None:
    attributes = (
        ("f", 0.5),
        ("fs", (1.0, -2.0)),
        ("i", -3),
        ("is", (1, -1)),
        ("s", "text"),
        ("ss", ("a", "b")),
        ("t", Tensor(1, (), b"\0\0\0\0")),
    )
    node = Node(Form("Odd", "far.away", 3, 1, attributes), [1, 0, 2], [3])
    model = Model(21, [(1, Port(1, (0, 3)))], [(3, Port(1, (0,)))], [node], {2: Tensor(7, (1,), bytes(8))}, {"k": "ü"})
    proto = onnx.load_from_string(model.to_bytes())
    assert proto.SerializeToString() == model.to_bytes()
    found = {one.name: onnx.helper.get_attribute_value(one) for one in proto.graph.node[0].attribute}
    assert (found["f"], found["i"], found["s"], found["fs"], found["is"]) == (0.5, -3, b"text", [1.0, -2.0], [1, -1])
    state: dict[str, numpy.ndarray] = {}
    assert fill(cut(model.to_bytes(), state), state) == model.to_bytes()


class TestDamage:
    @pytest.fixture(scope="class")
    def whole(self) -> tuple[bytes, bytes, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
        data = to_onnx(network, torch.randn(2, 4), classes=["ä", "b", "c"], metadata={"kind": "classes"})
        return cut(data, network), data, network.state_dict()

    def test_file_of_tensors_will_do(self, whole: tuple[bytes, bytes, dict[str, torch.Tensor]]) -> None:
        skeleton, data, state = whole
        assert fill(skeleton, state) == data

    def test_metadata_come_back(self, whole: tuple[bytes, bytes, dict[str, torch.Tensor]]) -> None:
        props = {one.key: one.value for one in onnx.load_from_string(whole[1]).metadata_props}
        assert props == {"classes": '["ä","b","c"]', "kind": "classes"}

    @settings(max_examples=10 * settings.default.max_examples)
    @given(drawn=st.data())
    def test_anything_else_is_refused_or_read(
        self, whole: tuple[bytes, bytes, dict[str, torch.Tensor]], drawn: st.DataObject
    ) -> None:
        skeleton, _, state = whole
        places = st.tuples(st.integers(0, len(skeleton) - 1), st.integers(0, 255))
        damaged = bytearray(skeleton)
        for place, byte in drawn.draw(st.lists(places, min_size=1, max_size=3)):
            damaged[place] = byte
        end = drawn.draw(st.integers(1, len(skeleton)))
        try:
            fill(bytes(damaged[:end]), state)
        except ValueError:
            return
        assert end == len(skeleton)  # nothing that is cut short is read

    def test_another_version_is_refused(self, whole: tuple[bytes, bytes, dict[str, torch.Tensor]]) -> None:
        skeleton, _, state = whole
        with pytest.raises(ValueError, match="has version 9, and this program reads 1"):
            fill(skeleton[:1] + b"\x09" + skeleton[2:], state)

    def test_file_of_somebody_else_is_not_cut(self) -> None:
        node = onnx.helper.make_node("Relu", ["x"], ["y"], name="named")
        ports = [onnx.helper.make_tensor_value_info(name, TYPES.FLOAT, ["n", 2]) for name in ("x", "y")]
        proto = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ports[:1], ports[1:]))
        with pytest.raises(ValueError, match=r"that kirigami\.models\.graph\.to_onnx wrote"):
            cut(proto.SerializeToString(), {})
