"""A folder that is replaced as a whole, whatever happens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kirigami.search.export import folder as folders
from kirigami.search.export.folder import replaced


def contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}


def write(folder: Path, text: str) -> None:
    with replaced(folder) as unfinished:
        for name in ("one", "two"):
            (unfinished / name).write_text(text)


def test_first_and_second_time(tmp_path: Path) -> None:
    for text in ("a", "b"):
        write(tmp_path / "export", text)
        assert contents(tmp_path / "export") == {"one": text, "two": text}
        assert [one.name for one in tmp_path.iterdir()] == ["export"]


def test_what_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "export", "a")
    with pytest.raises(FileNotFoundError), replaced(tmp_path / "export") as unfinished:
        (unfinished / "nowhere" / "one").write_text("half")
    assert contents(tmp_path / "export") == {"one": "a", "two": "a"}
    assert [one.name for one in tmp_path.iterdir()] == ["export"]


def test_without_a_call_that_swaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError

    monkeypatch.setattr(folders, "_exchange", refuse)
    write(tmp_path / "export", "a")
    write(tmp_path / "export", "b")
    assert contents(tmp_path / "export") == {"one": "b", "two": "b"}


def test_killed_between_two_renames_it_is_put_right_by_the_next_run(tmp_path: Path) -> None:
    write(tmp_path / "export", "a")
    (tmp_path / "export").rename(tmp_path / ".export.old")
    with pytest.raises(FileNotFoundError), replaced(tmp_path / "export") as unfinished:
        (unfinished / "nowhere" / "one").write_text("half")
    assert contents(tmp_path / "export") == {"one": "a", "two": "a"}


def test_killed_at_any_moment_one_of_the_two_is_whole(tmp_path: Path) -> None:
    script = (
        "import itertools, sys; from pathlib import Path; from kirigami.search.export.folder import replaced\n"
        "for turn in itertools.count():\n"
        "    with replaced(Path(sys.argv[1])) as unfinished:\n"
        "        for name in ('one', 'two'):\n"
        "            (unfinished / name).write_text(str(turn) * 2000)\n"
        "    print(turn, flush=True)\n"
    )
    root = Path(__file__).parents[2]
    for wait in (0.0, 0.003, 0.007, 0.011, 0.016):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "export")], stdout=subprocess.PIPE, text=True, cwd=root
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        found = contents(tmp_path / "export")
        assert set(found) == {"one", "two"}
        assert found["one"] == found["two"]
        assert len(found["one"]) % 2000 == 0
