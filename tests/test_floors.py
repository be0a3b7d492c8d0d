"""The rooms stand on floors: search on top, spaces, tasks and models below, which never see each other."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("search", "spaces", "tasks", "models")
# What is heavy stays out of these, so that the command answers at once.
LIGHT = (
    *("storage/address", "storage/opening", "storage/postgres", "storage/store", "errors"),
    *("report/progress", "report/results", "proposal/samplers"),
    *(f"command/{name}" for name in ("cli", "verb", "verbs", "words", "options", "searching")),
    *("config/compose", "config/identity", "config/own_code", "config/reading", "config/resolve", "schema"),
    *(f"config/{name}" for name in ("launcher", "objective", "pruner", "sampler", "settings", "study", "trainer")),
    *("config/groups", "training/devices"),
    *("study/ledger", "study/study", "workers/supervisor"),
    *(f"workers/launchers/{name}" for name in ("__init__", "base", "cluster", "local", "places", "process", "ray")),
    "workers/launchers/slurm",
)
HEAVY = {"torch", "lightning", "sklearn", "pandas", "datasets", "ray", "submitit"}
MODULES = [file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    """Return the packages that a file imports when it is loaded: their top name, or `kirigami.ROOM`."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module != "kirigami" else [f"kirigami.{alias.name}" for alias in node.names]
        found |= {".".join(name.split(".")[: 1 + name.startswith("kirigami.")]) for name in names}
    return found


@pytest.mark.parametrize("name", LIGHT)
def test_light_module_loads_nothing_heavy(name: str) -> None:
    assert not imported(ROOT / "search" / f"{name}.py") & {*HEAVY, "kirigami.models", "kirigami.tasks"}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--config", str(ROOT / ".importlinter")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def test_import_linter_agrees() -> None:
    done = lint(ROOT)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_no_room_for_odds_and_ends() -> None:
    assert [file for file in MODULES if {"utils", "common", "helpers", "utils.py", "helpers.py"} & {*file.parts}] == []


def test_every_folder_of_a_room_is_a_package() -> None:
    assert [file for file in MODULES if not (file.parent / "__init__.py").exists()] == []
