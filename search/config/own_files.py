"""A user's files of config: read as they stand, and what is wrong in one said in one line that names it."""

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from kirigami.errors import did_you_mean
from kirigami.search.config.groups import GROUPS
from kirigami.search.errors import InputError, one_line

PACKAGE = re.compile(r"\s*#\s*@package\s+(\S+)\s*")
CHOOSABLE = (*GROUPS, "space")


def read(file: Path, *, is_study: bool) -> tuple[DictConfig, str | None]:
    """Return what a file of config holds, and the package that its head names; a byte order mark is nothing.

    Args:
        is_study: whether it is a study, which speaks of the whole config.

    Raises:
        InputError: in one line that names the file, where Hydra would fall over it, or do without a part of it.
    """
    text, where = _text(file), shown(file)
    package = _package(text)
    if is_study and package != "_global_":
        is_empty = "" if text.strip() else " is empty"
        raise InputError(f"{where}{is_empty}: its first line must be `# @package _global_`.")
    content = _parsed(text, where)
    _check_defaults(content, where, is_study)
    return content, package


def shown(file: Path) -> str:
    """Return a file's path from where the command runs, if it lies below."""
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def _text(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{shown(file)}, line {line} is not in UTF-8. Save the file as UTF-8.") from None


def _package(text: str) -> str | None:
    """Return the package that a comment in the head of a file names."""
    for line in text.splitlines():
        if match := PACKAGE.fullmatch(line):
            return match[1]
        if line.strip() and not line.lstrip().startswith("#"):
            return None
    return None


def _parsed(text: str, where: str) -> DictConfig:
    try:
        content = OmegaConf.create(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}" if mark else where
        problem = getattr(error, "problem", None) or one_line(error)
        tabs = " Indent by blanks." if "'\\t'" in problem else ""
        raise InputError(f"{place} cannot be read as YAML: {problem}.{tabs}") from None
    if not isinstance(content, DictConfig):
        raise InputError(f"{where} must hold keys and values, but holds a list. Write KEY: VALUE on each line.")
    wrong = next((key for key in content if not isinstance(key, str)), None)
    if wrong is not None:
        raise InputError(f"{where}: the key {wrong!r} is no text. Keys are names, such as seed.")
    return content


def _check_defaults(content: DictConfig, where: str, is_study: bool) -> None:
    """Check the list of the files that a file stands on, as far as the list itself goes.

    Raises:
        InputError: in one line, with what to write.
    """
    entries = content.get("defaults")
    if entries is None:
        content.pop("defaults", None)
        return
    if not OmegaConf.is_list(entries):
        raise InputError(f"{where}: defaults must be a list. Write `- override /task: table`, for example.")
    for entry in entries:
        if OmegaConf.is_dict(entry):
            for key, value in entry.items():
                _check_entry(str(key), value, where, is_study)
        elif not isinstance(entry, str):
            raise InputError(
                f"{where}: defaults: {entry!r} names no file. Write `- override /task: table`, for example."
            )


def _check_entry(entry: str, value: Any, where: str, is_study: bool) -> None:
    """Check an entry that chooses a file of a group.

    Raises:
        InputError: in one line, with what to write.
    """
    word, _, group = entry.rpartition(" ")
    if is_study and group in CHOOSABLE:
        raise InputError(f"{where}: defaults: write `override /{group}: {value}` for `{entry}: {value}`.")
    if word == "override" and group.lstrip("/") not in CHOOSABLE:
        near = did_you_mean(group.lstrip("/"), CHOOSABLE)
        raise InputError(f"{where}: defaults: no group {group!r} to override.{near} Groups: {', '.join(CHOOSABLE)}.")
