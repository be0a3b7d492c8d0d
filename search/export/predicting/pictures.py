"""Pictures that a user has, decoded by the rules that the training of the network wrote down."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError
from kirigami.search.errors import InputError
from kirigami.search.export.predicting.notices import say
from kirigami.tasks.pictures.decode import Picture, Rules, decode
from kirigami.tasks.pictures.folders import SUFFIXES, others_in_words, walk
from kirigami.tasks.pictures.modes import Encoded, UnusablePicture
from kirigami.tasks.pictures.parquet import cells, picture_column
from kirigami.tasks.pictures.wording import changes_in_words

AT_ONCE = 256  # pictures in memory


def read_pictures(data: Path, rules: Mapping[str, Any]) -> tuple[Sequence[Any], Iterator[NDArray[Any]]]:
    """Return the names of a picture, or of all pictures under a folder, and batches of the pictures (n, c, h, w).

    Batches are decoded one after the other; when all are, what was done to the pictures is said.

    Raises:
        InputError: naming the file that cannot be used.
    """
    if data.is_file():
        return [str(data)], _decoded([str(data)], [data], rules)
    content = walk(data)
    if not content.pictures:
        raise InputError(f"{data}: holds no pictures (*{', *'.join(SUFFIXES)}).")
    if content.others:
        say(f"{data}: {others_in_words(content.others)} of other suffixes were passed over.")
    names = [str(file) for file in content.pictures]
    return names, _decoded(names, content.pictures, rules)


def read_picture_rows(data: Path, rules: Mapping[str, Any]) -> tuple[Sequence[Any], Iterator[NDArray[Any]]] | None:
    """Return the numbers of the rows of a Parquet file and batches of its pictures; None where it holds none.

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
    names = [f"{data}, row {row}" for row in range(len(encoded))]
    return range(len(encoded)), _decoded(names, encoded, rules)


def _decoded(names: Sequence[str], pictures: Sequence[Encoded], rules: Mapping[str, Any]) -> Iterator[NDArray[Any]]:
    wanted = Rules.from_dict(rules)
    changes: Counter[str] = Counter()
    for start in range(0, len(names), AT_ONCE):
        batch = [
            _decode(*picture, wanted)
            for picture in zip(names[start : start + AT_ONCE], pictures[start : start + AT_ONCE], strict=True)
        ]
        for picture in batch:
            changes.update(picture.changes)
        yield np.stack([picture.pixels for picture in batch])
    for line in changes_in_words(changes, len(names)):
        say(line)


def _decode(name: str, encoded: Encoded, rules: Rules) -> Picture:
    try:
        return decode(encoded, rules, name)
    except UnusablePicture as error:
        size = f" Resize it, or search again with task.size={min(rules.height, rules.width)}."
        raise InputError(f"{error}.{size if error.argument == 'size' else ''}") from error
