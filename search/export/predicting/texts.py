"""Texts that a user has: what comes next after each window of them, and how well the network foresees them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError
from kirigami.search.errors import InputError
from kirigami.search.export.predicting.notices import say
from kirigami.tasks.characters import code_points, numbered, read_text, unknown_in_words

SUFFIXES = (".txt", ".parquet")
Run = Callable[[NDArray[Any]], NDArray[Any]]


def answer_texts(data: Path, rules: Mapping[str, Any], length: int, run: Run) -> dict[str, list[Any]]:
    """Return columns of a row for each window of a text: where it begins, the next character, its probability, bits.

    Windows lie end to end, as when the network was judged; the last one ends with the text. `bits` is the mean over
    those characters of a window, and the one after it, that no window before it has foretold. The bits of a character
    over a whole text are said on standard error.

    Args:
        data: a text file, a Parquet file with a column of text, or a folder of these.
        rules: `characters`, and how files are read: `encoding`, `column`.
        length: of a window.
        run: the network: numbers of characters (n, length) to scores (n, length, characters and one).

    Raises:
        InputError: naming the file that cannot be used.
    """
    files = [data] if data.is_file() else sorted(file for file in data.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{data}: holds no texts (*{', *'.join(SUFFIXES)}).")
    alphabet = code_points(rules["characters"])
    columns: dict[str, list[Any]] = {"input": [], "next": [], "share": [], "bits": []}
    for file in files:
        codes = _codes(file, rules, alphabet, length)
        starts = _starts(len(codes), length)
        scores = run(np.stack([codes[start : start + length] for start in starts]))
        columns["input"] += starts if len(files) == 1 else [f"{file}, character {start}" for start in starts]
        _append(columns, scores, rules["characters"])
        bits = _bits(codes, starts, scores)
        columns["bits"] += [round(float(window.mean()), 4) if len(window) else None for window in bits]
        together = np.concatenate(bits)
        if len(together):
            say(f"{file}: {len(together)} characters foretold at {together.mean():.4f} bits each.")
    return columns


def _codes(file: Path, rules: Mapping[str, Any], alphabet: NDArray[np.uint32], length: int) -> NDArray[np.int64]:
    try:
        points = code_points(read_text([file], rules.get("column", "text"), rules.get("encoding")))
    except ArgumentError as error:
        is_file = error.argument == "path"
        raise InputError(error.problem.removeprefix(": ") if is_file else f"{file}: {error}") from error
    if len(points) < length:
        raise InputError(f"{file}: has {len(points)} characters, but the network reads {length} at a time.")
    unknown = unknown_in_words(points, alphabet)
    if unknown:
        say(f"{file}: {unknown}.")
    return numbered(points, alphabet)


def _starts(count: int, length: int) -> list[int]:
    starts = list(range(0, count - length + 1, length))
    return starts if starts[-1] == count - length else [*starts, count - length]


def _append(columns: dict[str, list[Any]], scores: NDArray[Any], characters: str) -> None:
    last = scores[:, -1].astype(np.float64)
    shares = np.exp(last - last.max(1, keepdims=True))
    best = last.argmax(1)
    columns["next"] += [characters[index] if index < len(characters) else "unknown" for index in best]
    columns["share"] += (shares.max(1) / shares.sum(1)).round(4).tolist()


def _bits(codes: NDArray[np.int64], starts: list[int], scores: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Return for each window the bits of the characters that it is the first to foretell."""
    length, foretold, bits = scores.shape[1], 1, []
    for start, window in zip(starts, scores.astype(np.float64), strict=True):
        places = np.arange(max(foretold, start + 1), min(start + length + 1, len(codes)))
        rows = window[places - start - 1]
        shifted = rows - rows.max(1, keepdims=True)
        logs = shifted[np.arange(len(places)), codes[places]] - np.log(np.exp(shifted).sum(1))
        bits.append(-logs / np.log(2))
        foretold = start + length + 1
    return bits
