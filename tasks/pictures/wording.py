"""Say in lines what is in a set of pictures, and what was done to them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

CHANGES = {
    "frames": "several frames, of which the first is read",
    "turned": "turned as their orientation tags say",
    "grey": "colours, which become grey",
    "cmyk": "CMYK, converted to red, green and blue without a colour profile",
    "transparent": "transparent parts, laid over the background",
    "8 to 16 bits": "8 bits, scaled to 16",
    "16 to 8 bits": "16 bits, scaled to 8",
    "halved": "16 bits a colour, of which the upper 8 are read",
    "collapsed": "one value everywhere once decoded, though not before",
}
MOST_CLASSES, MOST_NAMED = 30, 12


def changes_in_words(counts: Mapping[str, int], total: int) -> list[str]:
    """Return a line for each change, such as `3 of 40 pictures: turned as their orientation tags say.`"""
    return [f"{counts[key]} of {total} pictures: {words}." for key, words in CHANGES.items() if counts.get(key)]


def table_of_classes(classes: Sequence[str], parts: Mapping[str, Mapping[str, int]], of: str = "picture") -> list[str]:
    """Return the lines of a table: how many rows of each class each part has.

    Args:
        classes: names, in the order of their numbers.
        parts: for each part the count of each class, none where a class is not there.
        of: what is counted.
    """
    shown = classes[:MOST_CLASSES]
    wide = max(len("class"), *(len(name) for name in shown))
    columns = [[part, *(str(counts.get(name, 0)) for name in shown)] for part, counts in parts.items()]
    rows = zip(["class", *shown], *columns, strict=True)
    widths = [max(map(len, column)) for column in columns]
    lines = [_line(row, wide, widths) for row in rows]
    if len(shown) < len(classes):
        lines.append(f"and {len(classes) - len(shown)} classes more.")
    return [*lines, *_lacking(classes, parts, of)]


def _lacking(classes: Sequence[str], parts: Mapping[str, Mapping[str, int]], of: str) -> list[str]:
    lines = []
    for part, counts in parts.items():
        names = [name for name in classes if not counts.get(name)]
        if names:
            more = ", ..." if len(names) > MOST_NAMED else ""
            lines.append(f"{part}: no {of} of ({', '.join(names[:MOST_NAMED])}{more}).")
    return lines


def repeated_in_words(train: NDArray[Any], others: NDArray[Any], part: str) -> list[str]:
    """Return a line where pictures of a part are in the train part too: a network may know these by heart."""
    known = {hash(picture.tobytes()) for picture in train}
    count = sum(hash(picture.tobytes()) in known for picture in others)
    pictures = "picture is" if count == 1 else "pictures are"
    return [f"{part}: {count} of {len(others)} {pictures} in the train part too, to the last pixel."] if count else []


def _line(row: Sequence[str], wide: int, widths: Iterable[int]) -> str:
    name, *cells = row
    return "  ".join([name.ljust(wide), *(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))])
