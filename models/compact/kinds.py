"""The types of numbers a file can hold, as rows of bit patterns in plain numpy."""

from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

Patterns = NDArray[numpy.unsignedinteger[Any]]


class Kind(NamedTuple):
    """A type of numbers.

    Attributes:
        name: as torch has it.
        size: bytes of a number.
        exponent: bits of a float's exponent, 0 for whole numbers.
        mantissa: bits of a float's mantissa that are stored.
    """

    name: str
    size: int
    exponent: int = 0
    mantissa: int = 0

    @property
    def floats(self) -> bool:
        """Whether its numbers have a point."""
        return self.exponent > 0


# The place of a type in this row is its number in a file.
KINDS = (
    Kind("float32", 4, 8, 23),
    Kind("float16", 2, 5, 10),
    Kind("bfloat16", 2, 8, 7),
    Kind("float64", 8, 11, 52),
    Kind("int64", 8),
    Kind("int32", 4),
    Kind("int16", 2),
    Kind("int8", 1),
    Kind("uint8", 1),
    Kind("bool", 1),
)
NAMED = {kind.name: kind for kind in KINDS}
COMPUTED = {"float32": numpy.float32, "float16": numpy.float16, "float64": numpy.float64}  # numpy has no bfloat16


def patterns(values: NDArray[numpy.generic]) -> Patterns:
    """Return the bit patterns of numbers (n,)."""
    return numpy.ascontiguousarray(values).view(f"u{values.itemsize}")


def numbers(name: str, values: Patterns, kind: Kind) -> NDArray[Any]:
    """Return the numbers of bit patterns of any shape.

    Raises:
        ValueError: where the type is bfloat16.
    """
    if kind.floats and kind.name not in COMPUTED:
        raise ValueError(f"{name} is {kind.name}, which numpy does not have. Convert the network to float32 first.")
    return values.view(kind.name)
