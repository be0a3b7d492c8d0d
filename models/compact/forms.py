"""The forms in which one tensor is stored, each a way to write it and the way to read it back to the bit.

plain: its numbers. sparse: a mask of what is not zero, and those numbers. palette: the same, the numbers being few
different ones, which are listed once. levels: the same, the numbers being p-bit codes of `models.bits`. mixed: a row
of coefficients over templates that several layers share. same: a tensor stored before. half: numbers cut to float16.

A form's arguments stand in the plan, its numbers in columns. Zeros of masked tensors come back as +0.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from models.bits.levels import decode as decode_levels
from models.compact.columns import NUMBERS, Reader, Writer

PALETTE = 256  # different numbers at most
FLOATS = tuple(name for name, dtype in NUMBERS.items() if dtype.is_floating_point)


def bits_for(count: int) -> int:
    """Return the bits that tell `count` different things apart."""
    return max(0, count - 1).bit_length()


# Writing: each takes what is stored and returns the arguments for the plan.


def write_values(tensor: Tensor, writer: Writer) -> list[Any]:
    """Store a tensor as plain, sparse or palette, whichever fills the fewest bits before compression."""
    kept = tensor[tensor != 0] if tensor.is_floating_point() else tensor.reshape(-1)
    distinct = _distinct(kept)
    width, size = bits_for(len(distinct)), 8 * tensor.element_size()
    masked = kept.numel() < tensor.numel()
    sizes = {
        "plain": tensor.numel() * size,
        "sparse": masked * tensor.numel() + kept.numel() * size,
        "palette": masked * tensor.numel() + kept.numel() * width + len(distinct) * size,
    }
    if not tensor.is_floating_point() or not len(distinct) or len(distinct) > PALETTE:
        del sizes["palette"]
    form = min(sizes, key=lambda form: sizes[form])
    if form == "plain" or not tensor.is_floating_point():
        writer.put_numbers(tensor)
        return ["plain"]
    _write_mask(tensor != 0, writer)
    if form == "sparse":
        writer.put_numbers(kept)
        return ["sparse", int(masked)]
    writer.put_numbers(distinct)
    writer.put_small("index", torch.searchsorted(distinct, kept), width)
    return ["palette", int(masked), len(distinct)]


def _distinct(kept: Tensor) -> Tensor:
    """Return the sorted different numbers, if a look at a part of them does not show that they are too many."""
    head = torch.unique(kept[: 4 * PALETTE])
    few = len(head) <= PALETTE and not bool(kept.isnan().any())
    return torch.unique(kept) if few else kept


def write_levels(tensor: Tensor, parts: Mapping[str, Tensor], writer: Writer) -> list[Any] | None:
    """Store p-bit codes by the parts of their link; None where these do not give the tensor back."""
    if not {"levels", "bits", "scale"} <= set(parts):
        return None
    levels, bits, scale = (parts[key].detach().cpu() for key in ("levels", "bits", "scale"))
    if scale.numel() != 1 or scale.dtype != tensor.dtype or not _are_codes(levels, bits):
        return None
    if not torch.equal(decode_levels(levels, bits, scale), tensor):
        return None
    kept = levels != 0
    spread = bits.expand_as(levels)[kept]
    whole = bits.numel() == levels.numel()
    stored = spread if whole else bits.reshape(-1)
    widths = torch.unique(stored if len(spread) else spread)
    _write_mask(kept, writer)
    writer.put_numbers(scale)
    if len(widths) > 1:
        writer.put_small("map", torch.searchsorted(widths, stored), bits_for(len(widths)))
    for width in widths.tolist():
        chosen = levels[kept][spread == width].to(torch.int32)
        writer.put_small("levels", (chosen + (1 << width) - 1) // 2, width)
    return ["levels", int(not kept.all()), widths.tolist(), None if whole else list(bits.shape)]


def _are_codes(levels: Tensor, bits: Tensor) -> bool:
    """Tell whether levels are odd and below 2^p, or zero, and bits p from 0 to 8."""
    if levels.is_floating_point() or bits.is_floating_point() or not bool(((bits >= 0) & (bits <= 8)).all()):
        return False
    top = torch.bitwise_left_shift(torch.ones_like(bits, dtype=torch.int32), bits.to(torch.int32))
    wide = levels.to(torch.int32)
    return bool((((wide % 2 == 1) & (wide.abs() < top)) | (wide == 0)).all())


def write_mixed(
    tensor: Tensor, parts: Mapping[str, Tensor], ones: Tensor, bank: Callable[[Tensor], int], writer: Writer
) -> list[Any] | None:
    """Store the coefficients of a mix and the mask on it; None where these do not give the tensor back.

    Args:
        tensor: the weight.
        parts: of the link that mixes.
        ones: what the links after it make of ones: zeros, and one number wherever something is kept.
        bank: stores templates (k, *shape) unless it has them, and returns their number.
        writer: takes the items.
    """
    if not {"coefficients", "templates"} <= set(parts):
        return None
    row, templates = parts["coefficients"].detach().cpu(), parts["templates"].detach().cpu()
    kept = ones != 0
    factors = torch.unique(ones[kept])
    if len(factors) != 1 or row.dtype != tensor.dtype or templates.dtype != tensor.dtype:
        return None
    if templates.shape[1:] != tensor.shape or not torch.equal(_mix(row, templates, kept, factors), tensor):
        return None
    number = bank(templates)
    _write_mask(kept, writer)
    writer.put_numbers(factors)
    writer.put_numbers(row)
    return ["mixed", int(not kept.all()), number]


def _mix(row: Tensor, templates: Tensor, kept: Tensor, factor: Tensor) -> Tensor:
    """Return the weight that coefficients (k,) make of templates (k, *shape), as `models.sharing` computes it."""
    return (row @ templates.flatten(1)).reshape(templates.shape[1:]) * (kept * factor)


def _write_mask(kept: Tensor, writer: Writer) -> None:
    if not kept.all():
        writer.put_small("mask", kept, 1)


# Reading: each takes the shape, the type's name and the arguments.


def read_form(
    shape: Sequence[int], dtype: str, form: str, arguments: list[Any], reader: Reader, banks: list[Tensor]
) -> Tensor:
    """Return a tensor of the shape and type that a form and its arguments describe.

    Raises:
        ValueError: where the arguments are none of this form, or the columns hold too little.
    """
    count = math.prod(shape)
    if form == "plain" and not arguments:
        return reader.take_numbers(dtype, count).reshape(shape)
    if dtype not in FLOATS:
        raise ValueError(f"the plan's form {form!r} is not for {dtype!r}.")
    if form == "half" and not arguments:
        return reader.take_numbers("float16", count).to(NUMBERS[dtype]).reshape(shape)
    match [form, *arguments]:
        case ["sparse", 0 | 1 as masked]:
            kept = _read_mask(masked, count, reader)
            values = reader.take_numbers(dtype, int(kept.sum()))
        case ["palette", 0 | 1 as masked, int(size)] if 1 <= size <= PALETTE:
            kept = _read_mask(masked, count, reader)
            values = _read_palette(int(kept.sum()), size, dtype, reader)
        case ["levels", 0 | 1 as masked, list(widths), None | list() as spread] if _are_widths(widths):
            kept = _read_mask(masked, count, reader)
            values = _read_levels(kept.reshape(shape), widths, spread, dtype, reader)
        case ["mixed", 0 | 1 as masked, int(bank)] if _fits(banks[bank : bank + 1], shape):
            kept = _read_mask(masked, count, reader).reshape(shape)
            factor = reader.take_numbers(dtype, 1)
            return _mix(reader.take_numbers(dtype, len(banks[bank])), banks[bank], kept, factor)
        case _:
            raise ValueError(f"the plan's form {form!r} cannot be read.")
    found = torch.zeros(count, dtype=NUMBERS[dtype])
    found[kept] = values
    return found.reshape(shape)


def _fits(bank: list[Tensor], shape: Sequence[int]) -> bool:
    return bool(bank) and list(bank[0].shape[1:]) == list(shape) and bank[0].dim() > len(shape)


def _are_widths(widths: list[Any]) -> bool:
    return all(isinstance(width, int) and 0 <= width <= 8 for width in widths) and len(set(widths)) == len(widths)


def _read_mask(masked: int, count: int, reader: Reader) -> Tensor:
    return reader.take_small("mask", count, 1).bool() if masked else torch.ones(count, dtype=torch.bool)


def _read_palette(count: int, size: int, dtype: str, reader: Reader) -> Tensor:
    colours = reader.take_numbers(dtype, size)
    index = reader.take_small("index", count, bits_for(size)).long()
    if count and int(index.max()) >= size:
        raise ValueError(f"an index into {size} numbers must be below {size}, but one is {int(index.max())}.")
    return colours[index]


def _read_levels(kept: Tensor, widths: list[int], shape: list[int] | None, dtype: str, reader: Reader) -> Tensor:
    """Return the values at the ones of a mask, in order."""
    scale = reader.take_numbers(dtype, 1)
    bits = _read_bits(kept, widths, shape, reader)
    levels = torch.zeros(len(bits), dtype=torch.int32)
    for width in widths:
        chosen = bits == width
        index = reader.take_small("levels", int(chosen.sum()), width)
        levels[chosen] = 2 * index.to(torch.int32) - (1 << width) + 1
    return decode_levels(levels, bits, scale)


def _read_bits(kept: Tensor, widths: list[int], shape: list[int] | None, reader: Reader) -> Tensor:
    """Return the bits of each weight that is kept."""
    count = int(kept.sum())
    if len(widths) < 2:
        return torch.full((count,), widths[0] if widths else 1, dtype=torch.uint8)
    size = count if shape is None else math.prod(shape)
    index = reader.take_small("map", size, bits_for(len(widths))).long()
    if size and int(index.max()) >= len(widths):
        raise ValueError(f"a map of {len(widths)} widths must be below that, but has {int(index.max())}.")
    bits = torch.tensor(widths, dtype=torch.uint8)[index]
    return bits if shape is None else bits.reshape(shape).expand_as(kept)[kept]
