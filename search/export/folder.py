"""A folder that changes as a whole: whoever looks, and whoever is killed, finds the old one or the new one."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give an empty folder to fill; put it in the place of the one meant at the end, unless something is raised.

    It lies beside the one meant. What a killed run left there is removed at the next one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished, aside = _beside(folder, "new"), _beside(folder, "old")
    if aside.exists() and not folder.exists():  # killed between the two renames that some systems need
        aside.rename(folder)
    for left in (unfinished, aside):
        shutil.rmtree(left, ignore_errors=True)
    unfinished.mkdir()
    try:
        yield unfinished
        _flush(unfinished)
        _put(unfinished, folder, aside)
    finally:
        for left in (unfinished, aside):
            shutil.rmtree(left, ignore_errors=True)


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{kind}")


def _flush(folder: Path) -> None:
    """Have the files on the disk before the folder takes its name."""
    for file in folder.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


def _put(new: Path, folder: Path, aside: Path) -> None:
    if not folder.exists():
        new.rename(folder)
        return
    with suppress(OSError, AttributeError):  # not on every system, nor on every file system
        _exchange(new, folder)
        return
    folder.rename(aside)
    new.rename(folder)


def _exchange(one: Path, other: Path) -> None:
    """Swap two names in one step.

    Raises:
        OSError: where the file system cannot.
        AttributeError: where the system has no such call.
    """
    call = ctypes.CDLL(None, use_errno=True).renameat2
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
