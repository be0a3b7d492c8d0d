"""Where a user's own modules are found: after everything that is installed, so that neither side shadows the other."""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError
from kirigami.targets import KEY


def add_folders(folders: Iterable[str | Path]) -> None:
    """Put a user's folders at the end of the module search path."""
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def check_targets(config: Mapping[str, Any], folders: Iterable[str | Path]) -> None:
    """Check that every `_target_` names the user's module where the user's folders have one of that name.

    Args:
        config: the whole config, its lists and its space too.
        folders: the user's.

    Raises:
        InputError: where an installed package of the same name would be imported instead.
    """
    searched = [str(folder) for folder in folders]
    for path, target in _targets(config):
        _check(path, target, searched)


def _targets(node: Any, path: str = "", inside: bool = False) -> Iterator[tuple[str, str]]:
    """Yield (dotted path, class path) of every `_target_`, and of the values that a space has for one."""
    inside = inside or path.rpartition(".")[2] == KEY
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _targets(child, f"{path}.{key}" if path else str(key), inside)
    elif isinstance(node, list | tuple):
        for place, child in enumerate(node):
            yield from _targets(child, path if inside else f"{path}.{place}", inside)
    elif inside and isinstance(node, str) and "." in node:
        yield path, node


def _check(path: str, target: str, folders: list[str]) -> None:
    name = target.partition(".")[0]
    users = importlib.machinery.PathFinder.find_spec(name, folders)
    if users is None:
        return
    imported = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    if imported is not None and _place(imported) != _place(users):
        raise InputError(
            f"{path}={target} would import {_place(imported)}, not your {_place(users)}. "
            f"Rename yours, and set {path}=NEW{target[len(name) :]}."
        )


def _place(spec: importlib.machinery.ModuleSpec) -> str:
    """Return where a module lies: its file, or the first folder of a package without one."""
    return str(spec.origin or next(iter(spec.submodule_search_locations or []), "Python itself"))
