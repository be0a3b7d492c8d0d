"""Items of one kind stand together over the whole network: all masks, all levels of two bits, all floats."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from models.compact.pack import Items, expand, shrink

# What a column holds; a number behind a name is the bits of an item.
NUMBERS = {
    name: getattr(torch, name)
    for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8")
}
KNOWN = re.compile(r"(mask|bool)1|(map|index|levels)[1-8]|" + "|".join(NUMBERS))


def width_of(column: str) -> int:
    """Return the bits of an item, which end the column's name."""
    return int(re.findall(r"\d+$", column)[0])


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a type of numbers, such as `float32`."""
    return str(dtype).removeprefix("torch.")


class Writer:
    """Collects items by column, and compresses each column at the end."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Items]] = {}

    def put(self, column: str, items: Items) -> None:
        """Append unsigned items of the column's width."""
        assert KNOWN.fullmatch(column), column
        if items.size:
            self.columns.setdefault(column, []).append(items)

    def put_small(self, column: str, values: Tensor, width: int) -> None:
        """Append small whole numbers to the column of their width; numbers of no bits need no storing."""
        if width:
            self.put(f"{column}{width}", values.reshape(-1).to(torch.uint8).numpy())

    def put_numbers(self, values: Tensor) -> None:
        """Append a tensor to the column of its type, to the bit."""
        if values.dtype == torch.bool:
            self.put_small("bool", values, 1)
            return
        flat = values.contiguous().reshape(-1)
        self.put(dtype_name(values.dtype), flat.view(torch.uint8).numpy().view(f"u{values.element_size()}"))

    def finish(self, level: int) -> tuple[dict[str, list[Any]], dict[str, bytes]]:
        """Return {column: [coding, items]} and {column: bytes}."""
        table: dict[str, list[Any]] = {}
        streams: dict[str, bytes] = {}
        for column, parts in sorted(self.columns.items()):
            items = numpy.concatenate(parts)
            coding, streams[column] = shrink(items, width_of(column), level)
            table[column] = [coding, items.size]
        return table, streams


class Reader:
    """Hands out the items of each column in the order in which they were put.

    Args:
        table: {column: [coding, items]} of the plan.
        streams: {column: bytes} of the file.
        limit: bytes that all columns may take in memory.

    Raises:
        ValueError: where the table and the streams do not belong together, or the limit is passed.
    """

    def __init__(self, table: Mapping[str, Any], streams: Mapping[str, bytes], limit: int) -> None:
        if set(table) != set(streams):
            raise ValueError(
                f"the streams must be ({', '.join(sorted(table))}), but are ({', '.join(sorted(streams))})."
            )
        for column, entry in table.items():
            if not (KNOWN.fullmatch(column) and isinstance(entry, list) and len(entry) == 2 and is_size(entry[1])):
                raise ValueError(f"the plan's column {column!r} cannot be read.")
        size = sum(entry[1] * math.ceil(width_of(column) / 8) for column, entry in table.items())
        if size > limit:
            raise ValueError(f"the file declares {size} bytes of contents, and at most {limit} are allowed.")
        self.columns = {
            column: expand(streams[column], coding, width_of(column), count)
            for column, (coding, count) in table.items()
        }
        self.taken = dict.fromkeys(table, 0)

    def take(self, column: str, count: int) -> Items:
        """Return the next items of a column.

        Raises:
            ValueError: where it has no so many.
        """
        start = self.taken.get(column, 0)
        found = self.columns.get(column, numpy.empty(0, numpy.uint8))[start : start + count]
        if found.size != count:
            raise ValueError(f"the column {column!r} has {found.size} items left where {count} are needed.")
        self.taken[column] = start + count
        return found

    def take_small(self, column: str, count: int, width: int) -> Tensor:
        """Return the next whole numbers (count,) of a width, as bytes."""
        if not width:
            return torch.zeros(count, dtype=torch.uint8)
        return torch.from_numpy(self.take(f"{column}{width}", count).copy())

    def take_numbers(self, dtype: str, count: int) -> Tensor:
        """Return the next numbers (count,) of a type."""
        if dtype == "bool":
            return self.take_small("bool", count, 1).bool()
        if not count:
            return torch.empty(0, dtype=NUMBERS[dtype])
        return torch.from_numpy(self.take(dtype, count).copy().view(numpy.uint8)).view(NUMBERS[dtype])

    def finish(self) -> None:
        """Check that nothing is left over.

        Raises:
            ValueError: where something is.
        """
        for column, items in self.columns.items():
            if self.taken[column] != items.size:
                raise ValueError(f"the column {column!r} has {items.size - self.taken[column]} items too many.")


def is_size(value: object) -> bool:
    """Tell whether a value read from a file is a whole number from 0 to 2^48."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1 << 48
