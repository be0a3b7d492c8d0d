"""Packages that load their parts on demand give each name that they list, and what type checkers are told of."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = (
    "kirigami",
    *("kirigami.tasks", "kirigami.models", "kirigami.models.compact", "kirigami.models.graph"),
    "kirigami.search.storage",
)
HEAVY = ("torch", "lightning", "optuna", "sqlalchemy", "sklearn", "pandas", "onnxruntime")


def checked(package: str) -> dict[str, str]:
    """Return the module of each name that a type checker sees in a package."""
    file = import_module(package).__file__
    assert file is not None
    branch = next(node for node in ast.parse(Path(file).read_text()).body if isinstance(node, ast.If))
    nodes = [node for node in branch.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in nodes for alias in node.names}


@pytest.mark.parametrize("package", PACKAGES)
def test_each_name_is_what_type_checkers_see(package: str) -> None:
    loaded = import_module(package)
    modules = checked(package)
    assert sorted(modules) == sorted(loaded.__all__)
    for name, module in modules.items():
        value = import_module(f"{package}.{name}") if module == package else getattr(import_module(module), name)
        assert getattr(loaded, name) is value


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_refused(package: str) -> None:
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        import_module(package).nothing  # noqa: B018


def test_packages_alone_load_nothing_heavy() -> None:
    code = f"import sys, {', '.join(PACKAGES)}; print(sorted(set({HEAVY}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout == "[]\n"
