"""The plan of a file, in a few bytes: names, shapes and types of the tensors, and how each of them is stored."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from kirigami.models.compact.kinds import KINDS, NAMED, Kind
from kirigami.models.compact.streams import packed

# The place of a form in this row is its number in a file. `docs/format.md` says what each is and what it has.
FORMS = ("same", "plain", "sparse", "palette", "levels", "mixed", "whole", "truths", "constant")
LIMIT = 1 << 20  # bytes of a plan
SIDES = 16  # of a shape, at most
MOST = 1 << 48  # of any number in a plan


@dataclass
class Record:
    """How one tensor is stored.

    Attributes:
        name: in the state dict; empty for templates that others mix.
        shape: sides.
        kind: type of its numbers.
        form: one of `FORMS`.
        arguments: whole numbers from 0 on, which the form explains.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    form: str
    arguments: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


def arity(form: str, arguments: Sequence[int]) -> int:
    """Return how many arguments a form has, given those known so far; it grows with them in `levels` alone."""
    if form == "levels":
        widths = bin(arguments[3]).count("1") if len(arguments) > 3 else 0
        return 5 + (widths > 1) + widths
    return {"same": 1, "plain": 2, "sparse": 3, "palette": 5, "mixed": 7, "whole": 1, "truths": 1, "constant": 2}[form]


@dataclass(frozen=True)
class Extra:
    """A stream of bytes beside the tensors: its name, its size, and its bytes as a blob, 0 where it is modelled."""

    name: str
    size: int
    blob: int


def write(records: Sequence[Record], extras: Sequence[Extra]) -> bytes:
    """Return the bytes of a plan.

    Raises:
        ValueError: where a name cannot be written.
    """
    out = bytearray(packed([len(records)]))
    before = ""
    shape: tuple[int, ...] = ()
    for record in records:
        out += _name(record.name, before)
        out.append(FORMS.index(record.form) << 4 | KINDS.index(record.kind))
        out += _shape(record.shape, shape) + packed(record.arguments)
        before, shape = record.name, record.shape
    out += packed([len(extras)])
    for extra in extras:
        out += _name(extra.name, "") + packed([extra.size, extra.blob])
    if len(out) > LIMIT:
        raise ValueError(f"the plan of the file would be {len(out)} bytes, and at most {LIMIT} can be read.")
    return bytes(out)


def _name(name: str, before: str) -> bytes:
    parts, others = name.split("."), before.split(".")
    alike = 0
    while alike < min(len(parts) - 1, len(others) - 1, 255) and parts[alike] == others[alike]:
        alike += 1
    rest = ".".join(parts[alike:]).encode()
    if b"\n" in rest:
        raise ValueError(f"the name {name!r} has a line break and cannot be encoded.")
    return bytes([alike]) + rest + b"\n"


def _shape(shape: tuple[int, ...], before: tuple[int, ...]) -> bytes:
    if shape == before:
        return b"\0"
    if shape == before[:1]:
        return b"\1"
    if len(shape) > SIDES:
        raise ValueError(f"a tensor of {len(shape)} sides cannot be encoded; at most {SIDES} can.")
    return bytes([2 + len(shape)]) + packed(shape)


class Cursor:
    """Reads a plan from its start to its end.

    Args:
        data: bytes of the plan.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        """Return the next byte."""
        if self.at >= len(self.data):
            raise ValueError("the plan is cut short.")
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """Return the next whole number."""
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
            if shift > 63:
                raise ValueError("the file's plan has a number that has no end.")
        if value > MOST:
            raise ValueError(f"the file's plan has the number {value}, and at most {MOST} is allowed.")
        return value

    def name(self, before: str) -> str:
        """Return the next name, the one before it being known."""
        alike = self.byte()
        end = self.data.find(b"\n", self.at)
        others = before.split(".")
        if end < 0 or alike > len(others) - 1:
            raise ValueError("the file's plan has a name that cannot be read.")
        rest = self.data[self.at : end]
        self.at = end + 1
        try:
            return ".".join([*others[:alike], rest.decode()])
        except UnicodeDecodeError as error:
            raise ValueError("the file's plan has a name that cannot be read.") from error

    def shape(self, before: tuple[int, ...]) -> tuple[int, ...]:
        """Return the next shape, the one before it being known."""
        code = self.byte()
        if code < 2:
            return before if code == 0 else before[:1]
        if code > 2 + SIDES:
            raise ValueError(f"the file's plan has a tensor of {code - 2} sides, and at most {SIDES} are allowed.")
        return tuple(self.number() for _ in range(code - 2))


def read(data: bytes) -> tuple[list[Record], list[Extra]]:
    """Return the records and extras that `write` wrote.

    Raises:
        ValueError: where it is no plan.
    """
    cursor = Cursor(data)
    records: list[Record] = []
    name = ""
    shape: tuple[int, ...] = ()
    for _ in range(cursor.number()):
        name = cursor.name(name)
        form, kind = divmod(cursor.byte(), 16)
        if form >= len(FORMS) or kind >= len(KINDS):
            raise ValueError(f"the file's plan has a tensor {name!r} of an unknown form or type.")
        shape = cursor.shape(shape)
        record = Record(name, shape, KINDS[kind], FORMS[form])
        while len(record.arguments) < arity(record.form, record.arguments):
            record.arguments.append(cursor.number())
        records.append(record)
    extras = [Extra(cursor.name(""), cursor.number(), cursor.number()) for _ in range(cursor.number())]
    if cursor.at != len(data):
        raise ValueError("the file's plan has bytes at its end that mean nothing.")
    for names in ([record.name for record in records if record.name], [extra.name for extra in extras]):
        if len(set(names)) < len(names):
            raise ValueError("the file's plan names something twice.")
    return records, extras


__all__ = ["FORMS", "KINDS", "NAMED", "Cursor", "Extra", "Record", "arity", "read", "write"]
