"""The forms in which one tensor is stored, each a way to write it and the way to read it back to the bit.

same: a tensor stored before. plain: its numbers. sparse: a mask of what is not zero, and those numbers. palette: the
same, the numbers being few different ones, which are listed once. levels: the same, the numbers being p-bit codes of
`models.bits`. mixed: a row of coefficients over templates that several layers share. whole: whole numbers, as bytes.
truths: a mask. constant: one number, which all are.

Everything here is done on bit patterns in plain numpy. Zeros come back as +0.
"""

from collections.abc import Mapping
from typing import Any

import numpy
from numpy.typing import NDArray

from kirigami.models.compact.chances import Model
from kirigami.models.compact.kinds import Kind, Patterns
from kirigami.models.compact.levels import WIDEST, read_levels
from kirigami.models.compact.masks import put_mask, take_mask
from kirigami.models.compact.mixing import ORDERS, mix
from kirigami.models.compact.numbers import numbers_size, put_numbers, take_numbers
from kirigami.models.compact.parts import Form, Part, Place, bits_for
from kirigami.models.compact.plan import Record
from kirigami.models.compact.streams import Reader, Writer
from kirigami.models.compact.symbols import mask_size, put_symbols, symbols_size, take_symbols
from kirigami.models.compact.text import put_bytes, take_bytes

PALETTE = 256  # different numbers at most
MASKED = 0.05  # bits that a mask's contexts may be expected to save for each zero


# Writing: each takes bit patterns and returns the form and its arguments for the plan.


def write_values(values: Patterns, kind: Kind, place: Place, writer: Writer) -> Form:
    """Store numbers of any shape in the form with the smallest estimated size."""
    if kind.name == "bool":
        return "truths", [put_mask(values != 0, place.number, writer)]
    if not kind.floats:
        return "whole", [_put_whole(values.reshape(-1), writer)]
    if values.size and (values == values.reshape(-1)[0]).all():
        return "constant", put_numbers(values.reshape(-1)[:1], kind, place.number, place.alike, writer)
    mask = values != 0
    nonzero = values[mask]
    masked = mask_size(mask)
    colours, index = numpy.unique(nonzero, return_inverse=True) if _are_few(nonzero) else (nonzero[:0], nonzero)
    sizes = {"plain": numbers_size(values.reshape(-1), kind)}
    if nonzero.size < values.size:
        sizes = {"sparse": masked + numbers_size(nonzero, kind) - MASKED * (values.size - nonzero.size), **sizes}
    if colours.size:
        sizes["palette"] = masked + numbers_size(colours, kind) + symbols_size(index)
    form = min(sizes, key=lambda form: sizes[form])
    if form == "plain":
        return form, put_numbers(values.reshape(-1), kind, place.number, place.alike, writer)
    arguments = [put_mask(mask, place.number, writer)]
    if form == "sparse":
        return form, arguments + put_numbers(nonzero, kind, place.number, place.alike, writer)
    arguments += [colours.size, *put_numbers(colours, kind, place.number, place.alike, writer)]
    width = bits_for(colours.size)
    return form, [*arguments, put_symbols(index.astype(numpy.int64), width, place.number, writer)]


def _are_few(values: Patterns) -> bool:
    """Tell whether there are few distinct numbers; the first ones are checked alone, since that is mostly enough."""
    return len(numpy.unique(values[: 4 * PALETTE])) <= PALETTE and len(numpy.unique(values)) <= PALETTE


def write_mixed(
    values: Patterns,
    kind: Kind,
    row: Patterns,
    factor: Patterns,
    mask: NDArray[numpy.bool_],
    templates: Patterns,
    bank: int,
    place: Place,
    writer: Writer,
) -> Form | None:
    """Store the coefficients (k,) of a mix of templates (k, *shape), its mask, and the differences in rounding."""
    tries = []
    for order in range(len(ORDERS)):
        gap = values.astype(numpy.int64) - mix(row, templates, mask, factor, kind, order).astype(numpy.int64)
        folded = (gap << 1 ^ gap >> 63)[mask]
        tries.append((int(folded.max(initial=0)), int(numpy.count_nonzero(folded)), order, folded))
    highest, _, order, folded = min(tries, key=lambda attempt: attempt[1])
    width = bits_for(highest + 1)
    if width > WIDEST or (values[~mask] != 0).any():
        return None
    arguments = [put_mask(mask, place.number, writer), place.number - bank, order]
    arguments += put_numbers(numpy.concatenate([factor.reshape(-1), row]), kind, place.number, place.number, writer)
    return "mixed", [*arguments, width, put_symbols(folded, width, place.number, writer)]


WHOLE = Model("whole", (16, 16, 12, 8, 6, 4))
MODELLED = 1 << 12  # bytes of whole numbers that are modelled


def _put_whole(values: Patterns, writer: Writer) -> int:
    """Append whole numbers (n,); return the bytes of their blob, 0 where they are modelled."""
    if values.nbytes > MODELLED or not writer.claim(8 * values.nbytes):
        return writer.put_planes(values)
    put_bytes(values.tobytes(), writer, WHOLE)
    return 0


# Reading.


def read_form(record: Record, place: Place, before: Mapping[int, Patterns], reader: Reader) -> tuple[Patterns, Part]:
    """Return the bit patterns of a record's tensor, in its shape, and how it was stored; `same` is not for here.

    Raises:
        ValueError: where the arguments are none of this form, or the file holds too little.
    """
    kind, shape, arguments = record.kind, record.shape, record.arguments
    if (record.form == "truths") != (kind.name == "bool") or (record.form == "whole") == (
        kind.floats or kind.name == "bool"
    ):
        raise ValueError(f"the plan's form {record.form!r} is not for {kind.name!r}.")
    if record.form == "truths":
        return take_mask(shape, place.number, arguments[0], reader).astype(numpy.uint8), Part("truths")
    if record.form == "whole":
        return _take_whole(record, reader).reshape(shape), Part("whole")
    if record.form == "plain":
        values = take_numbers(record.count, kind, place.number, place.alike, arguments, reader)
        return values.reshape(shape), Part("plain")
    if record.form == "constant":
        values = take_numbers(1, kind, place.number, place.alike, arguments, reader)
        return numpy.full(shape, values[0], values.dtype), Part("constant")
    if record.form == "levels":
        return read_levels(record, place, reader)
    mask = take_mask(shape, place.number, arguments[0], reader)
    if record.form == "mixed":
        return _read_mixed(record, place, mask, before, reader), Part("mixed")
    count = int(mask.sum())
    if record.form == "sparse":
        nonzero = take_numbers(count, kind, place.number, place.alike, arguments[1:], reader)
    else:
        nonzero = _read_palette(count, record, place, reader)
    values = numpy.zeros(shape, f"u{kind.size}")
    values[mask] = nonzero
    return values, Part(record.form)


def _read_palette(count: int, record: Record, place: Place, reader: Reader) -> Patterns:
    size = record.arguments[1]
    if not 1 <= size <= PALETTE:
        raise ValueError(f"a palette must have 1 to {PALETTE} numbers, but has {size}.")
    colours = take_numbers(size, record.kind, place.number, place.alike, record.arguments[2:4], reader)
    index = take_symbols(count, bits_for(size), place.number, record.arguments[4], reader)
    if count and int(index.max()) >= size:
        raise ValueError(f"an index into {size} numbers must be below {size}, but one is {int(index.max())}.")
    return colours[index]


def _read_mixed(
    record: Record, place: Place, mask: NDArray[numpy.bool_], before: Mapping[int, Patterns], reader: Reader
) -> Patterns:
    _, back, order, keep, grid, width, contexts = record.arguments
    templates = before.get(place.number - back)
    if templates is None or templates.shape[1:] != record.shape or not templates.ndim == len(record.shape) + 1:
        raise ValueError(f"the file's plan mixes templates for {record.name!r} that are not there.")
    if templates.itemsize != record.kind.size or order >= len(ORDERS) or width > WIDEST:
        raise ValueError(f"the file's plan mixes templates for {record.name!r} in an unknown way.")
    numbers = take_numbers(1 + len(templates), record.kind, place.number, place.number, [keep, grid], reader)
    folded = take_symbols(int(mask.sum()), width, place.number, contexts, reader)
    values = mix(numbers[1:], templates, mask, numbers[:1], record.kind, order)
    gap = (folded >> 1) ^ -(folded & 1)
    values[mask] = (values[mask].astype(numpy.int64) + gap).astype(values.dtype)
    return values


def _take_whole(record: Record, reader: Reader) -> NDArray[Any]:
    size, count = record.arguments[0], record.count
    if size:
        return reader.take_planes(size, record.kind.size, count)
    bytes_ = count * record.kind.size
    if bytes_ > MODELLED:
        raise ValueError(f"at most {MODELLED} bytes of whole numbers are modelled, but {bytes_} are declared.")
    reader.spend(8 * bytes_)
    return numpy.frombuffer(take_bytes(bytes_, reader, WHOLE), f"<u{record.kind.size}")
