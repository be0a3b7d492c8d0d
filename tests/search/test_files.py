"""Files that are whole or not there, and lines that are appended."""

import os
import stat

import pytest

from kirigami.search.files import append_line, lines, replaced, unfinished, write_bytes, write_text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.html"


def names(path):
    return sorted(one.name for one in path.parent.iterdir())


def test_what_is_written_takes_the_place_of_what_was_there(path):
    write_text(path, "old")
    write_bytes(path, b"new")
    assert (path.read_text(), names(path)) == ("new", [path.name])


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(path):
    write_text(path, "old")
    with pytest.raises(TypeError), replaced(path) as temporary:
        temporary.write_bytes("no bytes")
    assert (path.read_text(), names(path)) == ("old", [path.name])


def test_readers_see_the_old_file_until_the_new_one_is_whole(path):
    write_text(path, "old")
    with replaced(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        temporary.write_text("whole")
    assert path.read_text() == "whole"


def test_where_nothing_can_be_written_the_error_says_so_and_nothing_is_left(path):
    with pytest.raises(FileNotFoundError):
        write_text(path.parent / "missing" / "report.html", "text")
    assert names(path) == []


def test_what_a_killed_process_left_is_overwritten(path):
    unfinished(path).write_text("left by a process that was killed, and longer than what comes")
    unfinished(path).chmod(0o644)
    write_text(path, "mine", private=True)
    assert (path.read_text(), names(path)) == ("mine", [path.name])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_private_file_is_never_readable_by_others(path, monkeypatch):
    seen, rename = [], type(path).replace

    def replace(self, target):
        seen.append(stat.S_IMODE(os.stat(self).st_mode))
        return rename(self, target)

    monkeypatch.setattr(type(path), "replace", replace)
    write_text(path, "secret", private=True)
    assert seen == [0o600]


def test_a_line_after_one_that_was_cut_in_half_stands_alone(path):
    append_line(path, {"a": 1.0})
    with path.open("ab") as file:
        file.write(b'{"b": ')
    append_line(path, {"c": float("nan")})
    assert lines(path) == [{"a": 1.0}, {"c": None}]
