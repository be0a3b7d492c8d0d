"""Run benchmarks by name: `python -m benchmarks overhead`; without a name, list them.

Each module has a `measure() -> dict` that prints a table, and a first docstring line that says what it measures.
"""

import importlib
import pkgutil
import sys

import benchmarks
from benchmarks.record import write

NOT_BENCHMARKS = ("__main__", "database", "faults", "judge", "light", "network", "racer", "record")


def main(names: list[str]) -> None:
    """Run the named benchmarks, or list all of them."""
    known = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    known = [name for name in known if name not in NOT_BENCHMARKS]
    wrong = [name for name in names if name not in known]
    if wrong or not names:
        for name in known:
            print(f"{name:<12} {(importlib.import_module(f'benchmarks.{name}').__doc__ or '').splitlines()[0]}")
        sys.exit(f"no benchmark is called {wrong[0]!r}" if wrong else 0)
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        print(f"{name}: {(module.__doc__ or '').splitlines()[0]}")
        write(name, module.measure())


if __name__ == "__main__":
    main(sys.argv[1:])
