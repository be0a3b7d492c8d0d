"""Whose doing an error is, in a line: the part of the config, and the place in the user's own files."""

import inspect
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError

_INSTALLED = [Path(sysconfig.get_paths()[name]) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
LIBRARIES = tuple({str(name) for path in (*_INSTALLED, Path(__file__).parents[2]) for name in (path, path.resolve())})


def raised_at(error: BaseException) -> str | None:
    """Return "file.py:12", the last line of the user's own that an error came through; None where there was none."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else None


def defined_at(function: object) -> str | None:
    """Return "file.py:12", where a function of the user's own is defined; None for one of a library."""
    code = getattr(function, "__code__", None)
    if not inspect.iscode(code) or not is_own(code.co_filename):
        return None
    return f"{Path(code.co_filename).name}:{code.co_firstlineno}"


def is_own(file: str) -> bool:
    """Tell whether a file is neither ours, nor Python's, nor that of an installed package."""
    return not file.startswith(("<", *LIBRARIES))


@contextmanager
def blamed(path: str, part: Any, when: str = "", otherwise: str | None = None) -> Iterator[None]:
    """Turn whatever is raised into a line that names a part of the config and the place in the user's file.

    Args:
        path: of the part.
        part: of the config.
        when: words on what it was given.
        otherwise: the place, where the error does not tell.

    Raises:
        InputError: for whatever is raised.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())[:300].rstrip(".")
        place = raised_at(error) or otherwise
        where = f" ({place})" if place else ""
        raise InputError(f"{part_of(path, part)} {when}raises {type(error).__name__}: {text}{where}.") from error


def part_of(path: str, part: Any) -> str:
    """Return how a message names a part of the config."""
    return f"{path}._target_={part['_target_']}" if isinstance(part, dict) and "_target_" in part else path
