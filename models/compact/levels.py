"""Tensors of p-bit codes: a mask, the scale, the bits of the weights where they differ, and the codes of each width."""

import math
from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

from kirigami.models.compact.chances import Numbers
from kirigami.models.compact.kinds import COMPUTED, Kind, Patterns, patterns
from kirigami.models.compact.masks import put_mask, take_mask
from kirigami.models.compact.numbers import put_numbers, take_numbers
from kirigami.models.compact.parts import Form, Part, Place, bits_for
from kirigami.models.compact.plan import Record
from kirigami.models.compact.streams import Reader, Writer
from kirigami.models.compact.symbols import put_symbols, take_symbols

WIDEST = 8  # bits of a level
STEPS = 2.0 / 2.0 ** numpy.arange(WIDEST + 1)


def write_levels(
    values: Patterns, kind: Kind, levels: Numbers, bits: Numbers, scale: Patterns, place: Place, writer: Writer
) -> Form | None:
    """Store p-bit codes by the parts of their link; return None if the tensor cannot be rebuilt from these.

    Args:
        values: bit patterns of the tensor.
        kind: its type.
        levels: of every weight, 0 or odd and below 2^p.
        bits: p, in a shape that broadcasts to the tensor's.
        scale: one bit pattern.
        place: of the tensor.
        writer: takes the items.
    """
    if kind.name not in COMPUTED or scale.size != 1 or not _are_codes(levels, bits):
        return None
    spread = numpy.broadcast_to(bits, levels.shape)
    mask = levels != 0
    by_weight = bits.size == levels.size > 1
    if not numpy.array_equal(_values(levels, spread, scale, kind), values):
        return None
    stored = spread[mask] if by_weight else bits.reshape(-1)
    widths = numpy.unique(stored)
    if stored.size == 1 and not mask.any():
        widths = widths[:0]
    arguments = [put_mask(mask, place.number, writer)]
    arguments += put_numbers(scale.reshape(-1), kind, place.number, place.number, writer)
    arguments += [sum(1 << width for width in widths.tolist()), _sides(bits, levels.shape)]
    if len(widths) > 1:
        index = numpy.searchsorted(widths, stored)
        arguments.append(put_symbols(index, bits_for(len(widths)), place.number, writer))
    for width in widths.tolist():
        chosen = levels[mask][spread[mask] == width]
        arguments.append(put_symbols((chosen + (1 << width) - 1) // 2, width, place.number, writer))
    return "levels", arguments


def _sides(bits: Numbers, shape: Sequence[int]) -> int:
    """Return which axes a map of bits varies along, as a bit field: the first axis 1, the second 2, the third 4, …"""
    if bits.size == 1:
        return 0
    sides = [1] * (len(shape) - bits.ndim) + [*bits.shape]
    return sum(1 << place for place, side in enumerate(sides) if side > 1)


def _are_codes(levels: Numbers, bits: Numbers) -> bool:
    """Tell whether levels are odd and below 2^p, or zero, and bits p from 0 to 8."""
    if ((bits < 0) | (bits > WIDEST)).any():
        return False
    odd = (levels % 2 == 1) & (abs(levels) < numpy.left_shift(1, bits))
    return bool((odd | (levels == 0)).all())


def _values(levels: Numbers, bits: Numbers, scale: Patterns, kind: Kind) -> Patterns:
    """Return the weights of codes, level · 2^(1-p) · scale; the first product is exact, the second rounds."""
    number = COMPUTED[kind.name]
    steps = STEPS.astype(number)[bits]
    with numpy.errstate(all="ignore"):
        products = patterns(levels.astype(number) * steps * scale.reshape(-1).view(number)[0])
    return numpy.where(levels == 0, numpy.zeros_like(products), products)


def read_levels(record: Record, place: Place, reader: Reader) -> tuple[Patterns, Part]:
    mask, keep, grid, widths, sides, *contexts = record.arguments
    if record.kind.name not in COMPUTED or widths >= 1 << WIDEST + 1 or sides >= 1 << len(record.shape):
        raise ValueError(f"the file's plan has codes of {record.kind.name} with the widths {widths} and sides {sides}.")
    alive = take_mask(record.shape, place.number, mask, reader)
    scale = take_numbers(1, record.kind, place.number, place.number, [keep, grid], reader)
    shape = [side if sides >> axis & 1 else 1 for axis, side in enumerate(record.shape)]
    bits = _read_bits(alive, shape, [p for p in range(WIDEST + 1) if widths >> p & 1], contexts, place, reader)
    spread = numpy.broadcast_to(bits, alive.shape)
    levels = numpy.zeros(record.shape, numpy.int16)
    for width in (p for p in range(WIDEST + 1) if widths >> p & 1):
        chosen = alive & (spread == width)
        index = take_symbols(int(chosen.sum()), width, place.number, contexts.pop(0), reader)
        levels[chosen] = 2 * index - (1 << width) + 1
    values = _values(levels, spread, scale, record.kind)
    return values, Part("levels", levels, bits if bits.size > 1 else bits.reshape(()), scale)


def _read_bits(
    mask: NDArray[numpy.bool_],
    shape: list[int],
    widths: list[int],
    contexts: list[int],
    place: Place,
    reader: Reader,
) -> Numbers:
    """Return the bits of the weights, in a shape that broadcasts to theirs; 0 for zeros where bits are per weight."""
    if len(widths) < 2:
        return numpy.full([1] * mask.ndim, widths[0] if widths else 1, numpy.uint8)
    by_weight = math.prod(shape) == mask.size
    count = int(mask.sum()) if by_weight else math.prod(shape)
    index = take_symbols(count, bits_for(len(widths)), place.number, contexts.pop(0), reader)
    if count and int(index.max()) >= len(widths):
        raise ValueError(f"a map of {len(widths)} widths must be below that, but has {int(index.max())}.")
    stored = numpy.array(widths, numpy.uint8)[index]
    if not by_weight:
        return stored.reshape(shape)
    bits = numpy.zeros(mask.shape, numpy.uint8)
    bits[mask] = stored
    return bits
