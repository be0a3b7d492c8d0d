"""Which files of a folder are pictures: one list of suffixes; what systems leave behind is passed over."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kirigami.errors import ArgumentError

SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
LEFTOVERS = {
    *("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found", "__pycache__"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"),
}


@dataclass(frozen=True)
class Walk:
    """The files of a folder and of the folders in it.

    Attributes:
        pictures: in order of their paths.
        others: how many files there are of each suffix that is not read.
    """

    pictures: tuple[Path, ...]
    others: Counter[str]


def is_leftover(name: str) -> bool:
    """Say whether a file or folder of this name is no data: hidden, or written by a system beside the user's files."""
    return name.startswith(".") or name.lower() in LEFTOVERS


def is_picture(path: Path) -> bool:
    """Say whether a file's suffix is one of `SUFFIXES`."""
    return path.suffix.lower() in SUFFIXES


def walk(folder: Path) -> Walk:
    """Find the pictures under a folder, at any depth."""
    files = [file for file in _files(folder) if not is_leftover(file.name)]
    others = Counter(file.suffix.lower() or "no suffix" for file in files if not is_picture(file))
    return Walk(tuple(sorted(file for file in files if is_picture(file))), others)


def _files(folder: Path) -> Iterator[Path]:
    seen = {os.path.realpath(parent) for parent in folder.absolute().parents}
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        real = os.path.realpath(place)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not is_leftover(name)]
        yield from (Path(place, name) for name in names)


def _refuse(error: OSError) -> None:
    """Say which folder cannot be opened: its pictures would be left out."""
    raise ArgumentError("path", f": {str(error.filename)!r} cannot be opened: {error.strerror}.")


def class_folders(folder: Path) -> dict[str, Path]:
    """Return the subfolders that may be classes, by name, in order.

    Raises:
        ArgumentError: for two of one name, but for blanks around it.
    """
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not is_leftover(child.name))
    named: dict[str, Path] = {}
    for child in children:
        name = class_name(child.name)
        if name in named:
            raise ArgumentError("path", f": {str(named[name])!r} and {str(child)!r} have the same name but for blanks.")
        named[name] = child
    return named


def class_name(name: object) -> str:
    """Return a class's name as all parts write it: letters composed in one way, no blanks around it."""
    return unicodedata.normalize("NFC", str(name)).strip()


def others_in_words(others: Counter[str]) -> str:
    """Return `12 files (10 .txt, 2 .heic)`."""
    named = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(6))
    return f"{others.total()} {'file' if others.total() == 1 else 'files'} ({named})"
