"""What the README tells people to type is understood, and its records say what it says."""

import json
import re
import shlex
from pathlib import Path

import pytest

from kirigami.search.command.cli import VERBS
from kirigami.search.command.search import check_config
from kirigami.search.config.compose import compose
from kirigami.search.config.resolve import resolve

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = [README, *(page.read_text() for page in sorted((ROOT / "docs").glob("*.md")))]
LINES = re.findall(r"^kirigami .+$", "\n".join(PAGES), flags=re.MULTILINE)
COMMANDS = list(dict.fromkeys(line.partition("  #")[0].strip() for line in LINES))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_understood(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine" / "study").mkdir(parents=True)
    (tmp_path / "mine" / "study" / "mine.yaml").write_text("# @package _global_\nbudget: {trials: 3}\n")
    _, verb, *rest = shlex.split(command)
    assert verb in VERBS
    rest = [one for one in rest if one.partition("=")[0] not in VERBS[verb].options]
    if VERBS[verb].files:
        assert len([one for one in rest if one.removeprefix("--") not in VERBS[verb].flags]) == len(VERBS[verb].files)
        return
    if "storage=postgres" in rest:
        monkeypatch.setenv("KIRIGAMI_STORAGE", "postgresql://me@127.0.0.1/db")
        monkeypatch.setattr(
            "kirigami.search.command.search.storage.check", lambda settings, create: None
        )  # there is no server
    overrides = [one for one in rest if "=" in one or one.startswith("~")]
    folders = [tmp_path / rest[rest.index("--config-dir") + 1]] if "--config-dir" in rest else []
    if verb == "search":
        check_config(compose(overrides, folders))
    else:
        resolve(compose(overrides, folders))


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))

    assert set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)) <= targets
    assert {"help", "search", "results", "test", "check", "bench", "clean"} <= targets


def test_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)

    assert abs(names["history"].best["params"]["lr"] - 0.1) < 0.2  # type: ignore[attr-defined]


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("record", sorted((ROOT / "benchmarks" / "records").glob("*.json")), ids=lambda path: path.stem)
def test_record_is_whole(record: Path) -> None:
    found = json.loads(record.read_text())

    assert {"benchmark", "date", "prose", "machine", "versions", "revision", "results"} <= found.keys()
    assert (ROOT / "benchmarks" / f"{found['benchmark']}.py").exists()
