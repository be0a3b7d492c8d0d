"""The wheel, installed elsewhere, does the same from an empty folder, with nothing of this checkout."""

import json
import os
import zipfile
from pathlib import Path

import pytest

from tests.end_to_end.commands import ROOT, Ended, Folder

pytestmark = pytest.mark.slow  # it builds a wheel and installs it

ROOMS = ("search", "spaces", "tasks", "models", "conf")
NETWORK = '''
import json
import os
import sys
from pathlib import Path

from torch import nn


class Net(nn.Module):
    """Write down where every module of ours was loaded from."""

    def __init__(self, in_shape, out_features):
        super().__init__()
        self.layer = nn.Linear(in_shape[0], out_features)
        ours = [module for name, module in sys.modules.items() if name.split(".")[0] == "kirigami"]
        files = [module.__file__ for module in ours if getattr(module, "__file__", None)]
        Path(os.environ["MODULES"]).write_text(json.dumps(sorted(files)))

    def forward(self, inputs):
        return self.layer(inputs)
'''


@pytest.fixture(scope="module")
def ran(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Ended, Path]:
    mine = tmp_path_factory.mktemp("mine")
    (mine / "net.py").write_text(NETWORK)
    modules = tmp_path_factory.mktemp("seen") / "modules.json"
    folder = Folder(tmp_path_factory.mktemp("empty"), {"PYTHONPATH": str(installed), "MODULES": str(modules)})
    study = ("study=breast_cancer", "network._target_=net.Net", "space=[optimizer]")
    ended = folder.run("search", *study, "trainer.epochs=2", "budget.trials=2", "--config-dir", str(mine))
    return folder, ended, modules


def test_wheel_holds_every_room_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    links = ROOT / "src" / "kirigami"
    parts = [(room, file.relative_to(ROOT / room)) for room in ROOMS for file in sources(ROOT / room)]
    ours = {f"kirigami/{room}/{file.as_posix()}" for room, file in parts}
    ours |= {f"kirigami/{file.name}" for file in links.glob("*.py")}
    found = {name for name in names if ".dist-info/" not in name}

    assert found == ours
    assert "kirigami/conf/config.yaml" in found
    assert any(name.startswith("kirigami/conf/study/") for name in found)


def sources(folder: Path) -> list[Path]:
    files = (Path(where) / name for where, _, names in os.walk(folder) for name in names)
    return [file for file in files if file.suffix in (".py", ".yaml", ".html") and "__pycache__" not in file.parts]


def test_wheel_brings_the_command_and_the_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    commands = next(text for name, text in texts.items() if name.endswith("entry_points.txt"))

    assert "kirigami = kirigami.search.command.cli:entry" in commands
    assert any("LICENSE" in name for name in texts)


def test_study_runs_from_an_empty_folder(ran: tuple[Folder, Ended, Path]) -> None:
    folder, ended, _ = ran
    ended.check()

    assert len(folder.trials("breast_cancer")) == 2
    assert {name.split("/")[0] for name in folder.files()} == {"studies.db", "studies"}


def test_modules_come_from_the_installed_wheel(ran: tuple[Folder, Ended, Path], installed: Path) -> None:
    files = json.loads(ran[2].read_text())
    rooms = {Path(file).relative_to(installed).parts[1] for file in files if file.startswith(f"{installed}/")}

    assert [file for file in files if not file.startswith(f"{installed}/")] == []
    assert {"search", "spaces", "tasks", "models"} <= rooms


def test_configs_come_from_the_installed_wheel(ran: tuple[Folder, Ended, Path], installed: Path) -> None:
    folder = ran[0]
    changed = installed / "kirigami" / "conf" / "study" / "only_here.yaml"
    changed.write_text("# @package _global_\nseed: 4711\n")

    assert "seed: 4711" in folder.run("config", "study=only_here").check().out
