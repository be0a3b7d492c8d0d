"""Whole numbers behind floats: a tensor that is integers times one scale, exactly, is stored as those integers.

The integers and the scale are computed from the numbers themselves, so that they follow from the tensor; what is
stored to find them again is the integer behind the smallest number and a correction of the scale in units in its last
place. The product of an integer and the scale is rounded once, as DequantizeLinear does it.
"""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from kirigami.models.graph.model import BITS, INT2, INT4, INT8, INT16

Array = NDArray[Any]

TYPES = (INT2, INT4, INT8, INT16)
LARGEST = 255  # integer tried behind the smallest number
MOST = 1024  # different magnitudes, above which numbers are not looked at
NUDGES = (0, 1, 2, 3, 4)  # corrections tried: 0, +1, -1, +2, -2 units in the last place


@dataclass(frozen=True)
class Grid:
    """How a tensor's integers and scale are found: the integer behind its smallest number, and a correction.

    With `negative`, the scale is below 0, so that the integers are those of a tensor that points the other way.
    """

    smallest: int
    nudge: int
    negative: bool = False

    def scale(self, values: Array) -> numpy.float32:
        """Return the scale of float32 numbers."""
        sizes = numpy.abs(values[values != 0])
        scale = nudged(numpy.float32(sizes.min() / numpy.float32(self.smallest)), self.nudge)
        return -scale if self.negative else scale

    def integers(self, values: Array) -> NDArray[numpy.int64]:
        """Return the integers behind float32 numbers, of the same shape."""
        return numpy.rint(values.astype(numpy.float64) / numpy.float64(self.scale(values))).astype(numpy.int64)


def nudged(scale: numpy.float32, nudge: int) -> numpy.float32:
    """Return a number moved by units in its last place: 0, +1, -1, +2, -2, … by the number of the correction."""
    steps = (nudge + 1) // 2
    toward = numpy.float32(numpy.inf if nudge % 2 else 0)
    for _ in range(steps):
        scale = numpy.float32(numpy.nextafter(scale, toward))
    return scale


def find(values: Array) -> tuple[Grid, int] | None:
    """Return the grid of float32 numbers with the smallest integers, and the smallest type that holds them.

    None where there is none, or all are zero.
    """
    if len(numpy.unique(numpy.abs(values.reshape(-1)[: 4 * MOST]))) > MOST + 1:
        return None  # without a look at all of a large tensor
    sizes = numpy.unique(numpy.abs(values))
    sizes = sizes[sizes != 0]
    if not 0 < sizes.size <= MOST or not numpy.isfinite(sizes).all():
        return None
    top = sizes[-1].astype(numpy.float64) / sizes[0].astype(numpy.float64)
    for smallest in range(1, LARGEST + 1):
        if round(top * smallest) >= 1 << BITS[INT16] - 1:
            return None
        for nudge in NUDGES:
            grid = Grid(smallest, nudge)
            scale = grid.scale(sizes)
            if _fits(sizes, grid.integers(sizes), scale):
                integers = grid.integers(values)
                return grid, _type(int(integers.min()), int(integers.max()))
    return None


def _fits(values: Array, integers: NDArray[numpy.int64], scale: numpy.float32) -> bool:
    return bool((integers.astype(numpy.float32) * scale == values).all())


def _type(lowest: int, highest: int) -> int:
    return next(dtype for dtype in TYPES if -(1 << BITS[dtype] - 1) <= lowest and highest < 1 << BITS[dtype] - 1)


def pack(integers: NDArray[numpy.int64], dtype: int) -> bytes:
    """Return integers as the bytes of a type: two's complement, little-endian, the first entry lowest in a byte."""
    bits = BITS[dtype]
    if bits >= 8:
        return integers.astype(f"<i{bits // 8}").tobytes()
    each = 8 // bits
    flat = integers.reshape(-1) & (1 << bits) - 1
    rows = numpy.append(flat, numpy.zeros(-flat.size % each, flat.dtype)).reshape(-1, each)
    return (rows << bits * numpy.arange(each)).sum(1).astype(numpy.uint8).tobytes()
