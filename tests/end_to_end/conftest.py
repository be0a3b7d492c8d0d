"""The wheel, built once, and the folder it is installed in."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.commands import ROOT, SECONDS


def call(*arguments: str, **options: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, timeout=SECONDS, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    call("hatchling", "build", "-t", "wheel", "-d", str(out), cwd=str(ROOT))
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("installed")
    call("pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    return target
