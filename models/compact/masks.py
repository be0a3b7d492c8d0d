"""Entropy coding of masks: the context of a bit is its neighbours or an earlier mask, whichever codes shorter.

A tensor stands as (outputs, inputs, places), its first and second side and the rest, and is read in that order. Each
way to choose contexts is tried by the writer. The number of the best is an argument in the plan; one from `BLOB` on is
that of a blob, with so many bytes more than `BLOB`.
"""

from collections.abc import Callable, Sequence

import numpy
from numpy.typing import NDArray

from kirigami.models.compact.chances import Model, Numbers, Table
from kirigami.models.compact.streams import Reader, Writer
from kirigami.models.compact.symbols import BLOB, SAMPLE, closest, recall

MASK = Model("mask", (32, 32, 128))


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


def _density(ones: Numbers, seen: Numbers) -> Numbers:
    """Return the class, 0 to 7, of how many were kept of those seen: 0, below 1/32, below 1/16, … of them."""
    return LENGTHS[64 * ones // (seen + 1)]


LENGTHS = numpy.array([value.bit_length() for value in range(65)], numpy.int64)

MASKS: tuple[Callable[[Numbers, Numbers, Numbers, Numbers, Numbers, Numbers], Numbers], ...] = (
    lambda left, above, before, last, row, column: 0 * left,
    lambda left, above, before, last, row, column: left + 2 * above + 4 * before + 8 * last,
    lambda left, above, before, last, row, column: row,
    lambda left, above, before, last, row, column: column,
    lambda left, above, before, last, row, column: 8 * row + column,
    lambda left, above, before, last, row, column: 64 * ((left + above + before + last + 1) // 2) + 8 * row + column,
)


MASKS_BACK = BLOB - 1 - len(MASKS)  # earlier masks of the same shape that can be referred to


def put_mask(mask: NDArray[numpy.bool_], number: int, writer: Writer) -> int:
    """Append a mask of any shape, of the tensor of a number; return its argument, 0 where it keeps everything."""
    if mask.all():
        return 0
    if not writer.claim(mask.size):
        return BLOB + writer.put_blob(numpy.packbits(mask).tobytes())
    frame = Frame(mask.shape)
    bits = mask.reshape(-1).astype(numpy.int64)
    around = _surroundings(bits, frame)
    tensor = numpy.full(bits.size, number, numpy.int64)
    chains = [[0 * tensor, tensor, tensor << 16 | place << 8 | make(*around)] for place, make in enumerate(MASKS)]
    earlier = writer.past[0, *mask.shape]
    back = closest(bits, earlier[-MASKS_BACK:])
    if back is not None:
        chains.append([0 * tensor, tensor, tensor << 16 | len(MASKS) << 8 | recall(back, earlier)])
    head = [[context[:SAMPLE] for context in chain] for chain in chains]
    best = min(range(len(chains)), key=lambda place: writer.price(MASK, head[place], bits[:SAMPLE]))
    writer.put(MASK, chains[best], bits)
    earlier.append(bits)
    if best == len(MASKS) and back is not None:
        return len(MASKS) + back
    return 1 + best


def _surroundings(bits: Numbers, frame: Frame) -> list[Numbers]:
    """Return the six numbers that form the contexts, for every item at once."""
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
    if argument == BLOB:
        raise ValueError(f"the contexts of a mask must be below {BLOB - 1}, but are {contexts}.")
    earlier = reader.past[0, *shape]
    reader.spend(frame.count)
    chain = reader.chain(MASK)
    if contexts >= len(MASKS):
        base = number << 16 | len(MASKS) << 8
        echo = recall(argument - len(MASKS), earlier).tolist()
        bits: Numbers = numpy.array([reader.take(chain, (0, number, base | bit)) for bit in echo], numpy.int64)
    else:
        bits = _by_surroundings(frame, number, contexts, chain, reader)
    earlier.append(bits)
    return bits.astype(bool).reshape(shape)


def _by_surroundings(
    frame: Frame, number: int, contexts: int, chain: Sequence[tuple[Table, int]], reader: Reader
) -> Numbers:
    """Return the bits of a mask, by its own bits before them."""
    make = MASKS[contexts]
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
    return numpy.array(bits, numpy.int64)
