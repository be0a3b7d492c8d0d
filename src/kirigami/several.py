"""What a network takes or gives: a tensor, or several, by their place in a tuple or by name in a dictionary."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Tensors: TypeAlias = Any
"""A Tensor (N, ...), a tuple of them, or a dictionary of them by name; all of one N."""


def each(function: Callable[[Tensor], Any], value: Tensors) -> Any:
    """Return the value of a function for each tensor, in the same form."""
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, dict):
        return {name: function(part) for name, part in value.items()}
    return tuple(function(part) for part in value)


def listed(value: Tensors) -> list[Tensor]:
    """Return the tensors in order; of anything else, itself."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, tuple | list) else [value]


def length(value: Tensors) -> int:
    """Return N."""
    return len(listed(value)[0])


def joined(values: Sequence[Tensors]) -> Tensors:
    """Join values of one form along their first axis."""
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(list(values))
    if isinstance(first, dict):
        return {name: torch.cat([value[name] for value in values]) for name in first}
    return tuple(torch.cat(list(parts)) for parts in zip(*values, strict=True))


def cut(value: Tensors, rows: slice) -> Tensors:
    """Return some rows of a tensor, or of each of several."""
    return each(lambda part: part[rows], value)


def shape_of(value: Tensors) -> Any:
    """Return the shape of one sample: a tuple of numbers, or one for each tensor, in the same form."""
    return each(lambda part: tuple(part.shape[1:]), value)


def empty_rows(inputs: Tensor) -> Tensor:
    """Return two zero rows like those of inputs, numbers as float32."""
    dtype = torch.float32 if inputs.dtype.is_floating_point else inputs.dtype
    return torch.zeros(2, *inputs.shape[1:], dtype=dtype)


def run(network: Callable[..., Any], inputs: Tensors) -> Any:
    """Call a network with its inputs: one as it is, several by place or by name."""
    if isinstance(inputs, Tensor):
        return network(inputs)
    return network(**inputs) if isinstance(inputs, dict) else network(*inputs)
