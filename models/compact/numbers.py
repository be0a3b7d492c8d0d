"""Numbers with a point: exponents by those before them, signs by their tensor, and only the mantissa bits in use.

Where there are many, exponents have a Huffman code instead, which takes 0.5 % more and a tenth of the time.
Trained numbers use all bits of their mantissas, and these are stored as they are. Numbers that were rounded do not:
`keep` is how many mantissa bits any of them uses, and `grid` the power of two that all are multiples of.
"""

import numpy
from numpy.typing import NDArray

from kirigami.models.compact.chances import Model, Numbers
from kirigami.models.compact.kinds import Kind, Patterns
from kirigami.models.compact.streams import SKEWED, Reader, Writer, deflate, planes
from kirigami.models.compact.symbols import symbols_size

EXPONENT = Model("exponent", (16, 32, 32))
SIGN = Model("sign", (128, 128))
TOP = Model("top", (128, 128))
BLOB = 255  # in place of `keep`: the numbers are a blob, whose size takes the place of `grid`
HUFFMAN, GRID = 64, 12  # added to `keep` where exponents are a blob, whose size stands above the 12 bits of `grid`
SHORT = 256  # numbers that are modelled in every file
PROBE, PROBED = 1, 0.97  # a quick level of zstd, and what planes must save at it to be taken
MANY = 1 << 14  # numbers of a file above which only short rows are modelled
WORTH = 8  # bits that a grid must save to be stored


def put_numbers(values: Patterns, kind: Kind, place: int, alike: int, writer: Writer) -> list[int]:
    """Append floats (n,) given as bit patterns.

    Args:
        values: bit patterns.
        kind: their type.
        place: number of their tensor.
        alike: number of a tensor that may be expected to have numbers of this size.
        writer: takes them.

    Returns:
        `keep` and `grid`, or `BLOB` and the blob's size.
    """
    if (writer.many and values.size > SHORT) or not writer.claim(values.size * (kind.exponent + 2)):
        return _put_many(values, kind, writer)
    (exponents, signs), mantissa = _exponents(values, kind), _mantissa(values, kind)
    keep, grid = _fineness(exponents, mantissa, kind)
    shifts = numpy.arange(kind.exponent)
    nodes = ((1 << shifts) | (exponents[:, None] >> kind.exponent - shifts)).reshape(-1)
    bits = (exponents[:, None] >> kind.exponent - 1 - shifts & 1).reshape(-1)
    nodes |= kind.exponent << 16
    writer.put(EXPONENT, [nodes, alike << 32 | nodes, place << 32 | nodes], bits)
    writer.put(SIGN, [0 * signs + alike, 0 * signs + place], signs)
    widths = _widths(exponents, keep, grid, kind)
    some = widths > 0
    mantissa = mantissa[some] >> (kind.mantissa - widths[some]).astype(numpy.uint64)
    below = widths[some] - 1
    tops = (mantissa >> below.astype(numpy.uint64)).astype(numpy.int64)
    writer.put(TOP, [0 * tops + alike, alike << 16 | exponents[some]], tops)
    writer.put_bare(mantissa & (numpy.uint64(1) << below.astype(numpy.uint64)) - numpy.uint64(1), below)
    return [keep, grid]


def _put_many(values: Patterns, kind: Kind, writer: Writer) -> list[int]:
    """Append floats (n,) without the model: exponents as a blob and bare bits, or by planes if much repeats itself."""
    (exponents, signs), mantissa = _exponents(values, kind), _mantissa(values, kind)
    keep, grid = _fineness(exponents, mantissa, kind)
    widths = _widths(exponents, keep, grid, kind)
    bare = (values.size + int(widths.sum())) // 8
    if len(deflate(planes(values), PROBE)) < PROBED * (bare + symbols_size(exponents) / 8):
        return [BLOB, writer.put_planes(values)]
    size = writer.put_planes(exponents.astype(_narrow(kind)), SKEWED)
    writer.put_bare(signs, 1)
    writer.put_bare(mantissa >> (kind.mantissa - widths).astype(numpy.uint64), widths)
    return [HUFFMAN + keep, size << GRID | grid]


def _narrow(kind: Kind) -> str:
    """Return the type of whole numbers that holds exponents."""
    return "<u1" if kind.exponent <= 8 else "<u2"


def numbers_size(values: Patterns, kind: Kind) -> float:
    """Return about how many bits floats (n,) take: the entropy of their exponents, their signs and mantissas."""
    exponents, mantissa = _exponents(values, kind)[0], _mantissa(values, kind)
    keep, grid = _fineness(exponents, mantissa, kind)
    return symbols_size(exponents) + values.size + float(_widths(exponents, keep, grid, kind).sum())


def _mantissa(values: Patterns, kind: Kind) -> NDArray[numpy.uint64]:
    return (values & (1 << kind.mantissa) - 1).astype(numpy.uint64)


def _exponents(values: Patterns, kind: Kind) -> tuple[Numbers, Numbers]:
    """Return the exponents and the signs, 1 where negative."""
    both = (values >> kind.mantissa).astype(numpy.int64)
    return both & (1 << kind.exponent) - 1, both >> kind.exponent


def _fineness(exponents: Numbers, mantissa: Patterns, kind: Kind) -> tuple[int, int]:
    """Return how many mantissa bits are in use at most, and the grid, 0 where it saves nothing worth its place."""
    if not mantissa.size:
        return 0, 0
    low = (mantissa & (~mantissa + numpy.uint64(1))).astype(numpy.float64)  # the lowest bit in use, or 0
    zeros = numpy.where(mantissa > 0, numpy.log2(numpy.maximum(low, 1)).astype(numpy.int64), kind.mantissa)
    keep = kind.mantissa - int(zeros.min())
    used = (mantissa > 0) | (exponents > 0)
    if not used.any() or int(exponents.max()) == (1 << kind.exponent) - 1:
        return keep, 0
    grid = int((numpy.maximum(exponents, 1) + zeros)[used].min())
    saved = int((numpy.full(exponents.shape, keep) - _widths(exponents, keep, grid, kind)).sum())
    return keep, grid if saved > WORTH else 0


def _widths(exponents: Numbers, keep: int, grid: int, kind: Kind) -> Numbers:
    """Return how many mantissa bits each number has.

    The last of all its bits weighs 2^(exponent - mantissa); multiples of 2^(grid - mantissa) need grid - exponent less.
    """
    if not grid:
        return numpy.full(exponents.shape, keep, numpy.int64)
    return numpy.clip(kind.mantissa - grid + numpy.maximum(exponents, 1), 0, keep)


def take_numbers(count: int, kind: Kind, place: int, alike: int, arguments: list[int], reader: Reader) -> Patterns:
    """Return the next floats (count,) as bit patterns.

    Raises:
        ValueError: where the arguments are none of this type, or there are no so many.
    """
    keep, grid = arguments
    if keep == BLOB:
        return reader.take_planes(grid, kind.size, count)
    many, size = keep >= HUFFMAN, 0
    if many:
        keep, size, grid = keep - HUFFMAN, grid >> GRID, grid & (1 << GRID) - 1
    if keep > kind.mantissa or grid >= (1 << kind.exponent) + kind.mantissa:
        raise ValueError(f"numbers of type {kind.name} cannot have {keep} bits and the grid {grid}.")
    if many:
        return _take_many(count, kind, keep, grid, size, reader)
    reader.spend(count * (kind.exponent + 2))
    exponents = numpy.zeros(count, numpy.int64)
    chain = reader.chain(EXPONENT)
    for at in range(count):
        node = 1
        for _ in range(kind.exponent):
            general = kind.exponent << 16 | node
            node = node << 1 | reader.take(chain, (general, alike << 32 | general, place << 32 | general))
        exponents[at] = node - (1 << kind.exponent)
    chain = reader.chain(SIGN)
    signs = numpy.array([reader.take(chain, (alike, place)) for _ in range(count)], numpy.int64)
    widths = _widths(exponents, keep, grid, kind)
    some = numpy.flatnonzero(widths)
    chain = reader.chain(TOP)
    tops = [reader.take(chain, (alike, alike << 16 | exponent)) for exponent in exponents[some].tolist()]
    below = widths[some] - 1
    mantissa = numpy.array(tops, numpy.uint64) << below.astype(numpy.uint64)
    mantissa |= reader.take_bare(some.size, below)
    values = (signs << kind.exponent | exponents).astype(numpy.uint64) << numpy.uint64(kind.mantissa)
    values[some] |= mantissa << (kind.mantissa - widths[some]).astype(numpy.uint64)
    return values.astype(f"u{kind.size}")


def _take_many(count: int, kind: Kind, keep: int, grid: int, size: int, reader: Reader) -> Patterns:
    """Return the numbers that `_put_many` appended, with the exponents in a blob of a given size."""
    width = numpy.dtype(_narrow(kind)).itemsize
    exponents = reader.take_planes(size, width, count).astype(numpy.int64)
    if count and int(exponents.max()) >> kind.exponent:
        raise ValueError(f"an exponent of {kind.name} must have {kind.exponent} bits, but one is {exponents.max()}.")
    signs = reader.take_bare(count, 1)
    widths = _widths(exponents, keep, grid, kind)
    mantissa = reader.take_bare(count, widths) << (kind.mantissa - widths).astype(numpy.uint64)
    values = (signs << numpy.uint64(kind.exponent) | exponents.astype(numpy.uint64)) << numpy.uint64(kind.mantissa)
    return (values | mantissa).astype(f"u{kind.size}")
