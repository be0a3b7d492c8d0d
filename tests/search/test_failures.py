"""Whatever a verb raises becomes one line and an exit code: 2 for the input, 1 for the run and for faults of ours."""

import errno
import json
import re

import optuna
import pytest
import sqlalchemy

from kirigami.errors import ArgumentError
from kirigami.search.command.cli import main
from kirigami.search.command.verb import Verb
from kirigami.search.errors import TRACEBACK, InputError, StudyStopped, failure_of
from kirigami.search.files import check_place
from kirigami.search.workers import worker
from kirigami.search.workers.launchers.base import Patience


def raised(error: BaseException, file: str = "/somewhere/site-packages/other.py") -> BaseException:
    """Return an error that has been raised in a file."""
    try:
        exec(compile("raise error", file, "exec"), {"error": error})
    except BaseException as caught:
        return caught


def not_json() -> BaseException:
    try:
        json.loads("{")
    except ValueError as error:
        return error
    raise AssertionError


ORIGINAL = sqlalchemy.exc.OperationalError("select 1", {}, Exception("disk is full"))
ERRORS = {
    "of the input": (InputError("a is wrong"), 2, "a is wrong"),
    "of the run": (StudyStopped("it is away"), 1, "it is away"),
    "of an argument": (ArgumentError("bits", "must be 2, but got 3.", ("bits", 2)), 2, "bits must be 2, .*Set bits=2"),
    "no such file": (FileNotFoundError(errno.ENOENT, "No such file", "a/b.csv"), 2, r"a/b\.csv: No such file\."),
    "a name too long": (OSError(errno.ENAMETOOLONG, "File name too long", "xx"), 2, "xx: File name too long"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device", "a"), 1, "a: No space left"),
    "no reason": (OSError("cannot identify image file"), 2, "cannot identify image file"),
    "JSON": (not_json(), 2, rf"Expecting property name.*\({TRACEBACK}=1 shows where\.\)"),
    "a driver's": (ORIGINAL, 2, r"disk is full\. "),
    "Optuna's": (optuna.exceptions.StorageInternalError("x"), 2, r"x\. "),
    "no package": (ModuleNotFoundError("No module named 'mlflow'", name="mlflow"), 2, "pip install mlflow"),
    "memory": (MemoryError(), 1, "not enough memory"),
    "of ours": (KeyError("columns"), 1, rf"KeyError at .*: 'columns'\. This is a fault of kirigami.*{TRACEBACK}=1"),
}


THROW = compile("raise error", "/somewhere/site-packages/other.py", "exec")


def test_a_file_of_the_users_is_named():
    failure = failure_of(raised(KeyError("columns"), "/home/me/net.py"))
    assert failure == ("/home/me/net.py, line 1 raised KeyError: 'columns'.", 2)
    assert "fault of kirigami" in failure_of(raised(KeyError("x"), "/a/site-packages/kirigami/search/a.py")).line


@pytest.mark.parametrize(("error", "code", "pattern"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_one_line(error, code, pattern, monkeypatch, capsys):
    failure = failure_of(raised(error))
    assert failure.code == code
    assert re.search(pattern, failure.line)

    monkeypatch.setattr(Verb, "run", lambda *_: exec(THROW, {"error": error}))
    assert main(["results"]) == code
    assert re.fullmatch(r"kirigami: [^\n]+\n", capsys.readouterr().err)
    monkeypatch.setenv(TRACEBACK, "1")
    assert main(["results"]) == code
    assert capsys.readouterr().err.startswith("Traceback")


def test_the_place_of_an_answer_is_looked_at_first(tmp_path):
    (tmp_path / "folder").mkdir()
    for place, words in {
        "nowhere/out.csv": "does not exist",
        "folder": "is a folder",
        "x" * 253: "no file can have so long a name",
    }.items():
        with pytest.raises(InputError, match=f"to=.*{words}"):
            check_place(tmp_path / place, "to")
    check_place(tmp_path / "out.csv", "to")


def test_a_name_that_no_file_can_have(capsys):
    assert main(["search", "study=breast_cancer", f"name={'ü' * 150}"]) == 2
    assert "name must be short enough for the names of files, 180 bytes at most, but got 300" in capsys.readouterr().err


class TestWorkers:
    """What would go wrong again is said at once."""

    def test_before_it_has_joined_an_error_is_its_answer(self, capsys):
        assert worker._ending(raised(TypeError("no")), joined=False)[0] == 1
        assert worker._ending(raised(OSError(errno.EACCES, "Permission denied", "a")), joined=False) == (
            2,
            {"error": "a: Permission denied."},
        )
        assert worker._ending(InputError("a is wrong"), joined=False) == (2, {"error": "a is wrong"})
        assert capsys.readouterr().err.count("Traceback") == 2

    def test_later_it_dies_of_it_and_a_store_may_be_there_again(self):
        assert worker._ending(raised(KeyError("x")), joined=True)[0] == 3
        assert worker._ending(raised(ORIGINAL), joined=False) == (3, {"died": worker.failure_of(ORIGINAL).line})

    def test_the_same_last_words_are_not_waited_out(self):
        patience = Patience(10, lambda: 0)
        assert [patience.after_death("KeyError: 'x'") is None for _ in range(3)] == [False, False, True]
        patience = Patience(10, lambda: 0)
        assert not any(patience.after_death(words) is None for words in ("a", "a", "b", "a", "a", "", "a", "a"))
