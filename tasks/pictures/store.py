"""The decoded pictures of a part, each decoded once in a process and only those asked for."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError
from kirigami.tasks.pictures.decode import EIGHT, SIXTEEN, Rules, decode, size_of
from kirigami.tasks.pictures.modes import UnusablePicture, kind_of
from kirigami.tasks.pictures.source import Source
from kirigami.tasks.pictures.sources import Columns, Stamp, no_pictures, open_part


class PictureStore:
    """The pictures of one part: labels known at once, pixels decoded when first asked for and kept.

    Args:
        source: the part.
        rules: what every picture is brought to.
    """

    def __init__(self, source: Source, rules: Rules) -> None:
        self.source, self.rules = source, rules
        self.changes: Counter[str] = Counter()
        shape = (len(source.labels), rules.channels, rules.height, rules.width)
        try:
            self._pixels: NDArray[Any] = np.empty(shape, dtype=rules.dtype)
        except MemoryError:
            raise _too_large(shape, np.dtype(rules.dtype).itemsize) from None
        self._is_decoded = np.zeros(len(source.labels), dtype=bool)

    def __len__(self) -> int:
        return len(self._is_decoded)

    @property
    def decoded(self) -> int:
        """Count the pictures that are decoded."""
        return int(self._is_decoded.sum())

    def pixels(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the pictures of these rows: (N, C, H, W) of the rules' type, a copy.

        Raises:
            ArgumentError: naming the picture that cannot be had.
        """
        missing = np.unique(rows[~self._is_decoded[rows]])
        count = self.decoded + len(missing)
        if count * self._pixels[:1].nbytes > _memory():
            raise _too_large((count, *self._pixels.shape[1:]), self._pixels.itemsize)
        with _as_argument(min(self.rules.height, self.rules.width)):
            for row, encoded in zip(missing, self.source.read(missing), strict=True):
                picture = decode(encoded, self.rules, self.source.where(int(row)))
                self._pixels[row], self._is_decoded[row] = picture.pixels, True
                self.changes.update(picture.changes)
        return self._pixels[rows]


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _too_large(shape: tuple[int, ...], size: int) -> ArgumentError:
    """Return the error for pictures (N, C, H, W), of so many bytes a number, that take more memory than there is."""
    pictures = f"{shape[0]} pictures of {'x'.join(map(str, shape[1:]))}"
    problem = f": {pictures} take {math.prod(shape) * size / 1e9:.0f} GB, and this machine has {_memory() / 1e9:.0f}."
    return ArgumentError("size", problem, ("size", 128))


@contextmanager
def _as_argument(size: int) -> Iterator[None]:
    """Name the argument of the task that an unusable picture is about."""
    try:
        yield
    except UnusablePicture as error:
        if error.argument == "size":
            raise ArgumentError("size", f"is not set, but {error}.", ("size", size)) from None
        raise ArgumentError(error.argument, f": {error}.") from None


@lru_cache(maxsize=6)
def open_source(path: str, part: str, columns: Columns, drop: tuple[str, ...], stamp: Stamp) -> Source:
    """Open one part, once in a process as long as its files stay as `stamp` says.

    Raises:
        ArgumentError: where it holds no pictures.
    """
    source = open_part(path, part, columns, drop)
    if not source.labels:
        raise no_pictures(path, part)
    return source


@lru_cache(maxsize=6)
def open_store(
    path: str, part: str, columns: Columns, drop: tuple[str, ...], stamp: Stamp, rules: Rules
) -> PictureStore:
    """Open the pictures of one part, once in a process as long as its files stay as `stamp` says."""
    return PictureStore(open_source(path, part, columns, drop, stamp), rules)


@lru_cache(maxsize=6)
def learn_rules(
    path: str,
    columns: Columns,
    drop: tuple[str, ...],
    stamp: Stamp,
    channels: int | None,
    size: int | None,
    background: int,
) -> Rules:
    """Learn from all pictures of the train part, by their headers, what pictures are brought to.

    One with colours gives all of them three channels, one of 16 bits gives all of them 16. The first says the size.

    Raises:
        ArgumentError: where one cannot be opened, or they have no scale in common.
    """
    source = open_source(path, "train", columns, drop, stamp)
    with _as_argument(0):
        kinds = _kinds(source)
        first = next(iter(source.read(np.array([0]))))
        width, height = (size, size) if size is not None else size_of(first, source.where(0))
    white = _white(kinds, source)
    chosen = channels or (3 if "colour" in kinds else 1)
    return Rules(chosen, height, width, white, resize=size is not None, background=background)


def _kinds(source: Source) -> dict[str, int]:
    """Return the first row of each kind of picture that there is."""
    kinds: dict[str, int] = {}
    rows = np.arange(len(source.labels))
    for row, encoded in zip(rows, source.read(rows), strict=True):
        kinds.setdefault(kind_of(encoded, source.where(int(row))), int(row))
    return kinds


def _white(kinds: dict[str, int], source: Source) -> float | None:
    if "values" in kinds and len(kinds) > 1:
        other = next(row for kind, row in kinds.items() if kind != "values")
        raise ArgumentError(
            "path",
            f": {source.where(kinds['values'])} holds measured values and {source.where(other)} does not; they have "
            "no scale in common. Convert the ones or the others.",
        )
    return None if "values" in kinds else SIXTEEN if "16 bits" in kinds else EIGHT
