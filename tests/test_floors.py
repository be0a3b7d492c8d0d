"""The rooms stand on floors: search on top, spaces, tasks and models below, which never see each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("search", "spaces", "tasks", "models")
FORBIDDEN = {
    "spaces": {"search", "tasks", "models", "torch", "lightning", "hydra", "omegaconf"},
    "tasks": {"search", "spaces", "models", "optuna", "hydra", "omegaconf"},
    "models": {"search", "spaces", "tasks", "optuna", "hydra", "omegaconf"},
    "search": set(),
}
# What is heavy stays out of these, so that the command answers at once.
LIGHT = (
    *("storage/address", "storage/opening", "storage/postgres", "storage/store"),
    *("cli", "verbs", "compose", "errors", "identity", "ledger", "progress", "reading", "resolve"),
    *("results", "run", "samplers", "study", "supervisor"),
    *(f"launchers/{name}" for name in ("__init__", "base", "cluster", "local", "places", "process", "ray", "slurm")),
)
MODULES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imported(file: Path, *, anywhere: bool) -> set[str]:
    """Return the top-level packages that a file imports: anywhere in it, or when it is loaded."""
    tree = ast.parse(file.read_text())
    nodes = ast.walk(tree) if anywhere else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_module_imports_nothing_of_another_floor(file: Path) -> None:
    assert not imported(file, anywhere=True) & FORBIDDEN[file.relative_to(ROOT).parts[0]]


@pytest.mark.parametrize("name", LIGHT)
def test_light_module_loads_nothing_heavy(name: str) -> None:
    heavy = {"torch", "lightning", "models", "tasks", "sklearn", "pandas", "datasets", "ray", "submitit"}

    assert not imported(ROOT / "search" / f"{name}.py", anywhere=False) & heavy


def test_import_linter_agrees() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=180)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_room_for_odds_and_ends() -> None:
    assert [file for file in MODULES if {"utils", "common", "helpers", "utils.py", "helpers.py"} & {*file.parts}] == []


def test_every_folder_of_a_room_is_a_package() -> None:
    assert [file for file in MODULES if not (file.parent / "__init__.py").exists()] == []


@pytest.mark.parametrize("room", [*ROOMS, "conf"])
def test_room_carries_the_marker(room: str) -> None:
    """Other distributions install packages of these names; the command refuses to start on theirs."""
    assert "KIRIGAMI = True" in (ROOT / room / "__init__.py").read_text()
