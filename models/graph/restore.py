"""Make an ONNX file of its skeleton and a network's tensors; numpy is all that it takes.

A skeleton is a row of whole numbers, and after it the bytes of floats. Version, opset, ports and nodes come first. A
node is the number of its form, 1 where a new form follows, 0 after the last node; then its inputs. An even input says
how many values ago it came up, 0 that it is left out; an odd one is a constant or a weight, by the kind of its source
and by how far behind the last one its tensor stands.
"""

import json
import math
import struct
from collections.abc import Mapping
from typing import Any

from kirigami.models.compact.file import File
from kirigami.models.graph.grid import Grid
from kirigami.models.graph.model import BITS, INT2, INT4, INT8, INT16, INT64, Attribute, Form, Model, Port, Tensor
from kirigami.models.graph.model import Node as ModelNode
from kirigami.models.graph.sources import Builder, Codes, Ends, Multiple, Source, State, Whole, arrays
from kirigami.models.graph.words import ATTRIBUTES, CONSTANTS, FORMS, OPERATORS

VERSION = 1
CLASSES = "classes"  # in a model's metadata: a JSON list of names
# Kinds of odd inputs. Codes take 16 kinds: a type, then whether turned, then whether dequantised.
LITERAL, WHOLE, CODES, ENDS, HALF, MULTIPLE, CODES_AT = 0, 1, 3, 19, 22, 24, 26
TYPES = (INT2, INT4, INT8, INT16)
USUAL = Grid(1, 0)
NEXT, SAME, FAR = 0, 1, 2  # where a source's tensor stands: one behind the last one, there, or so far behind
KNOWN = 1  # instead, of a literal: one of the usual constants
# Bounds against damaged skeletons; a whole model is far below.
MOST_OUTPUTS, MOST_CLASSES, MOST_NUDGE = 256, 1 << 20, 64
WRONG = (IndexError, KeyError, TypeError, OverflowError, RecursionError, UnicodeError, struct.error)


def fill(skeleton: bytes, file: File | Mapping[str, Any]) -> bytes:
    """Return the ONNX file of a skeleton.

    Args:
        skeleton: made by `kirigami.models.graph.cut`.
        file: the compact file that holds the network's tensors, or those tensors by name.

    Raises:
        ValueError: where the skeleton is damaged, or of another network.
    """
    state = arrays(file.arrays() if isinstance(file, File) else file)
    try:
        return _Reader(skeleton, state).read().to_bytes()
    except WRONG as error:
        raise ValueError(f"the graph cannot be read: {type(error).__name__}: {error}") from error


def listed(names: list[str]) -> str:
    """Return names as they stand in a model's metadata."""
    return json.dumps(names, ensure_ascii=False, separators=(",", ":"))


class _Reader:
    """Reads a skeleton that `kirigami.models.graph.skeleton` wrote."""

    def __init__(self, data: bytes, state: State) -> None:
        self.data, self.state, self.names = data, state, list(state)
        self.at = 0
        length = self._number()
        self.end = self.tail = self.at + length
        if self.end > len(data):
            raise ValueError(f"the graph is cut short: {len(data)} bytes, where {self.end} are needed.")
        self.last = -1
        self.forms: list[Form] = []
        self.values: list[int] = []
        self.builder = Builder(1)

    def read(self) -> Model:
        """Return the model."""
        version = self._number()
        if version != VERSION:
            raise ValueError(f"the graph has version {version}, and this program reads {VERSION}.")
        opset = self._number()
        inputs = [(self._value(), self._port()) for _ in range(self._number())]
        while self._node():
            pass
        outputs = [(self._input(), self._port()) for _ in range(self._number())]
        metadata = self._metadata()
        if (self.at, self.tail) != (self.end, len(self.data)):
            raise ValueError("the graph has bytes left over.")
        return Model(opset, inputs, outputs, self.builder.nodes, self.builder.constants, metadata)

    def _number(self) -> int:
        found, shift = 0, 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            found |= (byte & 127) << shift
            if byte < 128:
                return found
            shift += 7

    def _signed(self) -> int:
        number = self._number()
        return number // 2 if number % 2 == 0 else -(number + 1) // 2

    def _string(self) -> str:
        size = self._number()
        if size > self.end - self.at:
            raise ValueError("the graph is cut short.")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def _floats(self, size: int) -> bytes:
        if size > len(self.data) - self.tail:
            raise ValueError("the graph is cut short.")
        self.tail += size
        return self.data[self.tail - size : self.tail]

    def _value(self) -> int:
        self.values.append(self.builder.new())
        return self.values[-1]

    def _port(self) -> Port:
        return Port(self._number(), self._dims())

    def _dims(self) -> tuple[int, ...]:
        return tuple(self._number() for _ in range(self._number()))

    def _node(self) -> bool:
        number = self._number()
        if not number:
            return False
        form = self._known_form(number) if number > 1 else self._form()
        inputs = [self._input() for _ in range(form.inputs)]
        self.builder.nodes.append(ModelNode(form, inputs, [self._value() for _ in range(form.outputs)]))
        return True

    def _known_form(self, number: int) -> Form:
        place, met = divmod(number - 2, 2)
        return self.forms[place] if met else FORMS[place]

    def _form(self) -> Form:
        number = self._number()
        op, domain = (OPERATORS[number - 1], "") if number else (self._string(), self._string())
        inputs, outputs, count = self._number(), self._number(), self._number()
        if outputs > MOST_OUTPUTS:
            raise ValueError(f"a node must have at most {MOST_OUTPUTS} outputs, but has {outputs}.")
        self.forms.append(Form(op, domain, inputs, outputs, tuple(self._named() for _ in range(count))))
        return self.forms[-1]

    def _named(self) -> tuple[str, Attribute]:
        number = self._number()
        return ATTRIBUTES[number - 1] if number else self._string(), self._attribute()

    def _attribute(self) -> Attribute:
        match self._number():
            case 0:
                return self._signed()
            case 1:
                return float(struct.unpack("<f", self._floats(4))[0])
            case 2:
                return self._string()
            case 3:
                return self._literal()
            case 4:
                return tuple(self._attribute() for _ in range(self._number()))  # type: ignore[return-value]
        raise ValueError("the graph has an attribute of an unknown kind.")

    def _input(self) -> int:
        back, odd = divmod(self._number(), 2)
        if not odd:
            if back > len(self.values):
                raise ValueError("the graph refers to a value that is not there.")
            return self.values[-back] if back else 0
        kind, where = divmod(back, 3)
        if kind:
            return self.builder.place(self._source(kind, where).tree(self.state))
        return self.builder.place(CONSTANTS[self._number()] if where == KNOWN else self._literal())

    def _source(self, kind: int, where: int) -> Source:
        name = self._name(where)
        if kind < CODES or HALF <= kind < MULTIPLE:
            return Whole(name, half=kind >= HALF, turned=kind in (WHOLE + 1, HALF + 1))
        if kind < ENDS:
            return self._codes(kind - CODES, name, USUAL)
        if kind < HALF:
            return Ends(name, kind - ENDS)
        if kind < CODES_AT:
            return Multiple(name, self._name(FAR), self._nudge(), turned=kind == MULTIPLE + 1)
        smallest, negative = divmod(self._number(), 2)
        if not smallest:
            raise ValueError("the integer behind a smallest number must be 1 or more.")
        return self._codes(kind - CODES_AT, name, Grid(smallest, self._nudge(), bool(negative)))

    def _codes(self, kind: int, name: str, grid: Grid) -> Codes:
        place, dequantise = divmod(kind, 2)
        place, turned = divmod(place, 2)
        return Codes(name, grid, TYPES[place], bool(turned), bool(dequantise))

    def _nudge(self) -> int:
        nudge = self._number()
        if nudge > MOST_NUDGE:
            raise ValueError(f"a scale must be moved by at most {MOST_NUDGE}, but is by {nudge}.")
        return nudge

    def _name(self, where: int) -> str:
        self.last += {NEXT: 1, SAME: 0}[where] if where != FAR else self._signed()
        if not 0 <= self.last < len(self.names):
            raise ValueError("the graph is of another network: it needs a tensor that is not there.")
        return self.names[self.last]

    def _literal(self) -> Tensor:
        dtype, dims = self._number(), self._dims()
        count = math.prod(dims)
        if dtype == INT64:
            if count > self.end - self.at:
                raise ValueError("the graph is cut short.")
            return Tensor(dtype, dims, struct.pack(f"<{count}q", *(self._signed() for _ in range(count))))
        return Tensor(dtype, dims, self._floats((count * BITS[dtype] + 7) // 8))

    def _metadata(self) -> dict[str, str]:
        metadata = {}
        size = self._number()
        if size:
            count, counted = divmod(size, 2)
            if count > MOST_CLASSES:
                raise ValueError(f"a model must have at most {MOST_CLASSES} classes, but has {count}.")
            metadata[CLASSES] = listed([str(number) if counted else self._string() for number in range(count)])
        return metadata | {self._string(): self._string() for _ in range(self._number())}
