"""Files that are whole or not there: written under another name beside their place, then renamed.

A reader never sees half of one, and neither does who comes after a kill. JSON lines are appended, never rewritten.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from math import isfinite
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError


def unfinished(path: Path) -> Path:
    """Return the name under which a file is written until it is whole; a killed process may leave it."""
    return path.with_name(f"{path.name}.tmp")


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Give another path to write to; put what is there in the place of `path` at the end, unless something is raised.

    Raises:
        OSError: where it cannot be written; nothing is left of it then.
    """
    temporary = unfinished(path)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_place(path: Path, name: str) -> None:
    """Check that a file can be written at a place that a user named, before anything is computed for it.

    Args:
        name: of the option that names the place.

    Raises:
        InputError: where it is a folder, lies in none, or may not be written.
    """
    if path.is_dir():
        raise InputError(f"{name}={path} is a folder. Name a file in it: {name}={path}/NAME.")
    if not path.parent.is_dir():
        raise InputError(f"{name}={path}: the folder {path.parent} does not exist. Make it, or set {name}=FILE.")
    if len(unfinished(path).name.encode()) > 255:
        raise InputError(f"{name}={path.name[:20]}…: no file can have so long a name. Set {name}=FILE.")
    if not os.access(path if path.exists() else path.parent, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise InputError(f"{name}={path}: no permission to write there. Set {name}=FILE.")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with replaced(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, content: str, *, private: bool = False) -> None:
    """Write a file whole or not at all.

    Args:
        private: whether nobody but its owner may read it, at no moment.
    """
    with replaced(path) as temporary:
        temporary.unlink(missing_ok=True)  # one that a killed process left may be readable by others
        opened = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with open(opened, "w", encoding="utf-8") as file:
            file.write(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain data as `as_json` has it, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, as_json(content) + "\n")


def append_line(path: Path, line: Mapping[str, Any]) -> None:
    """Add an object to a file of JSON lines and wait until it is on the disk.

    It gets a line of its own even after one that was cut in half by a kill.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(0, end - 1))
        begin = b"" if file.read(1) in (b"", b"\n") else b"\n"
        file.write(begin + json.dumps(_storable(line), allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects in a file of JSON lines that can be read; none where there is no file."""
    if not path.exists():
        return []
    objects = []
    for text in path.read_bytes().split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            objects.append(line)
    return objects


def stored(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain data as a reader of the file gets it: a number that is none is None."""
    plain: dict[str, Any] = json.loads(as_json(content))
    return plain


def as_json(content: Any) -> str:
    """Return JSON in which a number that is none is null."""
    return json.dumps(_storable(content), indent=2, allow_nan=False)


def _storable(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _storable(child) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [_storable(child) for child in node]
    return None if isinstance(node, float) and not isfinite(node) else node
