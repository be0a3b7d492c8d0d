"""Small whole numbers of a tensor: the highest bit first, by the bits before it, and a number before or elsewhere.

Elsewhere is the same place of a row that was stored earlier: layers that were folded together have the same codes.
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


def mask_size(kept: NDArray[numpy.bool_]) -> float:
    """Return about how many bits a mask takes: its entropy."""
    return _entropy(numpy.array([kept.size - kept.sum(), kept.sum()]))


def symbols_size(values: Numbers) -> float:
    """Return about how many bits whole numbers take: their entropy."""
    return _entropy(numpy.bincount(values)) if values.size else 0.0


def _entropy(counts: Numbers) -> float:
    some = counts[counts > 0]
    return float(-(some * numpy.log2(some / some.sum())).sum())


def closest(values: Numbers, earlier: Sequence[Numbers]) -> int | None:
    """Return how many places before the end stands the row most correlated with one, None where none is at all."""
    best: tuple[float, int | None] = (0.0, None)
    own = values[:SAMPLE] - values[:SAMPLE].mean()
    for back, row in enumerate(reversed(earlier), 1):
        other = row[:SAMPLE] - row[:SAMPLE].mean()
        found = abs(float(own @ other)) / max(float(numpy.sqrt((other @ other) * (own @ own))), 1e-9)
        best = max(best, (found, back), key=lambda pair: pair[0])
    return best[1]


def recall(back: int, earlier: Sequence[Numbers]) -> Numbers:
    """Return the row so many places before the end.

    Raises:
        ValueError: where there is none.
    """
    if back > len(earlier):
        raise ValueError(f"the file's plan has a row by the one {back} before it, but only {len(earlier)} are.")
    return earlier[-back]


SYMBOLS = ("bare", "own", "previous")
TOPS = (
    BLOB  # argument of numbers whose highest bits alone are modelled, as own ones: of many bits the low ones are noise
)
HIGHEST = 4  # so many
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
    prices = [float(bits.size), *(writer.price(SYMBOL, one, bits) for one in contexts)]
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
        found: Numbers = numpy.frombuffer(reader.take_blob(argument - BLOB, count), numpy.uint8).astype(numpy.int64)
        if int(found.max()) >> width:
            raise ValueError(f"an item of {width} bits must be below {1 << width}, but one is {int(found.max())}.")
        return found
    earlier = reader.past[1, count, width]
    if not argument:
        found = reader.take_bare(count, width).astype(numpy.int64)
    else:
        reader.spend(count * width)
        if argument == TOPS:
            low = max(0, width - HIGHEST)
            found = _by_own(count, width, number, 1, reader, width - low) << low
            found |= reader.take_bare(count, low).astype(numpy.int64)
        elif argument < len(SYMBOLS):
            found = _by_own(count, width, number, argument, reader, width)
        else:
            found = _by_echo(width, number, recall(argument - len(SYMBOLS) + 1, earlier), reader)
    earlier.append(found)
    return found


def _by_own(count: int, width: int, number: int, argument: int, reader: Reader, highest: int) -> Numbers:
    """Return the highest bits of the next whole numbers (count,), by their own tensor."""
    found = numpy.zeros(count, numpy.int64)
    chain = reader.chain(SYMBOL)
    previous = 0
    for at in range(count):
        node = 1
        for _ in range(highest):
            general = width << 8 | node
            own = number << 12 | general
            node = node << 1 | reader.take(chain, (general, own, own << 8 | previous))
        found[at] = value = node - (1 << highest)
        previous = value if argument == 2 else 0
    return found


def _by_echo(width: int, number: int, echo: Numbers, reader: Reader) -> Numbers:
    """Return as many whole numbers as an earlier row (n,) has, each by the one there."""
    found = numpy.zeros(echo.size, numpy.int64)
    chain = reader.chain(ECHO)
    for at, other in enumerate(echo.tolist()):
        node = 1
        for _ in range(width):
            general = width << 16 | other << 8 | node
            node = node << 1 | reader.take(chain, (general, number << 20 | general))
        found[at] = node - (1 << width)
    return found
