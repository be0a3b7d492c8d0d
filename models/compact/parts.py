"""Types that the forms of tensors share."""

from dataclasses import dataclass

from kirigami.models.compact.chances import Numbers
from kirigami.models.compact.kinds import Patterns

Form = tuple[str, list[int]]


@dataclass(frozen=True)
class Place:
    """The position of a tensor: its number, and that of the first tensor with a similar distribution."""

    number: int
    alike: int


@dataclass(frozen=True)
class Part:
    """How a tensor is stored.

    Attributes:
        form: its form; of a tensor stored before, what else is known of that one is given too.
        levels: of p-bit codes, for the form `levels`; 0 is a weight that is zero.
        bits: p of the codes, in a shape that broadcasts to the levels'.
        scale: bit pattern of their scale (1,).
    """

    form: str
    levels: Numbers | None = None
    bits: Numbers | None = None
    scale: Patterns | None = None


def likeness(name: str, sides: int) -> tuple[str, int]:
    """Return the part of a name that tensors with similar distributions share."""
    return name.rpartition(".")[2], min(sides, 2)


def bits_for(count: int) -> int:
    """Return the bits that tell `count` different things apart."""
    return max(0, count - 1).bit_length()
