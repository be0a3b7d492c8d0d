"""Pictures that a user has, decoded by the rules that the training of the network wrote down."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError
from kirigami.search.errors import InputError
from kirigami.search.export.predicting.notices import say
from kirigami.tasks.pictures.decode import Rules, decode
from kirigami.tasks.pictures.folders import SUFFIXES, others_in_words, walk
from kirigami.tasks.pictures.modes import Encoded, UnusablePicture
from kirigami.tasks.pictures.parquet import cells, picture_column
from kirigami.tasks.pictures.wording import changes_in_words


def read_pictures(data: Path, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]]:
    """Return the names of a picture, or of all pictures under a folder, and the pictures (n, c, h, w).

    Raises:
        InputError: naming the file that cannot be used.
    """
    if data.is_file():
        return [str(data)], _decoded([(str(data), data)], 1, rules)
    content = walk(data)
    if not content.pictures:
        raise InputError(f"{data}: holds no pictures (*{', *'.join(SUFFIXES)}).")
    if content.others:
        say(f"{data}: {others_in_words(content.others)} of other suffixes were passed over.")
    names = [str(file) for file in content.pictures]
    return names, _decoded(zip(names, content.pictures, strict=True), len(names), rules)


def read_picture_rows(data: Path, rules: Mapping[str, Any]) -> tuple[Sequence[Any], NDArray[Any]] | None:
    """Return the numbers of the rows of a Parquet file and its pictures (n, c, h, w); None where it holds none.

    Raises:
        InputError: naming the row that cannot be used.
    """
    try:
        column = picture_column(data, rules.get("column"))
        if column is None:
            return None
        encoded = list(cells(data, column))
    except UnusablePicture as error:
        raise InputError(f"{error}.") from error
    except ArgumentError as error:
        raise InputError(error.problem.removeprefix(": ")) from error
    named = ((f"{data}, row {row}", cell) for row, cell in enumerate(encoded))
    return range(len(encoded)), _decoded(named, len(encoded), rules)


def _decoded(sources: Iterable[tuple[str, Encoded]], count: int, rules: Mapping[str, Any]) -> NDArray[Any]:
    wanted = Rules.from_dict(rules)
    pixels: NDArray[Any] = np.empty((count, wanted.channels, wanted.height, wanted.width), wanted.dtype)
    changes: Counter[str] = Counter()
    for row, (name, encoded) in enumerate(sources):
        try:
            picture = decode(encoded, wanted, name)
        except UnusablePicture as error:
            size = f" Resize it, or search again with task.size={min(wanted.height, wanted.width)}."
            raise InputError(f"{error}.{size if error.argument == 'size' else ''}") from error
        pixels[row] = picture.pixels
        changes.update(picture.changes)
    for line in changes_in_words(changes, count):
        say(line)
    return pixels
