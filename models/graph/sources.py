"""Sources of a model's numbers: the tensors of the network's state.

A source and the state give constants and the nodes that make a weight of them; nothing but numpy is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy

from kirigami.models.graph.grid import Array, Grid, nudged, pack
from kirigami.models.graph.model import FLOAT, FLOAT16, Form, Node, Tensor

State: TypeAlias = Mapping[str, Array]
Tree: TypeAlias = Tensor | tuple[Form, tuple["Tree", ...]]
"""A constant, or a node over trees."""

CAST = Form("Cast", "", 1, 1, (("to", FLOAT),))
DEQUANTIZE = Form("DequantizeLinear", "", 2, 1)
MULTIPLY = Form("Mul", "", 2, 1)

COUNTER = "num_batches_tracked"  # of batch norms: matters to training alone
RANGE, BITS_OF_RANGE = "range", "bits"  # of a quantiser of inputs
# Names in the order in which operators take them, so that a walk over a model meets a state in order.
RANKS = {"weight": 1, "bias": 2, "running_mean": 3, "running_var": 4}
DTYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13,
}  # fmt: skip


@dataclass(frozen=True)
class Whole:
    """A tensor of the state unchanged, or in float16, which holds it exactly."""

    name: str
    half: bool = False
    turned: bool = False  # a matrix, transposed

    def tree(self, state: State) -> Tree:
        """Return the tree that makes the tensor."""
        values = _turned(state[self.name], self.turned)
        if not self.half:
            return of_array(values)
        return CAST, (Tensor(FLOAT16, values.shape, values.astype("<f2").tobytes()),)


@dataclass(frozen=True)
class Codes:
    """A tensor that lies on a grid: integers and a scale, joined by DequantizeLinear, or by Cast and Mul."""

    name: str
    grid: Grid
    dtype: int
    turned: bool = False
    dequantise: bool = False

    def tree(self, state: State) -> Tree:
        """Return the tree that makes the tensor."""
        integers = _turned(self.grid.integers(state[self.name]), self.turned)
        codes = Tensor(self.dtype, integers.shape, pack(integers, self.dtype))
        scale = of_array(numpy.asarray(self.grid.scale(state[self.name])))
        return (DEQUANTIZE, (codes, scale)) if self.dequantise else (MULTIPLY, ((CAST, (codes,)), scale))


@dataclass(frozen=True)
class Multiple:
    """A tensor that is a number times another one; the number is found where the other is largest."""

    name: str
    base: str
    nudge: int
    turned: bool = False

    def tree(self, state: State) -> Tree:
        """Return the tree that makes the tensor."""
        base = state[self.base]
        scale = of_array(numpy.asarray(ratio(state[self.name], base, largest(base), self.nudge)))
        return MULTIPLY, (of_array(_turned(base, self.turned)), scale)


@dataclass(frozen=True)
class Ends:
    """A number that an input quantiser computes from its range: 0 its step, 1 its lowest, 2 its highest level."""

    name: str  # of the range; the bits stand beside it
    which: int

    def tree(self, state: State) -> Tree:
        """Return the constant, as `kirigami.models.bits.inputs` computes it."""
        low, high = state[self.name].astype(numpy.float32)
        top = numpy.float32(2 ** int(state[bits_of(self.name)]) - 1)
        step = max(numpy.float32((high - low) / top), numpy.finfo(numpy.float32).tiny)
        zero = min(max(numpy.rint(numpy.float32(-low / step)), numpy.float32(0)), top)
        return of_array(numpy.asarray((step, -zero, top - zero)[self.which], numpy.float32))


Source: TypeAlias = Whole | Codes | Multiple | Ends


class Builder:
    """Puts trees into a model: equal constants once, and equal nodes, each before the first node that needs it."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.nodes: list[Node] = []
        self.constants: dict[int, Tensor] = {}
        self.seen: dict[object, int] = {}

    def new(self) -> int:
        """Return the number of a new value."""
        self.free += 1
        return self.free - 1

    def place(self, tree: Tree) -> int:
        """Return the value of a tree."""
        if isinstance(tree, Tensor):
            if tree not in self.seen:
                self.seen[tree] = self.new()
                self.constants[self.seen[tree]] = tree
            return self.seen[tree]
        form, parts = tree
        inputs = [self.place(part) for part in parts]
        key = (form, *inputs)
        if key not in self.seen:
            self.seen[key] = self.new()
            self.nodes.append(Node(form, inputs, [self.seen[key]]))
        return self.seen[key]


def largest(values: Array) -> int:
    """Return the place of the largest magnitude, in the order of memory."""
    return int(numpy.abs(values).argmax())


def ratio(values: Array, base: Array, place: int, nudge: int) -> numpy.float32:
    """Return how many times the base some numbers are at a place, moved by units in the last place."""
    return nudged(numpy.float32(values.reshape(-1)[place] / base.reshape(-1)[place]), nudge)


def stored(tree: Tree) -> Tensor:
    """Return the first constant of a tree, which is the one with the many numbers."""
    while not isinstance(tree, Tensor):
        tree = tree[1][0]
    return tree


def of_array(values: Array) -> Tensor:
    """Return an array as a constant.

    Raises:
        ValueError: where ONNX has no such type.
    """
    if values.dtype.name not in DTYPES:
        raise ValueError(f"a tensor must be of one of the types ({', '.join(DTYPES)}), but is {values.dtype.name}.")
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    return Tensor(DTYPES[values.dtype.name], values.shape, data)


def bits_of(name: str) -> str:
    """Return the name of the bits that belong to a range."""
    return name.removesuffix(RANGE) + BITS_OF_RANGE


def arrays(state: Mapping[str, Any]) -> dict[str, Array]:
    """Return a state of torch's tensors, or arrays, as arrays, in the order that skeletons count in.

    What a mask leaves of negative numbers is -0 in the network and 0 in a compact file; here it is 0 in both.
    """
    names = (name for name in state if name.rpartition(".")[2] != COUNTER)
    return {name: _array(name, state[name]) for name in sorted(names, key=_order)}


def _array(name: str, value: Any) -> Array:
    if str(value.dtype) == "torch.bfloat16":
        raise ValueError(f"{name} is bfloat16, which is not exported. Convert the network to float32 first.")
    array: Array = value.detach().cpu().numpy() if hasattr(value, "detach") else numpy.asarray(value)
    return array + array.dtype.type(0) if array.dtype.kind == "f" else array


def _order(name: str) -> list[tuple[int, int, str]]:
    """Return a key that puts layer 2 before layer 10, and a layer's parts in the order of `RANKS`."""
    parts = name.split(".")
    return [(0, int(part), "") if part.isdigit() else (RANKS.get(part, 0), -1, part) for part in parts]


def _turned(values: Array, turned: bool) -> Array:
    return numpy.ascontiguousarray(values.T) if turned else values
