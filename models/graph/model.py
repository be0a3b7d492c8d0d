"""An ONNX model in memory, and its bytes: the protobuf wire format written directly, the same anywhere.

Only what our models need is written: no documentation, no names of nodes, no types of inner values. The bytes are those
that the `onnx` package writes for the same message.
"""

import json
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

NAME = "kirigami"  # of the graph: the format asks for one
INPUTS = "inputs"  # in the metadata of a model of several inputs: a JSON list of their names
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Data types of ONNX by number, and their bits an entry.
FLOAT, INT8, INT16, INT64, FLOAT16, INT4, INT2 = 1, 3, 5, 7, 10, 22, 26
BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 22: 4, 26: 2}


@dataclass(frozen=True)
class Tensor:
    """Numbers in a model.

    Attributes:
        dtype: of ONNX, by number.
        data: little-endian; entries of less than a byte are packed, the first one lowest.
    """

    dtype: int
    dims: tuple[int, ...]
    data: bytes


Plain: TypeAlias = int | float | str | Tensor
Attribute: TypeAlias = Plain | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True)
class Form:
    """The form that nodes may share: the operator, the numbers of inputs and outputs, and attributes sorted by name."""

    op: str
    domain: str
    inputs: int
    outputs: int
    attributes: tuple[tuple[str, Attribute], ...] = ()


@dataclass(frozen=True)
class Port:
    """An input or output of the model; 0 among the dimensions is the batch, free at run time."""

    dtype: int
    dims: tuple[int, ...]


@dataclass
class Node:
    """An operator in a model; values go by number, from 1, and 0 is an optional input left out."""

    form: Form
    inputs: list[int]
    outputs: list[int]


@dataclass
class Model:
    """A whole model: inputs, nodes in an order in which they can run, constants by the number of their value."""

    opset: int
    inputs: list[tuple[int, Port]]
    outputs: list[tuple[int, Port]]
    nodes: list[Node]
    constants: dict[int, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the model as a file of ONNX; values are named by letters, in the order of the nodes."""
        names = self._names()
        graph = b"".join(_message(1, _node(node, names)) for node in self.nodes)
        graph += _text(2, NAME)
        order = sorted(self.constants, key=lambda value: _place(names[value]))
        graph += b"".join(_message(5, _tensor(self.constants[value], names[value])) for value in order)
        graph += b"".join(_message(11, _port(names[value], port)) for value, port in self.inputs)
        graph += b"".join(_message(12, _port(names[value], port)) for value, port in self.outputs)
        domains = {"": self.opset} | {node.form.domain: 1 for node in self.nodes if node.form.domain}
        out = _number(1, ir_version(self.opset)) + _message(7, graph)
        for domain, version in sorted(domains.items()):
            out += _message(8, (_text(1, domain) if domain else b"") + _number(2, version))
        for key, text in self.metadata.items():
            out += _message(14, _text(1, key) + _text(2, text))
        return out

    def _names(self) -> dict[int, str]:
        names = {0: ""}
        for kind, ports in (("input", self.inputs), ("output", self.outputs)):
            for index, (value, _) in enumerate(ports):
                names[value] = kind if len(ports) == 1 else f"{kind}_{index}"
        if INPUTS in self.metadata:
            names |= zip((value for value, _ in self.inputs), _listed(self.metadata[INPUTS]), strict=True)
        taken = set(names.values())
        used = (value for node in self.nodes for value in (*node.inputs, *node.outputs))
        free = 0
        for value in used:
            if value not in names:
                while letters(free) in taken:
                    free += 1
                names[value] = letters(free)
                free += 1
        return names


def _listed(text: str) -> list[str]:
    """Return the names of inputs in a model's metadata.

    Raises:
        ValueError: where it is no list of names.
    """
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("the graph has inputs without names.")
    return names


def ir_version(opset: int) -> int:
    """Return the version of the format that introduced an opset's types: INT2 came with 13, INT4 with 10."""
    return 13 if opset >= 25 else 10


def letters(number: int) -> str:
    """Return the name of a number: a, …, Z, aa, …"""
    name = ""
    while number >= 0:
        number, digit = divmod(number, len(LETTERS))
        name = LETTERS[digit] + name
        number -= 1
    return name


def _place(name: str) -> tuple[int, str]:
    return len(name), name


def _node(node: Node, names: dict[int, str]) -> bytes:
    out = b"".join(_text(1, names[value]) for value in node.inputs)
    out += b"".join(_text(2, names[value]) for value in node.outputs)
    out += _text(4, node.form.op)
    out += b"".join(_message(5, _attribute(name, value)) for name, value in node.form.attributes)
    return out + (_text(7, node.form.domain) if node.form.domain else b"")


def _attribute(name: str, value: Attribute) -> bytes:
    """Write the field of the value, and the type, which is in field 20."""
    match value:
        case float():
            body, kind = _float(2, value), 1
        case int():
            body, kind = _number(3, value), 2
        case str():
            body, kind = _text(4, value), 3
        case Tensor():
            body, kind = _message(5, _tensor(value, "")), 4
        case (float(), *_):
            body, kind = b"".join(_float(7, item) for item in _each(value)), 6
        case (str(), *_):
            body, kind = b"".join(_text(9, str(item)) for item in value), 8
        case _:
            body, kind = b"".join(_number(8, int(item)) for item in _each(value)), 7
    return _text(1, name) + body + _number(20, kind)


def _each(values: Sequence[object]) -> Iterable[float]:
    return (item for item in values if isinstance(item, int | float))


def _tensor(tensor: Tensor, name: str) -> bytes:
    head = b"".join(_number(1, size) for size in tensor.dims) + _number(2, tensor.dtype)
    return head + (_text(8, name) if name else b"") + _message(9, tensor.data)


def _port(name: str, port: Port) -> bytes:
    dims = b"".join(_message(1, _number(1, size) if size else _text(2, "batch")) for size in port.dims)
    return _text(1, name) + _message(2, _message(1, _number(1, port.dtype) + _message(2, dims)))


# The wire format: a key of field number and kind, then a varint, four bytes, or a length and so many bytes.


def varint(number: int) -> bytes:
    """Return a whole number from 0, seven bits a byte, lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _number(key: int, value: int) -> bytes:
    return varint(key << 3) + varint(value & (1 << 64) - 1)


def _float(key: int, value: float) -> bytes:
    return varint(key << 3 | 5) + struct.pack("<f", value)


def _message(key: int, data: bytes) -> bytes:
    return varint(key << 3 | 2) + varint(len(data)) + data


def _text(key: int, text: str) -> bytes:
    return _message(key, text.encode())
