"""Predict the next character of a text."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kirigami.errors import ArgumentError
from kirigami.tasks.characters import check_text, code_points, numbered, read_text, unknown_in_words
from kirigami.tasks.files import find_parts, require_path
from kirigami.tasks.splits import LIMIT_STREAM, carve, check_amount, rows_of, take
from kirigami.tasks.task import Parts, Split, Task


@dataclass(frozen=True)
class _Source:
    """Everything that decides which characters go where, hashable so that reading can be memoised."""

    path: str
    column: str
    encoding: str | None
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

    def read(self, part: str) -> np.ndarray:
        return _read(self.files()[part], self.column, self.encoding)


@lru_cache(maxsize=8)
def _read(files: tuple[Path, ...], column: str, encoding: str | None) -> np.ndarray:
    """Read a text as its code points: uint32 (L,)."""
    return code_points(read_text(files, column, encoding))


def _cut(source: _Source) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return train, validation and test code points of the train files; a part with a file of its own is None.

    A text is cut at points, not in shuffled windows: neighbouring windows would tell each other's continuation.
    """
    files = source.files()
    text, validation, test = source.read("train"), None, None
    if "test" not in files:
        cut = len(text) - rows_of("test_share", source.test_share, len(text))
        text, test = text[:cut], text[cut:]
    if "validation" not in files:
        cut = len(text) - rows_of("validation", source.validation, len(text))
        text, validation = text[:cut], text[cut:]
    return text, validation, test


def encode(text: np.ndarray, alphabet: np.ndarray) -> Tensor:
    """Number code points (L,) by their place in the sorted alphabet (V,), those outside it V: int64 (L,)."""
    return torch.from_numpy(numbered(text, alphabet))


def windows(codes: Tensor, length: int, stride: int) -> Split:
    """Cut codes (L,) into inputs and targets (N, length), the targets one character later; both share memory."""
    if len(codes) <= length:
        raise ArgumentError("length", f"must be below {len(codes)}, the shortest part's characters, but got {length}.")
    return Split(codes[:-1].unfold(0, length, stride), codes[1:].unfold(0, length, stride))


@lru_cache(maxsize=4)
def _parts(source: _Source, seed: int) -> tuple[Parts, np.ndarray, tuple[str, ...]]:
    text, validation, _ = _cut(source)
    if validation is None:
        validation = source.read("validation")
    alphabet = np.unique(text)
    train = windows(encode(text, alphabet), source.length, source.stride)
    if source.rows is not None and source.rows < len(train.inputs):
        _, rows = carve(np.zeros(len(train.inputs), dtype=int), source.rows, seed=seed, stream=LIMIT_STREAM)
        train = Split(take(train.inputs, rows), take(train.targets, rows))
    judged = windows(encode(validation, alphabet), source.length, source.length)
    unknown = unknown_in_words(validation, alphabet)
    notices = (f"validation: {unknown}.",) if unknown else ()
    return Parts("characters", train, judged, vocabulary=len(alphabet) + 1), alphabet, notices


class Text(Task):
    """Predict each next character of a text, seen in windows of `length` characters.

    `path`: a text file (UTF-8, or in this `encoding`), a Parquet file with a text column, or a folder with train,
    validation and test files of one of these kinds. Parts without a file are cut from the end of the train text. The
    vocabulary is the train text's characters and one spare number, last, for those that only occur elsewhere. Train
    windows start every `stride` characters (default: `length`) and are at most `rows`; validation and test windows do
    not overlap.
    """

    def __init__(
        self,
        *,
        path: str | None,
        column: str = "text",
        encoding: str | None = None,
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
        self._source = _Source(str(path), column, encoding, length, stride or length, rows, validation, test_share)

    def load(self) -> Parts:
        """Read the train and validation text."""
        parts, self._alphabet, self.notices = _parts(self._source, self.seed)
        return parts

    def load_test(self) -> Split:
        """Read the test text; characters of it that are not known become a notice too."""
        test = _cut(self._source)[2]
        if test is None:
            test = self._source.read("test")
        unknown = unknown_in_words(test, self._alphabet)
        if unknown:
            self.notices = (*self._notices, f"test: {unknown}.")
        return windows(encode(test, self._alphabet), self._source.length, self._source.length)

    def check_test_part(self) -> None:
        """Check that test files, where there are any, have the column."""
        check_text(self._source.files().get("test", ()), self._source.column)

    @property
    def characters(self) -> str:
        """Return the known characters in the order of their numbers, after `setup`."""
        return "".join(map(chr, self._alphabet))

    def preparation(self) -> dict[str, object]:
        """The characters in the order of their numbers; any other has the next number. How files are read."""
        encoding = self._source.encoding
        rules: dict[str, object] = {"characters": self.characters, "column": self._source.column}
        return rules if encoding is None else {**rules, "encoding": encoding}
