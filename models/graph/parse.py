"""Read ONNX models into the form in which they are rewritten."""

from typing import Any

import numpy

from kirigami.models.graph.model import Attribute, Form, Model, Node, Port, Tensor
from kirigami.models.graph.sources import of_array


def parse(proto: Any) -> tuple[Model, dict[str, int]]:
    """Return a model, and the numbers of its values by their names.

    Args:
        proto: an `onnx.ModelProto`.

    Raises:
        ValueError: where it has something that models of ours never have, such as branches.
    """
    reader = _Reader(proto)
    return reader.model, reader.numbers


class _Reader:
    def __init__(self, proto: Any) -> None:
        from onnx import numpy_helper

        self.helper = numpy_helper
        self.numbers = {"": 0}
        opset = next(item.version for item in proto.opset_import if item.domain in ("", "ai.onnx"))
        self.model = Model(opset, [], [], [], {}, {item.key: item.value for item in proto.metadata_props})
        self._read(proto.graph)

    def _read(self, graph: Any) -> None:
        self.model.inputs = [(self._number(item.name), _port(item)) for item in graph.input]
        self.model.constants = {self._number(item.name): self._tensor(item) for item in graph.initializer}
        for node in graph.node:
            self._node(node)
        self.model.outputs = [(self._number(item.name), _port(item)) for item in graph.output]

    def _number(self, name: str) -> int:
        return self.numbers.setdefault(name, len(self.numbers))

    def _tensor(self, proto: Any) -> Tensor:
        if proto.HasField("raw_data"):
            return Tensor(proto.data_type, tuple(proto.dims), proto.raw_data)
        return of_array(self.helper.to_array(proto))

    def _node(self, node: Any) -> None:
        if node.op_type == "Constant":
            self.model.constants[self._number(node.output[0])] = self._constant(node.attribute[0])
            return
        inputs = [self._number(name) for name in node.input]
        while inputs and not inputs[-1]:
            inputs.pop()
        outputs = [self._number(name) for name in node.output]
        named = sorted((attribute.name, self._attribute(node, attribute)) for attribute in node.attribute)
        self.model.nodes.append(
            Node(Form(node.op_type, node.domain, len(inputs), len(outputs), tuple(named)), inputs, outputs)
        )

    def _constant(self, attribute: Any) -> Tensor:
        if attribute.name == "value":
            return self._tensor(attribute.t)
        kind = numpy.float32 if "float" in attribute.name else numpy.int64
        return of_array(numpy.array(self._attribute(None, attribute), kind))

    def _attribute(self, node: Any, proto: Any) -> Attribute:
        match proto.type:
            case 1:
                return float(proto.f)
            case 2:
                return int(proto.i)
            case 3:
                return str(proto.s.decode())
            case 4:
                return self._tensor(proto.t)
            case 6:
                return tuple(map(float, proto.floats))
            case 7:
                return tuple(map(int, proto.ints))
            case 8:
                return tuple(text.decode() for text in proto.strings)
        raise ValueError(f"the network's graph has a {node.op_type} with an inner graph, which is not exported.")


def _port(proto: Any) -> Port:
    kind = proto.type.tensor_type
    return Port(kind.elem_type, tuple(side.dim_value for side in kind.shape.dim))
