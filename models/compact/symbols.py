"""Entropy coding of the small whole numbers of a tensor, bit by bit, the highest bit first.

The context of a bit is the bits before it, and a previous number: the one before in the row, or the one at the same
position of a row stored earlier, since layers that were folded together have the same codes.
"""

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from kirigami.models.compact.chances import Model, Numbers
from kirigami.models.compact.streams import Reader, Writer

SYMBOL = Model("symbol", (32, 64, 128))
ECHO = Model("echo", (8, 16))
BLOB = 16
SAMPLE = 1 << 16  # items by which contexts are chosen


def mask_size(mask: NDArray[numpy.bool_]) -> float:
    """Estimate the bits of a mask by its entropy."""
    return _entropy(numpy.array([mask.size - mask.sum(), mask.sum()]))


def symbols_size(values: Numbers) -> float:
    """Estimate the bits of whole numbers by their entropy."""
    return _entropy(numpy.bincount(values)) if values.size else 0.0


def _entropy(counts: Numbers) -> float:
    present = counts[counts > 0]
    return float(-(present * numpy.log2(present / present.sum())).sum())


def closest(values: Numbers, earlier: Sequence[Numbers]) -> int | None:
    """Return the distance from the end of the most correlated earlier row, or None if no row is correlated."""
    best: tuple[float, int | None] = (0.0, None)
    centred = values[:SAMPLE] - values[:SAMPLE].mean()
    for back, row in enumerate(reversed(earlier), 1):
        other = row[:SAMPLE] - row[:SAMPLE].mean()
        correlation = abs(float(centred @ other)) / max(float(numpy.sqrt((other @ other) * (centred @ centred))), 1e-9)
        best = max(best, (correlation, back), key=lambda pair: pair[0])
    return best[1]


def recall(back: int, earlier: Sequence[Numbers]) -> Numbers:
    """Return the row `back` places before the end.

    Raises:
        ValueError: where there is no such row.
    """
    if back > len(earlier):
        raise ValueError(f"the file's plan has a row by the one {back} before it, but only {len(earlier)} are.")
    return earlier[-back]


SYMBOLS = ("bare", "own", "previous")
TOPS = BLOB  # argument if only the highest bits are modelled: of many bits, the low ones are noise
HIGHEST = 4  # bits modelled then
ROWS_BACK = BLOB - len(SYMBOLS)  # earlier rows that can be referred to


def put_symbols(values: Numbers, width: int, number: int, writer: Writer) -> int:
    """Append whole numbers (n,) below 2^width, at most 2^8, of the tensor of a number; return their argument."""
    if not width or not values.size:
        return 0
    if not writer.claim(values.size * width):
        return BLOB + writer.put_blob(values.astype(numpy.uint8).tobytes())
    contexts = [_contexts(values, width, number, place) for place in (1, 2)]
    bits = (values[:, None] >> width - 1 - numpy.arange(width) & 1).reshape(-1)
    tops = numpy.tile(numpy.arange(width) < HIGHEST, values.size)
    highest = [context[tops] for context in contexts[0]]
    prices = [float(bits.size), *(writer.price(SYMBOL, chain, bits) for chain in contexts)]
    earlier = writer.past[1, values.size, width]
    back = closest(values, earlier[-ROWS_BACK:])
    if back is not None:
        echo = _echo(values, width, number, recall(back, earlier))
        prices.append(writer.price(ECHO, echo, bits))
    earlier.append(values)
    low = max(0, width - HIGHEST)
    if low and writer.price(SYMBOL, highest, bits[tops]) + low * values.size < min(prices):
        writer.put(SYMBOL, highest, bits[tops])
        writer.put_bare(values & (1 << low) - 1, low)
        return TOPS
    best = prices.index(min(prices))
    if best == len(SYMBOLS) and back is not None:
        writer.put(ECHO, echo, bits)
        return len(SYMBOLS) - 1 + back
    if best:
        writer.put(SYMBOL, contexts[best - 1], bits)
    else:
        writer.put_bare(values, width)
    return best


def _echo(values: Numbers, width: int, number: int, echo: Numbers) -> list[Numbers]:
    shifts = numpy.arange(width)
    nodes = ((1 << shifts) | (values[:, None] >> width - shifts)).reshape(-1)
    general = width << 16 | numpy.repeat(echo, width) << 8 | nodes
    return [general, number << 20 | general]


def _contexts(values: Numbers, width: int, number: int, place: int) -> list[Numbers]:
    shifts = numpy.arange(width)
    nodes = ((1 << shifts) | (values[:, None] >> width - shifts)).reshape(-1)
    previous = numpy.repeat(numpy.r_[0, values[:-1]] if place == 2 else 0 * values, width)
    general = width << 8 | nodes
    special = number << 12 | general
    return [general, special, special << 8 | previous]


def take_symbols(count: int, width: int, number: int, argument: int, reader: Reader) -> Numbers:
    """Return the next whole numbers (count,).

    Raises:
        ValueError: where the argument is unknown, or a number is not below 2^width.
    """
    if not width or not count:
        return numpy.zeros(count, numpy.int64)
    if argument > BLOB:
        values: Numbers = numpy.frombuffer(reader.take_blob(argument - BLOB, count), numpy.uint8).astype(numpy.int64)
        if int(values.max()) >> width:
            raise ValueError(f"an item of {width} bits must be below {1 << width}, but one is {int(values.max())}.")
        return values
    earlier = reader.past[1, count, width]
    if not argument:
        values = reader.take_bare(count, width).astype(numpy.int64)
    else:
        reader.spend(count * width)
        if argument == TOPS:
            low = max(0, width - HIGHEST)
            values = _by_tensor(count, width, number, 1, reader, width - low) << low
            values |= reader.take_bare(count, low).astype(numpy.int64)
        elif argument < len(SYMBOLS):
            values = _by_tensor(count, width, number, argument, reader, width)
        else:
            values = _by_echo(width, number, recall(argument - len(SYMBOLS) + 1, earlier), reader)
    earlier.append(values)
    return values


def _by_tensor(count: int, width: int, number: int, argument: int, reader: Reader, highest: int) -> Numbers:
    """Return the highest bits of the next whole numbers (count,), with contexts of their own tensor."""
    values = numpy.zeros(count, numpy.int64)
    chain = reader.chain(SYMBOL)
    previous = 0
    for at in range(count):
        node = 1
        for _ in range(highest):
            general = width << 8 | node
            special = number << 12 | general
            node = node << 1 | reader.take(chain, (general, special, special << 8 | previous))
        values[at] = value = node - (1 << highest)
        previous = value if argument == 2 else 0
    return values


def _by_echo(width: int, number: int, echo: Numbers, reader: Reader) -> Numbers:
    """Return whole numbers (n,) with the numbers of an earlier row (n,) as contexts."""
    values = numpy.zeros(echo.size, numpy.int64)
    chain = reader.chain(ECHO)
    for at, other in enumerate(echo.tolist()):
        node = 1
        for _ in range(width):
            general = width << 16 | other << 8 | node
            node = node << 1 | reader.take(chain, (general, number << 20 | general))
        values[at] = node - (1 << width)
    return values
