"""Predict the next character of a text."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.tasks.files import find_parts, read_text, require_path
from kirigami.tasks.splits import LIMIT_STREAM, carve, check_amount, rows_of, take
from kirigami.tasks.task import Parts, Split, Task


@dataclass(frozen=True)
class _Source:
    """Everything that decides which characters go where, hashable so that reading can be memoised."""

    path: str
    column: str
    length: int
    stride: int
    rows: int | None
    validation: float
    test_share: float

    def files(self) -> dict[str, tuple[Path, ...]]:
        path = require_path(self.path)
        if path.is_file():
            return {"train": (path,)}
        parts = find_parts(path, ".parquet") or find_parts(path, ".txt")
        if "train" not in parts:
            raise ArgumentError("path", f": {str(path)!r} holds no train-*.parquet and no train.txt.")
        return parts


@lru_cache(maxsize=8)
def _read(files: tuple[Path, ...], column: str) -> np.ndarray:
    """Read a text as its code points: uint32 (L,)."""
    return np.frombuffer(read_text(files, column).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def _cut(source: _Source) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return train, validation and test code points of the train files; a part with a file of its own is None.

    A text is cut at points, not in shuffled windows: neighbouring windows would tell each other's continuation.
    """
    files = source.files()
    text, validation, test = _read(files["train"], source.column), None, None
    if "test" not in files:
        cut = len(text) - rows_of("test_share", source.test_share, len(text))
        text, test = text[:cut], text[cut:]
    if "validation" not in files:
        cut = len(text) - rows_of("validation", source.validation, len(text))
        text, validation = text[:cut], text[cut:]
    return text, validation, test


def encode(text: np.ndarray, alphabet: np.ndarray) -> Tensor:
    """Number code points (L,) by their place in the sorted alphabet (V,), those outside it V: int64 (L,)."""
    place = np.searchsorted(alphabet, text)
    is_known = alphabet[np.minimum(place, len(alphabet) - 1)] == text
    return torch.from_numpy(np.where(is_known, place, len(alphabet)))


def windows(codes: Tensor, length: int, stride: int) -> Split:
    """Cut codes (L,) into inputs and targets (N, length), the targets one character later; both share memory."""
    if len(codes) <= length:
        raise ArgumentError("length", f"must be below {len(codes)}, the shortest part's characters, but got {length}.")
    return Split(codes[:-1].unfold(0, length, stride), codes[1:].unfold(0, length, stride))


@lru_cache(maxsize=4)
def _parts(source: _Source, seed: int) -> tuple[Parts, np.ndarray]:
    text, validation, _ = _cut(source)
    if validation is None:
        validation = _read(source.files()["validation"], source.column)
    alphabet = np.unique(text)
    train = windows(encode(text, alphabet), source.length, source.stride)
    if source.rows is not None and source.rows < len(train.inputs):
        _, rows = carve(np.zeros(len(train.inputs), dtype=int), source.rows, seed=seed, stream=LIMIT_STREAM)
        train = Split(take(train.inputs, rows), take(train.targets, rows))
    judged = windows(encode(validation, alphabet), source.length, source.length)
    return Parts("characters", train, judged, vocabulary=len(alphabet) + 1), alphabet


class Text(Task):
    """Predict each next character of a text, seen in windows of `length` characters.

    `path`: a text file, a Parquet file with a text column, or a folder with train, validation and test files of one
    of these kinds. Parts without a file are cut from the end of the train text. The vocabulary is the train
    text's characters and one spare number, last, for those that only occur elsewhere. Train windows start every
    `stride` characters (default: `length`) and are at most `rows`; validation and test windows do not overlap.
    """

    def __init__(
        self,
        *,
        path: str | None,
        column: str = "text",
        length: int = 64,
        stride: int | None = None,
        rows: int | None = None,
        validation: float = 0.05,
        test_share: float = 0.05,
        seed: int = 0,
        test_seed: int | None = None,
        fraction: float = 1.0,
    ) -> None:
        super().__init__(seed=seed, test_seed=test_seed, fraction=fraction)
        for name, number in (("length", length), ("stride", stride), ("rows", rows)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
                raise ArgumentError(name, f"must be a whole number of at least 1, but got {number!r}.")
        check_amount("validation", validation)
        check_amount("test_share", test_share)
        require_path(path)
        self._source = _Source(str(path), column, length, stride or length, rows, validation, test_share)

    def load(self) -> Parts:
        """Read the train and validation text."""
        parts, self._alphabet = _parts(self._source, self.seed)
        return parts

    def load_test(self) -> Split:
        """Read the test text."""
        test = _cut(self._source)[2]
        if test is None:
            test = _read(self._source.files()["test"], self._source.column)
        return windows(encode(test, self._alphabet), self._source.length, self._source.length)

    @property
    def characters(self) -> str:
        """Return the known characters in the order of their numbers, after `setup`."""
        return "".join(map(chr, self._alphabet))

    def preparation(self) -> dict[str, object]:
        """The characters in the order of their numbers; any other has the next number."""
        return {"characters": self.characters}
