"""A model without the numbers of a network's state: the rest of its graph, in about a hundred bytes.

A model is written as a walk over its nodes, in the numbers that `models.graph.restore` describes: blocks that repeat
are bytes that repeat. Nodes that only make a weight of its constants are part of the weight.
"""

import json
import struct
from collections.abc import Mapping

from kirigami.models.graph import restore
from kirigami.models.graph.model import INT64, Attribute, Form, Model, Node, Port, Tensor, varint
from kirigami.models.graph.parse import parse
from kirigami.models.graph.restore import (
    CODES,
    CODES_AT,
    ENDS,
    FAR,
    HALF,
    KNOWN,
    LITERAL,
    MULTIPLE,
    NEXT,
    SAME,
    TYPES,
    USUAL,
    WHOLE,
)
from kirigami.models.graph.sources import Codes, Ends, Multiple, Source, State, Tree, Whole
from kirigami.models.graph.weights import OPSET_INT2, trees
from kirigami.models.graph.words import ATTRIBUTES, CONSTANTS, FORMS, OPERATORS


def cut(onnx: bytes, state: State) -> bytes:
    """Return the skeleton of an ONNX file, from which `fill` makes its very bytes.

    Args:
        onnx: the file's bytes, as `to_onnx` wrote them.
        state: the network's tensors by name.

    Raises:
        ValueError: where the file would not come back to the byte.
    """
    import onnx as package

    model, _ = parse(package.load_from_string(onnx))
    skeleton = _Writer(model, trees(state, model.opset >= OPSET_INT2), list(state)).write()
    if restore.fill(skeleton, state) != onnx:
        raise ValueError("the ONNX file must be one that kirigami.models.graph.to_onnx wrote, of this network.")
    return skeleton


class _Writer:
    """Writes a walk over a model."""

    def __init__(self, model: Model, sources: Mapping[Tree, list[Source]], names: list[str]) -> None:
        self.model, self.sources = model, sources
        self.index = {name: place for place, name in enumerate(names)}
        self.text = bytearray()
        self.tail = bytearray()  # floats stand apart: they have nothing in common with the rest
        self.last = -1
        self.values: dict[int, int] = {}
        self.forms: dict[Form, int] = {}
        self.trees: dict[int, Tree] = dict(model.constants)
        self.weights = self._weights()

    def _weights(self) -> set[int]:
        """Find the values that are weights, and return those that nodes make."""
        for node in self.model.nodes:
            if node.inputs and len(node.outputs) == 1 and all(value in self.trees for value in node.inputs):
                self.trees[node.outputs[0]] = node.form, tuple(self.trees[value] for value in node.inputs)
        weights = {value for value, tree in self.trees.items() if tree in self.sources}
        for node in reversed(self.model.nodes):
            if node.outputs[0] in weights:
                weights |= set(node.inputs)
        return weights - self.model.constants.keys()

    def write(self) -> bytes:
        """Return the bytes."""
        self._put(restore.VERSION, self.model.opset, len(self.model.inputs))
        for value, port in self.model.inputs:
            self._value(value)
            self._port(port)
        for node in self.model.nodes:
            if node.outputs[0] not in self.weights:
                self._node(node)
        self._put(0, len(self.model.outputs))
        for value, port in self.model.outputs:
            self._input(value)
            self._port(port)
        self._metadata(self.model.metadata)
        return varint(len(self.text)) + bytes(self.text) + bytes(self.tail)

    def _put(self, *numbers: int) -> None:
        for number in numbers:
            self.text += varint(number)

    def _signed(self, number: int) -> None:
        self._put(2 * number if number >= 0 else -2 * number - 1)

    def _string(self, text: str) -> None:
        data = text.encode()
        self._put(len(data))
        self.text += data

    def _value(self, value: int) -> None:
        self.values[value] = len(self.values)

    def _port(self, port: Port) -> None:
        self._put(port.dtype, len(port.dims), *port.dims)

    def _node(self, node: Node) -> None:
        if node.form in FORMS:
            self._put(2 * FORMS.index(node.form) + 2)
        elif node.form in self.forms:
            self._put(2 * self.forms[node.form] + 3)
        else:
            self._put(1)
            self._form(node.form)
            self.forms[node.form] = len(self.forms)
        for value in node.inputs:
            self._input(value)
        for value in node.outputs:
            self._value(value)

    def _form(self, form: Form) -> None:
        is_operator = not form.domain and form.op in OPERATORS
        self._put(OPERATORS.index(form.op) + 1 if is_operator else 0)
        if not is_operator:
            self._string(form.op)
            self._string(form.domain)
        self._put(form.inputs, form.outputs, len(form.attributes))
        for name, value in form.attributes:
            self._put(ATTRIBUTES.index(name) + 1 if name in ATTRIBUTES else 0)
            if name not in ATTRIBUTES:
                self._string(name)
            self._attribute(value)

    def _attribute(self, value: Attribute) -> None:
        match value:
            case int():
                self._put(0)
                self._signed(value)
            case float():
                self._put(1)
                self.tail += struct.pack("<f", value)
            case str():
                self._put(2)
                self._string(value)
            case Tensor():
                self._put(3)
                self._literal(value)
            case _:
                self._put(4, len(value))
                for item in value:
                    self._attribute(item)

    def _input(self, value: int) -> None:
        if not value:
            self._put(0)
        elif value in self.values:
            self._put(2 * (len(self.values) - self.values[value]))
        else:
            self._tree(self.trees[value])

    def _tree(self, tree: Tree) -> None:
        """Write a constant or a weight; of several equal tensors, refer to the nearest one in order."""
        sources = self.sources.get(tree, [])
        if sources:
            self._source(min(sources, key=lambda source: abs(self.index[source.name] - self.last - 1)))
            return
        assert isinstance(tree, Tensor)
        if tree in CONSTANTS:
            self._put(2 * (3 * LITERAL + KNOWN) + 1, CONSTANTS.index(tree))
        else:
            self._put(2 * 3 * LITERAL + 1)
            self._literal(tree)

    def _source(self, source: Source) -> None:
        ahead = self.index[source.name] - self.last
        where = {1: NEXT, 0: SAME}.get(ahead, FAR)
        self._put(2 * (3 * _kind(source) + where) + 1)
        if where == FAR:
            self._signed(ahead)
        self.last += ahead
        if isinstance(source, Multiple):
            self._signed(self.index[source.base] - self.last)
            self.last = self.index[source.base]
            self._put(source.nudge)
        elif isinstance(source, Codes) and source.grid != USUAL:
            self._put(2 * source.grid.smallest + source.grid.negative, source.grid.nudge)

    def _literal(self, tensor: Tensor) -> None:
        self._put(tensor.dtype, len(tensor.dims), *tensor.dims)
        if tensor.dtype == INT64:
            for (number,) in struct.iter_unpack("<q", tensor.data):
                self._signed(number)
        else:
            self.tail += tensor.data

    def _metadata(self, metadata: Mapping[str, str]) -> None:
        classes = json.loads(metadata[restore.CLASSES]) if restore.CLASSES in metadata else []
        counted = classes == [str(number) for number in range(len(classes))]
        self._put(2 * len(classes) + counted if classes else 0)
        for name in [] if counted else classes:
            self._string(name)
        others = {key: text for key, text in metadata.items() if key != restore.CLASSES}
        self._put(len(others))
        for key, text in others.items():
            self._string(key)
            self._string(text)


def _kind(source: Source) -> int:
    """Return the number of a source's kind."""
    match source:
        case Whole():
            return (HALF if source.half else WHOLE) + source.turned
        case Ends():
            return ENDS + source.which
        case Multiple():
            return MULTIPLE + source.turned
        case Codes():
            place = 4 * TYPES.index(source.dtype) + 2 * source.turned + source.dequantise
            return (CODES if source.grid == USUAL else CODES_AT) + place
