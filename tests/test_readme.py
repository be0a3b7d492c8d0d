"""What the README tells people to type is understood, and its records say what it says."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from kirigami.models.compact import encode
from kirigami.models.graph import to_onnx
from kirigami.models.networks import ConvNet
from kirigami.search.command.options import fields_of, flags_of
from kirigami.search.command.verbs import VERBS
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve
from kirigami.search.config.study import checked

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINES = re.findall(r"^kirigami .+$", "\n".join(page.read_text() for page in FILES), flags=re.MULTILINE)
COMMANDS = list(dict.fromkeys(line.partition("  #")[0].strip() for line in LINES))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, study in (("mine", "mine"), ("conf", "rows")):
        (tmp_path / folder / "study").mkdir(parents=True)
        (tmp_path / folder / "study" / f"{study}.yaml").write_text("# @package _global_\nbudget: {trials: 3}\n")
    _, verb, *rest = shlex.split(command)
    assert verb in VERBS
    rest = [one for one in rest if one.partition("=")[0] not in fields_of(VERBS[verb].options)]
    if VERBS[verb].files:
        assert len([one for one in rest if one.removeprefix("--") not in flags_of(VERBS[verb].options)]) == len(
            VERBS[verb].files
        )
        return
    if "storage=postgres" in rest:
        monkeypatch.setenv("KIRIGAMI_STORAGE", "postgresql://me@127.0.0.1/db")
        monkeypatch.setattr(
            "kirigami.search.config.study.storage.check", lambda settings, create: None
        )  # there is no server
    overrides = [one for one in rest if "=" in one or one.startswith("~")]
    folders = [tmp_path / rest[rest.index("--config-dir") + 1]] if "--config-dir" in rest else []
    if verb == "search":
        checked(compose(overrides, folders))
    else:
        resolve(compose(overrides, folders))


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    assert set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)) <= targets
    assert {"help", "search", "results", "test", "check", "bench", "clean"} <= targets


PYTHON = {page.name: re.findall(r"```python\n(.+?)```", page.read_text(), flags=re.DOTALL) for page in FILES}


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, operators_once: None) -> Path:
    """The two files of an exported network, as the pages name them."""
    folder = tmp_path_factory.mktemp("exported")
    network = ConvNet([1, 8, 8], 10, width=8).eval()
    settings = {"name": "convnet", "width": 8}
    shapes = {"in_shape": [1, 8, 8], "out_features": 10}
    about = json.dumps({"network": settings, "shapes": shapes}).encode()
    (folder / "model.kgm").write_bytes(encode(network, extra={"about": about}))
    (folder / "model.onnx").write_bytes(to_onnx(network, torch.zeros(1, 1, 8, 8)))
    return folder


@pytest.mark.parametrize("page", [name for name, blocks in PYTHON.items() if blocks])
def test_python_of_a_page_runs_from_top_to_bottom(
    page: str, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": page}
    for block in PYTHON[page]:
        exec(block, names)

    if page == "README.md":
        assert abs(names["history"].best["params"]["lr"] - 0.1) < 0.2  # type: ignore[attr-defined]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("record", sorted((ROOT / "benchmarks" / "records").glob("*.json")), ids=lambda path: path.stem)
def test_record_is_whole(record: Path) -> None:
    found = json.loads(record.read_text())

    assert {"benchmark", "date", "prose", "machine", "versions", "revision", "results"} <= found.keys()
    rooms = [ROOT / "benchmarks" / room for room in ("claims", "races")]
    assert [room.name for room in rooms if (room / f"{found['benchmark']}.py").exists()]
