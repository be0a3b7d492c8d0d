"""Inputs of a user's rows as tensors: nothing is lost in silence, and all parts have one form."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.several import Tensors, listed
from kirigami.targets import KEY
from kirigami.tasks.answers import array_of

CLOSE = 1e-3  # of a column's deviation that float32 may round off


def inputs_of(part: str, value: Any, vocabulary: Any) -> Tensors:
    """Return inputs as tensors, of one, or of several by place or by name."""
    if isinstance(value, Mapping):
        by_name = vocabulary if isinstance(vocabulary, Mapping) else {}
        return {str(name): _tensor(part, str(name), one, by_name.get(name)) for name, one in value.items()}
    if isinstance(value, tuple):
        counts = vocabulary if isinstance(vocabulary, list) else [None] * len(value)
        pairs = zip(value, counts, strict=True)
        return tuple(_tensor(part, f"input {place}", *pair) for place, pair in enumerate(pairs))
    return _tensor(part, "the inputs", value, vocabulary)


def entries(inputs: Tensors) -> list[tuple[str, Tensor]]:
    if isinstance(inputs, dict):
        return list(inputs.items())
    if isinstance(inputs, tuple):
        return [(f"input {place}", tensor) for place, tensor in enumerate(inputs)]
    return [("the inputs", inputs)]


def _tensor(part: str, name: str, value: Any, vocabulary: int | None) -> Tensor:
    """Return numbers as float32, uint8 included, or as int64 below a vocabulary; nothing is lost in silence."""
    array = array_of(f"{part} {name}", value)
    if array.dtype.kind not in "iufb" or array.ndim < 1:
        raise ArgumentError(KEY, f"gives {part} {name} of {array.dtype}, but numbers of one shape are needed.")
    if array.ndim == 1:
        array = array[:, None]
    if vocabulary is not None:
        return _codes(part, name, array, vocabulary)
    wide = array.astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(narrow))
    if len(wrong):
        row, number = int(wrong[0][0]), float(wide[tuple(wrong[0])])
        why = "that float32 does not hold" if np.isfinite(number) else "that is not finite"
        raise ArgumentError(KEY, f"gives row {row} of {part} a value in {name} {why}: {number!r}.")
    if array.dtype.itemsize > 2:
        lost, spread = np.abs(wide - narrow).max(initial=0), wide.std(axis=0)
        spread = spread[spread > 0].min(initial=np.inf)
        if lost > CLOSE * spread:
            raise ArgumentError(
                KEY, f"gives {part} numbers in {name} that float32 rounds by {lost:.3g}. Subtract their mean first."
            )
    return torch.from_numpy(narrow)


def _codes(part: str, name: str, array: Any, vocabulary: int) -> Tensor:
    whole = array.astype(np.int64)
    if not (whole == array).all() or whole.min(initial=0) < 0 or whole.max(initial=0) >= vocabulary:
        raise ArgumentError(
            "vocabulary", f"={vocabulary} needs whole numbers of 0 to {vocabulary - 1} in {name} of {part}."
        )
    return torch.from_numpy(whole)


def check_differ(inputs: Tensors) -> None:
    """Refuse train rows that are all the same.

    Raises:
        ArgumentError: no input has a row that differs from the first.
    """
    if len(listed(inputs)[0]) > 1 and all(bool((tensor == tensor[:1]).all()) for tensor in listed(inputs)):
        raise ArgumentError(KEY, "gives all train rows the same inputs: there is nothing to learn from.")


def check_alike(part: str, inputs: Tensors, train: Tensors) -> None:
    """Check that the inputs of a part have the names and shapes of those of train.

    Raises:
        ArgumentError: they have others.
    """
    theirs, ours = (dict(entries(value)) for value in (inputs, train))
    for name in dict.fromkeys((*theirs, *ours)):
        if name not in theirs or name not in ours:
            raise ArgumentError(KEY, f"gives ({', '.join(theirs)}) for {part}, and ({', '.join(ours)}) for train.")
        shapes = [f"(rows{''.join(f', {size}' for size in value[name].shape[1:])})" for value in (theirs, ours)]
        if shapes[0] != shapes[1]:
            raise ArgumentError(KEY, f"gives {part} {name} of shape {shapes[0]}, and train of {shapes[1]}.")


def shared_rows(train: Tensors, validation: Tensors) -> list[str]:
    """Return a line where rows of validation are in train too: a network may know these by heart."""
    train_hashes, hashes = (_hashes(inputs) for inputs in (train, validation))
    count = int(np.isin(hashes, train_hashes).sum())
    if not count:
        return []
    are = "is" if count == 1 else "are"
    return [f"validation: {count} of {len(hashes)} rows {are} in the train part too, to the last digit."]


def _hashes(inputs: Tensors) -> Any:
    rows = zip(*(tensor.contiguous().numpy() for tensor in listed(inputs)), strict=True)
    return np.array([hash(tuple(part.tobytes() for part in row)) for row in rows])
