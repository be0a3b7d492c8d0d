"""Whole numbers of few bits as bytes of the range coder, each array by its own statistics, and the way back."""

from collections.abc import Iterable, Sequence

from kirigami.models.compact import coder
from kirigami.models.compact.chances import Numbers
from kirigami.models.compact.plan import Cursor
from kirigami.models.compact.streams import Reader, Writer, packed
from kirigami.models.compact.symbols import put_symbols, take_symbols

WIDEST = 8


def compress_codes(arrays: Iterable[Numbers], bits: int) -> bytes:
    """Return arrays (n,) of whole numbers from 0 to 2^bits - 1, compressed one after another; `bits` from 1 to 8."""
    writer = Writer()
    arguments = [put_symbols(codes, bits, number, writer) for number, codes in enumerate(arrays)]
    code = coder.encode(writer.bits, writer.chances)
    return packed([bits, len(code), len(arguments), *arguments]) + code + writer.rest()


def expand_codes(data: bytes, sizes: Sequence[int]) -> list[Numbers]:
    """Return the arrays that `compress_codes` compressed, given how many numbers each has.

    Raises:
        ValueError: where the bytes are none of such arrays.
    """
    cursor = Cursor(data)
    bits, size, count = cursor.number(), cursor.number(), cursor.number()
    if not 1 <= bits <= WIDEST or count != len(sizes):
        raise ValueError(f"the bytes hold {count} tensors of {bits} bits, and the network has {len(sizes)} weights.")
    arguments = [cursor.number() for _ in range(count)]
    start = cursor.at
    if len(data) < start + size:
        raise ValueError(f"the bytes are cut short: {start + size} are needed where {len(data)} are.")
    reader = Reader(data[start : start + size], data[start + size :])
    arrays = [
        take_symbols(length, bits, number, argument, reader)
        for number, (length, argument) in enumerate(zip(sizes, arguments, strict=True))
    ]
    reader.finish()
    return arrays
