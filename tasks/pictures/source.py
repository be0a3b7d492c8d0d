"""The pictures of one part of a data set, still encoded, and the class of each by its name."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kirigami.errors import ArgumentError, did_you_mean
from kirigami.tasks.pictures.modes import Encoded

MOST_NAMED = 12


@dataclass(frozen=True)
class Source:
    """Pictures of one part.

    Attributes:
        labels: the class of each picture, by name.
        classes: the classes that the source knows, in its order.
        where: says of a row which picture it is: its file, and the row there.
        read: gives the pictures of rows, in their order.
        passed_over: lines about what lies there and is not read.
        column: of the pictures, in a file that has columns.
    """

    labels: Sequence[str]
    classes: tuple[str, ...]
    where: Callable[[int], str]
    read: Callable[[NDArray[np.int64]], Iterable[Encoded]]
    passed_over: tuple[str, ...] = ()
    column: str | None = None

    def without(self, drop: Collection[str]) -> "Source":
        """Return the source without the pictures of some classes."""
        if not any(name in drop for name in self.classes):
            return self
        rows = np.array([row for row, name in enumerate(self.labels) if name not in drop], dtype=np.int64)
        return replace(
            self,
            labels=[self.labels[row] for row in rows],
            classes=tuple(name for name in self.classes if name not in drop),
            where=lambda row: self.where(int(rows[row])),
            read=lambda wanted: self.read(rows[wanted]),
        )

    def number(self, classes: Sequence[str], part: str) -> NDArray[np.int64]:
        """Number the labels by the classes of the train part: int64 (N,).

        Raises:
            ArgumentError: for a class that is none of them.
        """
        place = {name: number for number, name in enumerate(classes)}
        for row, name in enumerate(self.labels):
            if name not in place:
                raise unknown_class(name, part, self.where(row), classes)
        return np.array([place[name] for name in self.labels], dtype=np.int64)


def unknown_class(name: str, part: str, where: str, classes: Sequence[str]) -> ArgumentError:
    """Return the error that says that a part has a class which the train part lacks."""
    known = ", ".join(classes[:MOST_NAMED]) + (", ..." if len(classes) > MOST_NAMED else "")
    return ArgumentError(
        "path",
        f": the {part} part holds the class {name!r} ({where}), but the train part has only ({known})."
        f"{did_you_mean(name, classes) or did_you_mean(name.casefold(), classes)}",
    )
