"""What can go wrong, by whose doing: the user's input (exit code 2) or the run (exit code 1); and no secret in it."""

import errno
import os
import re
import sysconfig
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

from kirigami.errors import none_of

TRACEBACK = "KIRIGAMI_TRACEBACK"
STORES = ("sqlalchemy", "sqlite3", "psycopg", "alembic", "optuna")
LIBRARIES = (
    *(*STORES, "optuna_dashboard"),
    *("yaml", "omegaconf", "hydra", "json", "pydantic", "pydantic_core"),
    *("onnx", "onnxruntime", "google", "safetensors", "zstandard", "PIL", "pandas", "pyarrow"),
)
"""Their errors speak of what was handed to them: a file, a store, a value."""
OF_THE_MACHINE = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class InputError(ValueError):
    """The user's input is wrong: one line with the name, the value received, the values allowed, what to do."""

    def __init__(self, line: str) -> None:
        super().__init__(masked(line))


class StudyStopped(RuntimeError):
    """The study cannot go on: one line with the reason."""

    def __init__(self, line: str) -> None:
        super().__init__(masked(line))


def one_line(error: BaseException) -> str:
    """Return the first sentence-like line of an error, or its type where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def masked(text: str) -> str:
    """Return a text without the passwords of the URLs in it: all between `:` and the last `@` becomes `***`."""
    text = re.sub(r"(//[^\s:@/]*):(?!\d+(?:[/?\s]|$))[^\s@]*\s[^\n@]*@", r"\1:***@", text)  # one with a blank in it
    text = re.sub(r"\S+", lambda word: _masked_word(word[0]), text)
    return re.sub(r"(\b(?:ssl)?(?:password|passwd|pwd)=)(?:'[^']*'|[^\s&'\"]*)", r"\1***", text)


def _masked_word(word: str) -> str:
    file = word.find("sqlite:///")
    start = 0 if file < 0 else file + len("sqlite:///")
    place = word[start:]
    address = place.find("//")
    begin, end = place.find(":", max(0, address + 2 if address >= 0 else 0)), place.rfind("@")
    is_path = address < 0 and "/" in place[: max(0, begin)]
    return word if begin < 0 or end < begin or is_path else f"{word[:start]}{place[:begin]}:***{place[end:]}"


def one_of(path: str, value: Any, allowed: Any) -> InputError:
    """Build the error for a value outside a list of allowed ones."""
    return InputError(f"{path} {none_of(value, allowed)}")


class Failure(NamedTuple):
    """A line for the user, and the exit code."""

    line: str
    code: int


def failure_of(error: BaseException) -> Failure:
    """Return the line and the exit code of whatever a verb or a worker raised."""
    if isinstance(error, InputError):
        return Failure(_flat(error), 2)
    if isinstance(error, StudyStopped):
        return Failure(_flat(error), 1)
    if isinstance(error, OSError) and error.strerror:
        return Failure(_of_the_system(error), 1 if error.errno in OF_THE_MACHINE else 2)
    if isinstance(error, MemoryError):
        return Failure("there is not enough memory for this. Set trainer.batch_size= or task.fraction= lower.", 1)
    if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name):
        return Failure(f"the package {error.name} is not installed. Install it: pip install {error.name}.", 2)
    own = _of_own_code(error)
    if own is not None:
        return Failure(own, 2)
    place = _place(error)
    if isinstance(error, ValueError | OSError) or _is_of(error, LIBRARIES):
        return Failure(_flat(error) if place.is_ours else f"{_said_by(error)} ({TRACEBACK}=1 shows where.)", 2)
    fault = f"{type(error).__name__} at {place.line}: {_said_by(error)}"
    return Failure(f"{fault} This is a fault of kirigami. {TRACEBACK}=1 shows all of it.", 1)


def traced(error: BaseException) -> str:
    """Return the traceback without passwords."""
    return masked("".join(traceback.format_exception(error)))


def _flat(error: BaseException) -> str:
    return " ".join(str(error).split())


def _said_by(error: BaseException) -> str:
    """Return the first line of what an error says, as a sentence; Optuna and SQLAlchemy wrap that of a driver."""
    if type(error).__module__.startswith("optuna"):
        error = error.__cause__ or error
    text = one_line(getattr(error, "orig", None) or error)
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _of_the_system(error: OSError) -> str:
    files = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return f"{' and '.join(files)}: {error.strerror}." if files else f"{error.strerror}."


def is_of_a_store(error: BaseException) -> bool:
    """Return whether an error is one of a database or of what stands between it and us: another try may go well."""
    return _is_of(error, STORES)


def _is_of(error: BaseException, libraries: Sequence[str]) -> bool:
    return any(kind.__module__.partition(".")[0] in libraries for kind in type(error).__mro__)


def _is_ours(module: str | None) -> bool:
    return module is None or module.partition(".")[0] == "kirigami"


def _of_own_code(error: BaseException) -> str | None:
    """Return the line for an error that a file of the user's raised; None for one of ours or of a library."""
    frames = traceback.extract_tb(error.__traceback__)
    file = frames[-1].filename if frames else ""
    installed = (f"{os.sep}kirigami{os.sep}", f"{os.sep}site-packages{os.sep}", sysconfig.get_path("stdlib"), "<")
    if not frames or any(place in file for place in installed):
        return None
    return f"{file}, line {frames[-1].lineno} raised {type(error).__name__}: {_said_by(error)}"


class _Place(NamedTuple):
    """The innermost line of ours that an error came through, and whether it was raised there, as a rule in words."""

    line: str
    is_ours: bool


def _place(error: BaseException) -> _Place:
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        _, ours, path = frame.filename.rpartition(f"{os.sep}kirigami{os.sep}")
        if ours:
            return _Place(f"kirigami/{path}:{frame.lineno}", frame is frames[-1])
    return _Place(f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "its start", False)
