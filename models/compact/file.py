"""Read a file: every byte checked, sizes checked before memory is taken, nothing unpickled, and the same bits anywhere.

All of it is done in integers and plain numpy; what makes tensors of it stands in `decoder`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from kirigami.models.compact import container, plan
from kirigami.models.compact.forms import read_form
from kirigami.models.compact.kinds import Kind, Patterns, numbers
from kirigami.models.compact.parts import Part, Place, likeness
from kirigami.models.compact.plan import Cursor, Record
from kirigami.models.compact.streams import Reader
from kirigami.models.compact.text import MODELLED, take_bytes

LIMIT = 1 << 32  # bytes of contents by default
FREE, RATIO = 1 << 24, 1 << 16  # a file may declare so many bytes, and so many more for each byte it has


@dataclass(frozen=True)
class File:
    """The contents of a file.

    Attributes:
        patterns: bits of each tensor in its shape, by its name in the plain network, without counters of batches.
        kinds: the type of each tensor's numbers.
        extra: streams of bytes by their names.
        parts: how each tensor is stored; of p-bit codes the levels, bits and scale.
        digests: SHA-256 of each tensor's bytes, little-endian, in hexadecimal digits.
    """

    patterns: dict[str, Patterns]
    kinds: dict[str, Kind]
    extra: dict[str, bytes]
    parts: dict[str, Part]
    digests: dict[str, str]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tensors as arrays of numpy by their names.

        Raises:
            ValueError: where one is bfloat16, which numpy does not have.
        """
        return {name: numbers(name, values, self.kinds[name]) for name, values in self.patterns.items()}


def read(data: bytes, limit: int = LIMIT, check: Callable[[Sequence[Record]], None] | None = None) -> File:
    """Return the contents of a file.

    Args:
        data: the file's bytes.
        limit: bytes of tensors and other streams above which a file is refused.
        check: is shown the records of the plan before anything is read by it, and may refuse.

    Raises:
        ValueError: where the file is foreign, damaged, cut short, too large or of another version.
    """
    body, sealed = container.unseal(data)
    sizes = Cursor(body)
    plan_size, code_size = sizes.number(), sizes.number()
    code, rest = body[sizes.at : sizes.at + code_size], body[sizes.at + code_size :]
    if plan_size > plan.LIMIT or len(code) < code_size:
        raise ValueError(f"the file declares a plan of {plan_size} bytes and a code of {code_size}, which cannot be.")
    reader = Reader(code, rest)
    records, extras = plan.read(take_bytes(plan_size, reader))
    declared = sum(record.count * record.kind.size for record in records) + sum(extra.size for extra in extras)
    most = min(limit, allowed(len(data)))
    if declared > most:
        raise ValueError(f"the file declares {declared} bytes of contents, and at most {most} are allowed.")
    if check is not None:
        check([record for record in records if record.name])
    streams = [_modelled(extra, reader) for extra in extras if not extra.blob]
    values, parts = _tensors(records, reader)
    contents = {
        extra.name: reader.take_blob(extra.blob, extra.size) if extra.blob else streams.pop(0) for extra in extras
    }
    reader.finish()
    named = {record.name: number for number, record in enumerate(records) if record.name}
    digests = {name: hashlib.sha256(values[number].tobytes()).digest() for name, number in named.items()}
    container.check(body, [*digests.values(), *(hashlib.sha256(data).digest() for data in contents.values())], sealed)
    return File(
        {name: values[number].reshape(records[number].shape) for name, number in named.items()},
        {name: records[number].kind for name, number in named.items()},
        contents,
        {name: parts[number] for name, number in named.items()},
        {name: digest.hex() for name, digest in digests.items()},
    )


def allowed(size: int) -> int:
    """Return the bytes of contents that a file of a size may declare, so that a small file cannot claim gigabytes."""
    return FREE + RATIO * size


def _modelled(extra: plan.Extra, reader: Reader) -> bytes:
    if extra.size > MODELLED:
        raise ValueError(f"at most {MODELLED} bytes of a stream are modelled, but {extra.size} are declared.")
    reader.spend(8 * extra.size)
    return take_bytes(extra.size, reader)


def _tensors(records: Sequence[Record], reader: Reader) -> tuple[list[Patterns], list[Part]]:
    """Return the bit patterns of every record, and how it is stored."""
    values: list[Patterns] = []
    parts: list[Part] = []
    alike: dict[tuple[str, int], int] = {}
    for number, record in enumerate(records):
        if record.form == "same":
            bits = _same(record, values, records)
            part = replace(parts[number - record.arguments[0]], form="same")
        else:
            place = Place(number, alike.setdefault(likeness(record.name, len(record.shape)), number))
            banks = {at: value for at, value in enumerate(values) if not records[at].name}
            bits, part = read_form(record, place, banks, reader)
        values.append(bits)
        parts.append(part)
    return values, parts


def _same(record: Record, values: Sequence[Patterns], records: Sequence[Record]) -> Patterns:
    at = len(values) - record.arguments[0]
    if not 0 <= at < len(values) or (records[at].shape, records[at].kind) != (record.shape, record.kind):
        raise ValueError(f"the file's plan has {record.name!r} as a tensor that is not there.")
    return values[at]
