"""Entropy coding of short byte strings (names, plans, graphs) by the bytes before, with counts of a usual text.

A byte is coded bit by bit, the highest first. The contexts of a bit are the bits of its byte before it, together with
none, one, two, … bytes before that. Both sides first count the text `USUAL`, so that what is usual costs little.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy

from kirigami.models.compact import coder
from kirigami.models.compact.chances import BitReader, BitWriter, Model, Numbers
from kirigami.models.compact.plan import Cursor
from kirigami.models.compact.streams import deflate, inflate, packed
from kirigami.models.compact.usual import USUAL

ORDERS = (0, 1, 2, 3, 4, 6)  # bytes before that the contexts take in
STRENGTHS = (32, 48, 48, 32, 24, 16)
MODELLED = 1 << 15  # bytes of one row; longer ones are for zstd


def put_bytes(data: bytes, writer: BitWriter, model: Model | None = None) -> None:
    """Append bytes; how many they are is for the reader to know."""
    writer.put(model or TEXT, *_bits(data))


def take_bytes(count: int, reader: BitReader, model: Model | None = None) -> bytes:
    """Return the next bytes."""
    chain = reader.chain(model or TEXT)
    masks = [(1 << 8 * order) - 1 for order in ORDERS]
    out = bytearray()
    past = 0
    for _ in range(count):
        rows = [(past & mask) << 8 for mask in masks]
        node = 1
        while node < 256:
            node = node << 1 | reader.take(chain, [row | node for row in rows])
        out.append(node & 255)
        past = (past << 8 | node & 255) & masks[-1]
    return bytes(out)


def compress_bytes(data: bytes) -> bytes:
    """Compress bytes: bit by bit, or by zstd if that is smaller or there are many."""
    blob = deflate(data)
    if is_modelled(data, len(blob)):
        writer = BitWriter()
        put_bytes(data, writer)
        return packed([2 * len(data)]) + coder.encode(writer.bits, writer.chances)
    return packed([2 * len(data) + 1]) + blob


def is_modelled(data: bytes, size: int) -> bool:
    """Tell whether a row of bytes is smaller bit by bit than the size that zstd makes it, and not too long."""
    return len(data) <= MODELLED and BitWriter().price(TEXT, *_bits(data)) <= 8 * size


def expand_bytes(data: bytes, limit: int = 1 << 24) -> bytes:
    """Expand the result of `compress_bytes` to at most `limit` bytes.

    Damage is found only where it contradicts itself; a file has its seal for that.

    Raises:
        ValueError: where it is more, or no such thing.
    """
    cursor = Cursor(data)
    size, large = divmod(cursor.number(), 2)
    most = limit if large else min(limit, MODELLED)
    if size > most:
        raise ValueError(f"compressed bytes declare {size} bytes, and at most {most} are allowed.")
    rest = data[cursor.at :]
    return inflate(rest, size) if large else take_bytes(size, BitReader(rest))


def _bits(data: bytes) -> tuple[list[Numbers], Numbers]:
    """Return the contexts of the bits of some bytes, an array for each order, and the bits."""
    values: Numbers = numpy.frombuffer(data, numpy.uint8).astype(numpy.int64)
    shifts = numpy.arange(8)
    nodes = (1 << shifts) | (values[:, None] >> 8 - shifts)
    bits: Numbers = (values[:, None] >> 7 - shifts & 1).reshape(-1)
    contexts: list[Numbers] = []
    for order in ORDERS:
        past = numpy.zeros_like(values)
        for back in range(1, order + 1):
            past[back:] |= values[:-back] << 8 * (back - 1) if back < len(values) else 0
        contexts.append((past[:, None] << 8 | nodes).reshape(-1))
    return contexts, bits


@cache
def _usual() -> Sequence[Mapping[int, Sequence[int]]]:
    """Return the counts of the usual text."""
    contexts, bits = _bits(USUAL)
    counts = []
    for context in contexts:
        keys, places, totals = numpy.unique(context, return_inverse=True, return_counts=True)
        ones = numpy.bincount(places, bits).astype(numpy.int64)
        counts.append(dict(zip(keys.tolist(), zip(ones.tolist(), totals.tolist(), strict=True), strict=True)))
    return counts


TEXT = Model("text", STRENGTHS, _usual)
