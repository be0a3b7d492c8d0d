"""Run benchmarks by name: `python -m benchmarks overhead`; without a name, list them by room.

Each module of `claims` and `races` has a `measure() -> dict` that prints a table, and a first docstring line that says
what it measures.
"""

import ast
import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from benchmarks import claims, races
from benchmarks.rig.record import write

ROOMS = (claims, races)


def main(names: list[str]) -> None:
    """Run the named benchmarks, or list all of them."""
    rooms = {module.name: room for room in ROOMS for module in pkgutil.iter_modules(room.__path__)}
    unknown = [name for name in names if name not in rooms]
    if unknown or not names:
        list_all(rooms)
        sys.exit(f"no benchmark is called {unknown[0]!r}; choose one of these" if unknown else 0)
    for name in names:
        module = importlib.import_module(f"{rooms[name].__name__}.{name}")
        print(f"{name}: {first_line(module)}")
        write(name, module.measure())


def list_all(rooms: dict[str, ModuleType]) -> None:
    """Print the rooms, and under each the names of its benchmarks with what they measure."""
    for room in ROOMS:
        print(f"{room.__name__.rpartition('.')[2]}: {first_line(room)}")
        for name in sorted(name for name in rooms if rooms[name] is room):
            source = Path(room.__path__[0], f"{name}.py").read_text()  # read, for an import takes torch with it
            print(f"  {name:<14} {(ast.get_docstring(ast.parse(source)) or '').splitlines()[0]}")


def first_line(module: ModuleType) -> str:
    """Return what a module says it is."""
    return (module.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    main(sys.argv[1:])
