"""What the targets of a user's rows are: classes, labels, values or pixels; by the train rows, for all parts alike."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kirigami.errors import ArgumentError, choose
from kirigami.tasks.metrics import IGNORED

KINDS = ("classes", "labels", "values", "pixels")
MOST_CLASSES = 20  # of whole numbers, beyond which they may as well be values


@dataclass(frozen=True)
class Answers:
    """Turns targets as a user has them into those of a task.

    Attributes:
        kind: of the task.
        classes: names of class numbers or labels; None for values.
        values: of the classes, sorted, as the targets have them.
        width: numbers of a row, of values.
    """

    kind: str
    classes: tuple[str, ...] | None = None
    values: NDArray[Any] | None = None
    width: int = 1

    @classmethod
    def learn(cls, targets: Any, kind: str | None, names: tuple[str, ...] | None) -> "Answers":
        """Learn from the targets of the train rows.

        Args:
            targets: (N, ...), of numbers or words.
            kind: one of `KINDS`; None reads it off the targets.
            names: of the classes, in the order of their numbers; None takes the values.

        Raises:
            ArgumentError: the kind cannot be told, or does not suit the targets.
        """
        array = _array(targets)
        kind = _kind_of(array) if kind is None else choose("kind", kind, KINDS)
        if kind == "values":
            if array.dtype.kind not in "iufb" or array.ndim > 2:
                raise ArgumentError("kind", f"=values needs numbers (rows,) or (rows, D), but got {_shown(array)}.")
            if (array == array[:1]).all():
                raise ArgumentError("_target_", f"gives all train rows the same value, {array.flat[0].item()!r}.")
            return cls(kind, width=array.size // len(array))
        if kind == "labels":
            if array.ndim != 2 or not _is_binary(array):
                raise ArgumentError("kind", f"=labels needs 0 and 1 in (rows, labels), but got {_shown(array)}.")
            return cls(kind, _named(names, array.shape[1], [str(place) for place in range(array.shape[1])]))
        if kind == "pixels":
            return _of_pixels(array, names)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise ArgumentError("kind", f"=classes needs one class a row, (rows,), but got {_shown(array)}.")
        return _of_classes(array, names)

    def __call__(self, part: str, targets: Any) -> Tensor:
        """Return the targets of a part: see `Parts`.

        Raises:
            ArgumentError: a target is none that train has, or of another shape.
        """
        array = _array(targets)
        if self.kind == "values":
            if array.dtype.kind not in "iufb" or array.ndim > 2 or array.size != len(array) * self.width:
                raise ArgumentError("_target_", f"gives {part} the targets {_shown(array)}, unlike those of train.")
            return _finite(part, array.astype(np.float64)).reshape(len(array), -1)
        if self.kind == "labels":
            if array.ndim != 2 or array.shape[1] != len(self.classes or ()) or not _is_binary(array):
                raise ArgumentError("_target_", f"gives {part} the targets {_shown(array)}, unlike those of train.")
            return torch.from_numpy(array.astype(np.float32))
        if self.kind == "pixels":
            return _pixels(part, array, len(self.classes or ()))
        assert self.values is not None
        if (array.dtype.kind in "US") != (self.values.dtype.kind in "US"):
            raise ArgumentError("_target_", f"gives {part} the targets {_shown(array)}, unlike those of train.")
        flat = array.reshape(-1)
        place = np.searchsorted(self.values, flat).clip(max=len(self.values) - 1)
        unknown = np.flatnonzero(self.values[place] != flat)
        if len(unknown):
            value = flat[unknown[0]].item()
            raise ArgumentError("_target_", f"gives row {unknown[0]} of {part} the class {value!r}, which train lacks.")
        return torch.from_numpy(self._numbers()[place])

    def _numbers(self) -> NDArray[np.int64]:
        """Return the number of each value: by its name's place where the user has named the classes in words."""
        assert self.values is not None
        assert self.classes is not None
        if self.values.dtype.kind in "US":
            return np.array([self.classes.index(str(value)) for value in self.values])
        return np.arange(len(self.values))


def _of_classes(array: NDArray[Any], names: tuple[str, ...] | None) -> Answers:
    values = np.unique(array)
    if array.dtype.kind == "f" and not (np.isfinite(values).all() and (values == values.round()).all()):
        raise ArgumentError(
            "kind", f"=classes needs whole numbers or words, but got {_shown(array)}.", ("kind", "values")
        )
    if len(values) < 2:
        raise ArgumentError("_target_", f"gives the train rows one class only, {values[0].item()!r}.")
    words = [str(value) if array.dtype.kind in "USb" else str(int(value)) for value in values]
    if names is not None and array.dtype.kind in "US":
        if set(words) - set(names):
            raise ArgumentError("classes", f"must name {sorted(set(words) - set(names))[0]!r} too, which train has.")
        return Answers("classes", names, values)
    if names is not None and array.dtype.kind != "b":  # numbers of classes, of which train may lack some
        if values.min() < 0 or values.max() >= len(names):
            raise ArgumentError("classes", f"has {len(names)} names, but the class numbers reach {int(values.max())}.")
        return Answers("classes", names, np.arange(len(names)).astype(array.dtype))
    return Answers("classes", _named(names, len(values), words), values)


def _of_pixels(array: NDArray[Any], names: tuple[str, ...] | None) -> Answers:
    if array.ndim != 3 or array.dtype.kind not in "iub":
        raise ArgumentError("kind", f"=pixels needs class numbers (rows, height, width), but got {_shown(array)}.")
    values = np.unique(array.astype(np.int64))
    values = values[values != IGNORED]
    if values.min(initial=0) < 0 or (names is None and values.max(initial=0) >= max(2, 2 * len(values))):
        odd = values.min() if values.min() < 0 else values.max()
        raise ArgumentError(
            "_target_", f"gives pixels the class {odd}: classes are numbered from 0, and {IGNORED} does not count."
        )
    if len(values) < 2:
        which = f"the class {values[0]} only" if len(values) else f"no class: all pixels are {IGNORED}"
        raise ArgumentError("_target_", f"gives the pixels of the train rows {which}.")
    count = int(values.max()) + 1 if names is None else len(names)
    return Answers("pixels", _named(names, count, [str(place) for place in range(count)]))


def _pixels(part: str, array: NDArray[Any], classes: int) -> Tensor:
    targets = torch.from_numpy(array.astype(np.int64))
    odd = targets[(targets != IGNORED) & ((targets < 0) | (targets >= classes))]
    if targets.ndim != 3 or len(odd):
        value = int(odd[0]) if len(odd) else tuple(targets.shape)
        raise ArgumentError("_target_", f"gives pixels of {part} the class {value}, but train has {classes}.")
    return targets


def _kind_of(array: NDArray[Any]) -> str:
    """Tell the kind of targets from their type and shape.

    Raises:
        ArgumentError: it may be two.
    """
    whole = array.dtype.kind in "iub"
    if array.ndim == 1 and array.dtype.kind in "USb":
        return "classes"
    if array.ndim == 1 and whole:
        count = len(np.unique(array))
        if count > MOST_CLASSES:
            raise ArgumentError("kind", f"must be said, classes or values: the targets are {count} different numbers.")
        return "classes"
    if array.ndim == 2 and array.shape[1] > 1 and _is_binary(array):
        if (array.sum(axis=1) == 1).all():
            raise ArgumentError("kind", "must be said: every row has one 1. Give class numbers, or set kind=labels.")
        return "labels"
    if array.ndim <= 2 and array.dtype.kind == "f":
        return "values"
    if array.ndim == 3 and whole:
        return "pixels"
    raise ArgumentError("kind", f"must be said, one of ({', '.join(KINDS)}), for targets of {_shown(array)}.")


def array_of(what: str, value: Any) -> NDArray[Any]:
    """Return an array of what a user gives: a tensor, an array, a frame, or lists of one length.

    Raises:
        ArgumentError: it is none of these, or empty.
    """
    if isinstance(value, np.ma.MaskedArray) and np.ma.getmaskarray(value).any():
        raise ArgumentError("_target_", f"gives {what} with masked values. Fill them, or leave their rows out.")
    try:
        array = _whole(what, value)
    except ArgumentError:
        raise
    except ValueError as error:
        raise ArgumentError("_target_", f"gives {what} of different lengths or shapes. Pad or cut them.") from error
    if not array.shape or not len(array):
        raise ArgumentError("_target_", f"gives no rows for {what}.")
    return array


def _whole(what: str, value: Any) -> NDArray[Any]:
    if isinstance(value, Tensor):
        tensor = value.detach().cpu().to_dense()
        return np.asarray(tensor.float() if tensor.dtype == torch.bfloat16 else tensor)
    if hasattr(value, "toarray"):  # a sparse matrix of scipy
        return np.asarray(value.toarray())
    if hasattr(value, "columns") and hasattr(value, "iloc"):
        return _of_frame(what, value)
    array = np.asarray(value)
    if isinstance(value, list) and array.dtype.kind == "U" and array.ndim == 1:
        return np.array(value, dtype=object)  # words, or words with gaps, which numpy writes as words
    return np.char.decode(array, "utf-8") if array.dtype.kind == "S" else array


def _of_frame(what: str, frame: Any) -> NDArray[Any]:
    """Return the numbers of a frame of pandas, gaps as NaN."""
    array = np.asarray(frame)
    if array.dtype.kind != "O" or all(isinstance(value, str) for value in array.flat):
        return array
    for name, dtype in frame.dtypes.items():
        if getattr(dtype, "kind", "O") not in "iufb":
            raise ArgumentError("_target_", f"gives {what} a column {name!r} of type {dtype}, but numbers are needed.")
    return np.asarray(frame.to_numpy(dtype="float64", na_value=np.nan))


def _array(targets: Any) -> NDArray[Any]:
    array = array_of("the targets", targets)
    if array.dtype.kind not in "OT":
        return array
    if all(isinstance(value, str) for value in array.flat):
        return array.astype(str)
    gaps = [row for row, value in enumerate(array.flat) if _is_gap(value)]
    if gaps and all(isinstance(value, str) or _is_gap(value) for value in array.flat):
        raise ArgumentError("_target_", f"gives row {gaps[0]} no target. Leave it out, or name a class for such rows.")
    raise ArgumentError("_target_", "gives targets that are neither numbers nor words, or of different lengths.")


def _is_gap(value: Any) -> bool:
    """Tell whether something stands for nothing: None, NaN, or what pandas has for it."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def _is_binary(array: NDArray[Any]) -> bool:
    return array.dtype.kind in "iufb" and bool(((array == 0) | (array == 1)).all())


def _named(names: tuple[str, ...] | None, count: int, words: list[str]) -> tuple[str, ...]:
    if names is not None and len(names) != count:
        raise ArgumentError("classes", f"must have {count} names, but has {len(names)}.")
    return names or tuple(words)


def _finite(part: str, array: NDArray[np.float64]) -> Tensor:
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        raise ArgumentError("_target_", f"gives row {wrong[0][0]} of {part} a target that is not finite.")
    return torch.from_numpy(array)


def _shown(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
