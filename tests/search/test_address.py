"""A path is no URL: whatever it holds, the store that it leads to is the same file for every process."""

import os
from pathlib import Path

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as some

from kirigami.search.config.compose import compose
from kirigami.search.config.study import checked
from kirigami.search.storage import Settings, absolute_sqlite, folder_of, open_storage, shown
from kirigami.search.storage.address import checked_url

NAMES = some.text(some.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=40)
ODD = ["what?next", "run%31", "a${b}", "a{b}", "größe", "conf, (v2)", "it's", "a:b@c", "a=b&c#d"]


def settings(url: str) -> Settings:
    return Settings.read({"url": url, "heartbeat_s": 1, "grace_s": 2})


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("odd")


@given(NAMES.filter(lambda name: name not in (".", "..")))
def test_a_url_leads_to_the_file_that_it_was_made_for(base, name):
    folder = base / name
    folder.mkdir(exist_ok=True)
    url = absolute_sqlite(f"sqlite:///{folder}/studies.db")

    assert settings(url).file == folder / "studies.db"
    assert absolute_sqlite(url) == absolute_sqlite(shown(url)) == url
    assert folder_of(url, "mine") == folder / "studies" / "mine"


@pytest.mark.parametrize("name", ODD)
def test_a_store_lies_where_the_command_runs(name, tmp_path, monkeypatch):
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.chdir(folder)
    checked_settings = checked(compose(["study=breast_cancer"]))
    trial = checked_settings.resolved({})

    open_storage(checked_settings.config.storage).engine.dispose()

    assert os.listdir(folder) == ["studies.db"]
    assert os.listdir(tmp_path) == [name]
    assert settings(trial["storage"]["url"]).file == folder / "studies.db"


def test_a_written_url_is_decoded_where_no_folder_has_its_name(tmp_path):
    (tmp_path / "a b").mkdir()

    assert settings(absolute_sqlite(f"sqlite:///{tmp_path}/a%20b/x.db")).file == tmp_path / "a b" / "x.db"
    assert settings(absolute_sqlite(f"sqlite:///{tmp_path}/x.db?timeout=3")).file == tmp_path / "x.db"


@pytest.mark.parametrize(
    ("written", "password", "host"),
    [
        ("postgresql://me:a@b@h/d", "a@b", "h"),
        ("postgresql://me:a@b/c?d@h:5/d", "a@b/c?d", "h"),
        ("postgresql://me@tenant:p/w@h/d", "p/w", "h"),
        ("postgresql://me:p%40w@h/d", "p@w", "h"),
        ("postgresql://me:pw@h/d?to=a@b", "pw", "h"),
    ],
)
def test_a_password_ends_at_the_last_at(written, password, host):
    url = sqlalchemy.make_url(checked_url(written))
    assert (url.password, url.host, url.database) == (password, host, "d")
    assert checked_url(checked_url(written)) == checked_url(written)
