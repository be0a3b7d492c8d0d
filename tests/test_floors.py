"""The rooms stand on floors: search on top, spaces, tasks and models below, which never see each other."""

import ast
import os
import re
import shutil
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
SOURCES = [file for room in (*ROOMS, "benchmarks") for file in sorted((ROOT / room).rglob("*.py"))]
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


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """Check the imports of the `kirigami` in a folder."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--config", str(ROOT / ".importlinter")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=600)


def test_import_linter_agrees() -> None:
    done = lint(ROOT / "src")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the rooms, for a test to spoil."""
    only_python = shutil.ignore_patterns("__pycache__", "*.yaml", "*.html", "*.csv", "*.npz", "*.gz")
    shutil.copytree(ROOT / "src" / "kirigami", tmp_path / "kirigami", ignore=only_python)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("search/study/ledger.py", "from kirigami.search.command import verbs", "the rooms of search"),
        ("search/loop/shares.py", "from kirigami.search.export import folder", "the rooms of search"),
        ("search/training/job.py", "from kirigami.search.training import alone", "the training of a trial"),
        ("search/storage/outage.py", "from kirigami.search.storage import opening", "no circle between rooms"),
        ("search/odds_and_ends.py", "", "the rooms of search"),
        ("models/norms.py", "from kirigami.search import files", "search stands on"),
    ],
)
def test_an_import_upwards_is_found(copied: Path, file: str, line: str, broken: str) -> None:
    path = copied / "kirigami" / file
    path.write_text(f"{path.read_text() if path.exists() else ''}\n{line}\n")
    done = lint(copied)

    assert done.returncode == 1
    assert re.search(rf"{broken}((?!KEPT).)*? BROKEN", " ".join(done.stdout.split()))


def test_search_has_few_rooms() -> None:
    rooms = {path.stem for path in (ROOT / "search").iterdir() if (path.is_dir() or path.suffix == ".py")}

    assert len(rooms - {"__init__", "__pycache__"}) <= 17


def test_no_function_is_long() -> None:
    long = [
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= 60
    ]

    assert long == []


def test_no_file_is_long() -> None:
    files = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]
    assert [str(file.relative_to(ROOT)) for file in files if len(file.read_text().splitlines()) > 350] == []


def test_no_room_for_odds_and_ends() -> None:
    assert [file for file in MODULES if {"utils", "common", "helpers", "utils.py", "helpers.py"} & {*file.parts}] == []


def test_every_folder_of_a_room_is_a_package() -> None:
    assert [file for file in MODULES if not (file.parent / "__init__.py").exists()] == []
