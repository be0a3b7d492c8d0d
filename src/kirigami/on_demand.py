"""Packages whose parts are loaded when they are first named, so that who needs one of them waits for that one alone."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def on_demand(package: str, names: Mapping[str, Sequence[str]], modules: Sequence[str] = ()) -> Callable[[str], Any]:
    """Return the `__getattr__` of a package (PEP 562).

    No module may be called like a name that another module defines: importing it would put it in that name's place.

    Args:
        package: its full name.
        names: what the package gives of each of its modules, by the module's name.
        modules: those that it gives whole.
    """
    places = {name: module for module, its_names in names.items() for name in its_names}

    def load(name: str) -> Any:
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{places[name]}"), name)
        setattr(sys.modules[package], name, value)  # found without this function from now on
        return value

    return load
