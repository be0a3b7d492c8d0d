"""Masks and small whole numbers of a tensor, each bit by what is around it; the contexts are chosen by the result.

A tensor stands as (outputs, inputs, places), its first and second side and the rest, and is read in that order. Each
way to choose contexts is tried by the writer. The number of the best is an argument in the plan; one from `BLOB` on is
that of a blob, with so many bytes more than `BLOB`.
"""

from collections.abc import Callable, Sequence

import numpy
from numpy.typing import NDArray

from models.compact.chances import Model, Numbers
from models.compact.streams import Reader, Writer

MASK = Model("mask", (32, 32, 128))
SYMBOL = Model("symbol", (32, 64, 128))
BLOB = 16
SAMPLE = 1 << 16  # items by which contexts are chosen


def mask_size(kept: NDArray[numpy.bool_]) -> float:
    """Return about how many bits a mask takes: its entropy."""
    return _entropy(numpy.array([kept.size - kept.sum(), kept.sum()]))


def symbols_size(values: Numbers) -> float:
    """Return about how many bits whole numbers take: their entropy."""
    return _entropy(numpy.bincount(values)) if values.size else 0.0


def _entropy(counts: Numbers) -> float:
    some = counts[counts > 0]
    return float(-(some * numpy.log2(some / some.sum())).sum())


class Frame:
    """How a tensor's items stand to each other.

    Args:
        shape: of the tensor.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        sides = [*shape] if len(shape) > 1 else [1, *shape][-2:] if shape else [1, 1]
        self.outputs, self.inputs = sides[:2]
        self.places = int(numpy.prod(sides[2:], dtype=numpy.int64))
        self.row = self.inputs * self.places  # items of an output
        self.line = sides[-1] if len(sides) > 2 else 1  # places beside each other
        self.count = self.outputs * self.row


# Masks. Every context is a whole number below 256 of these: the items left and above in the kernel, at the same place
# of the input before and of the output before, and how dense the output and the input have been so far.

Around = Callable[..., Numbers]


def _density(kept: Numbers, seen: Numbers) -> Numbers:
    """Return the class, 0 to 7, of how many were kept of those seen: 0, below 1/32, below 1/16, … of them."""
    return LENGTHS[64 * kept // (seen + 1)]


LENGTHS = numpy.array([value.bit_length() for value in range(65)], numpy.int64)

MASKS: tuple[Callable[[Numbers, Numbers, Numbers, Numbers, Numbers, Numbers], Numbers], ...] = (
    lambda left, above, before, last, row, column: 0 * left,
    lambda left, above, before, last, row, column: left + 2 * above + 4 * before + 8 * last,
    lambda left, above, before, last, row, column: row,
    lambda left, above, before, last, row, column: column,
    lambda left, above, before, last, row, column: 8 * row + column,
    lambda left, above, before, last, row, column: 64 * ((left + above + before + last + 1) // 2) + 8 * row + column,
)


def put_mask(kept: NDArray[numpy.bool_], number: int, writer: Writer) -> int:
    """Append a mask of any shape, of the tensor of a number; return its argument, 0 where it keeps everything."""
    if kept.all():
        return 0
    if not writer.claim(kept.size):
        return BLOB + writer.put_blob(numpy.packbits(kept).tobytes())
    frame = Frame(kept.shape)
    bits = kept.reshape(-1).astype(numpy.int64)
    around = _surroundings(bits, frame)
    tensor = numpy.full(bits.size, number, numpy.int64)
    chains = [[0 * tensor, tensor, tensor << 16 | place << 8 | make(*around)] for place, make in enumerate(MASKS)]
    head = [[context[:SAMPLE] for context in chain] for chain in chains]
    best = min(range(len(MASKS)), key=lambda place: writer.price(MASK, head[place], bits[:SAMPLE]))
    writer.put(MASK, chains[best], bits)
    return 1 + best


def _surroundings(bits: Numbers, frame: Frame) -> list[Numbers]:
    """Return the six numbers that contexts are made of, for every item at once."""
    cube = bits.reshape(frame.outputs, frame.inputs, frame.places)
    lines = bits.reshape(frame.outputs, frame.inputs, -1, frame.line)
    left, above, before, last = (numpy.zeros_like(part) for part in (lines, lines, cube, cube))
    left[..., 1:] = lines[..., :-1]
    above[:, :, 1:] = lines[:, :, :-1]
    before[:, 1:] = cube[:, :-1]
    last[1:] = cube[:-1]
    rows = cube.reshape(frame.outputs, frame.row)
    row = _density(numpy.cumsum(rows, 1) - rows, numpy.arange(frame.row)[None])
    columns = cube.transpose(1, 0, 2).reshape(frame.inputs, -1)
    column = _density(numpy.cumsum(columns, 1) - columns, numpy.arange(columns.shape[1])[None])
    column = column.reshape(frame.inputs, frame.outputs, frame.places).transpose(1, 0, 2)
    return [part.reshape(-1) for part in (left, above, before, last, row, column)]


def take_mask(shape: Sequence[int], number: int, argument: int, reader: Reader) -> NDArray[numpy.bool_]:
    """Return the next mask, of any shape.

    Raises:
        ValueError: where the argument is none.
    """
    if not argument:
        return numpy.ones(shape, bool)
    frame, contexts = Frame(shape), argument - 1
    if argument > BLOB:
        data = reader.take_blob(argument - BLOB, -(-frame.count // 8))
        return numpy.unpackbits(numpy.frombuffer(data, numpy.uint8), count=frame.count).astype(bool).reshape(shape)
    if contexts >= len(MASKS):
        raise ValueError(f"the contexts of a mask must be below {len(MASKS)}, but are {contexts}.")
    reader.spend(frame.count)
    make, chain = MASKS[contexts], reader.chain(MASK)
    lengths = LENGTHS.tolist()
    bits = [0] * frame.count
    columns = [0] * frame.inputs
    base = number << 16 | contexts << 8
    at = 0
    for output in range(frame.outputs):
        row = 0
        for column in range(frame.inputs):
            for place in range(frame.places):
                left = bits[at - 1] if place % frame.line else 0
                above = bits[at - frame.line] if place >= frame.line else 0
                before = bits[at - frame.places] if column else 0
                last = bits[at - frame.row] if output else 0
                dense = lengths[64 * row // (column * frame.places + place + 1)]
                steep = lengths[64 * columns[column] // (output * frame.places + place + 1)]
                bit = reader.take(chain, (0, number, base | make(left, above, before, last, dense, steep)))  # type: ignore[arg-type]
                if bit:
                    bits[at] = 1
                    row += 1
                    columns[column] += 1
                at += 1
    return numpy.array(bits, bool).reshape(shape)


# Small whole numbers: the highest bit first, by the bits before it in its number, and the number before that.

SYMBOLS = ("bare", "own", "previous")


def put_symbols(values: Numbers, width: int, number: int, writer: Writer) -> int:
    """Append whole numbers (n,) below 2^width, at most 2^8, of the tensor of a number; return their argument."""
    if not width or not values.size:
        return 0
    if not writer.claim(values.size * width):
        return BLOB + writer.put_blob(values.astype(numpy.uint8).tobytes())
    contexts = [_contexts(values, width, number, place) for place in (1, 2)]
    bits = (values[:, None] >> width - 1 - numpy.arange(width) & 1).reshape(-1)
    prices = [float(bits.size), *(writer.price(SYMBOL, one, bits) for one in contexts)]
    best = prices.index(min(prices))
    if best:
        writer.put(SYMBOL, contexts[best - 1], bits)
    else:
        writer.put_bare(values, width)
    return best


def _contexts(values: Numbers, width: int, number: int, place: int) -> list[Numbers]:
    shifts = numpy.arange(width)
    nodes = ((1 << shifts) | (values[:, None] >> width - shifts)).reshape(-1)
    previous = numpy.repeat(numpy.r_[0, values[:-1]] if place == 2 else 0 * values, width)
    general = width << 8 | nodes
    own = number << 12 | general
    return [general, own, own << 8 | previous]


def take_symbols(count: int, width: int, number: int, argument: int, reader: Reader) -> Numbers:
    """Return the next whole numbers (count,).

    Raises:
        ValueError: where the argument is none, or a number is not below 2^width.
    """
    if not width or not count:
        return numpy.zeros(count, numpy.int64)
    if argument > BLOB:
        found = numpy.frombuffer(reader.take_blob(argument - BLOB, count), numpy.uint8).astype(numpy.int64)
        if int(found.max()) >> width:
            raise ValueError(f"an item of {width} bits must be below {1 << width}, but one is {int(found.max())}.")
        return found
    if argument >= len(SYMBOLS):
        raise ValueError(f"the contexts of numbers must be below {len(SYMBOLS)}, but are {argument}.")
    if not argument:
        return reader.take_bare(count, width).astype(numpy.int64)
    reader.spend(count * width)
    found = numpy.zeros(count, numpy.int64)
    chain = reader.chain(SYMBOL)
    previous = 0
    for at in range(count):
        node = 1
        for _ in range(width):
            general = width << 8 | node
            own = number << 12 | general
            node = node << 1 | reader.take(chain, (general, own, own << 8 | previous))
        found[at] = value = node - (1 << width)
        previous = value if argument == 2 else 0
    return found
