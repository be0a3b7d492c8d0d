"""Where a user's own modules are found: after everything that is installed, so that neither side shadows the other."""

import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError


def add_folders(folders: Iterable[str | Path]) -> None:
    """Put a user's folders at the end of the module search path."""
    for folder in map(str, folders):
        if folder not in sys.path:
            sys.path.append(folder)


def check_target(target: Any, folders: Iterable[str | Path]) -> None:
    """Check that a class path names the user's module where the user's folders have one of that name.

    Args:
        target: `package.module.Class`; anything else is left to whoever imports it.
        folders: the user's.

    Raises:
        InputError: where an installed package of the same name would be imported instead.
    """
    if not isinstance(target, str) or "." not in target:
        return
    name = target.partition(".")[0]
    users = importlib.machinery.PathFinder.find_spec(name, [str(folder) for folder in folders])
    if users is None:
        return
    imported = sys.modules[name].__spec__ if name in sys.modules else importlib.util.find_spec(name)
    if imported is not None and _place(imported) != _place(users):
        raise InputError(
            f"network._target_={target} would import {_place(imported)}, not your {_place(users)}. "
            f"Rename yours, and set network._target_=NEW{target[len(name) :]}."
        )


def _place(spec: importlib.machinery.ModuleSpec) -> str:
    """Return where a module lies: its file, or the first folder of a package without one."""
    return str(spec.origin or next(iter(spec.submodule_search_locations or []), "Python itself"))
