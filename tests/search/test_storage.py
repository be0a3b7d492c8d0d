"""Opening the store, and one plain line for each way in which it cannot be opened."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import optuna
import pytest

from kirigami.search import storage
from kirigami.search.errors import InputError
from kirigami.search.storage import Settings, folder_of, open_storage, shown, sqlite
from kirigami.search.storage.patience import Watch

SECRET = "s3cr3t"
SETTINGS = {"heartbeat_s": 10, "grace_s": 60}


def refused(url, **settings):
    """Return what is said of a store that must be refused, in one line and without the password."""
    with pytest.raises(InputError) as error:
        open_storage(Settings.read({"url": url, **SETTINGS, **settings}))
    text = str(error.value)
    assert "\n" not in text
    assert SECRET not in text
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "studies.db"


@pytest.fixture
def in_use(sqlite_url):
    return Path(sqlite_url.removeprefix("sqlite:///"))


def test_a_new_file_is_made_and_opened_again(path):
    first = open_storage(Settings.read({"url": f"sqlite:///{path}", **SETTINGS}))
    optuna.create_study(study_name="s", storage=first)
    second = open_storage(Settings.read({"url": f"sqlite:///{path}", **SETTINGS}), create=False)
    assert optuna.get_all_study_names(second) == ["s"]
    assert (second.heartbeat_s, second.watch.grace_s) == (10, 60)


def test_a_reading_verb_makes_no_file(path):
    with pytest.raises(InputError, match=r"does not exist\. Run `kirigami search`") as error:
        open_storage(Settings.read({"url": f"sqlite:///{path}", **SETTINGS}), create=False)
    assert "\n" not in str(error.value)
    assert not path.exists()


def test_every_connection_writes_ahead_and_waits_for_others(sqlite_url, in_use):
    opened = open_storage(Settings.read({"url": sqlite_url, **SETTINGS}))
    for _ in range(2):
        with opened.engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1000 * sqlite.BUSY_SECONDS
        opened.engine.dispose()
    optuna.create_study(study_name="s", storage=opened)
    assert in_use.with_name("studies.db-wal").exists()


@pytest.mark.filterwarnings("ignore:.*Heartbeat of storage.*")
def test_writers_wait_for_each_other(sqlite_url, in_use):
    study = optuna.create_study(study_name="s", storage=open_storage(Settings.read({"url": sqlite_url, **SETTINGS})))
    holder = sqlite3.connect(in_use, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.3, lambda: holder.execute("COMMIT"))
    timer.start()
    assert study.ask().number == 0
    timer.join()
    holder.close()


def test_workers_that_start_together_make_the_store_together(tmp_path):
    """Each of them may look while another has made some of the tables."""
    opened, gate = [], threading.Barrier(3)

    def open_one(url):
        gate.wait()
        try:
            opened.append(optuna.get_all_study_names(open_storage(Settings.read({"url": url, **SETTINGS}))))
        except InputError as error:
            opened.append(str(error))

    for number in range(3):
        url = f"sqlite:///{tmp_path}/{number}.db"
        threads = [threading.Thread(target=open_one, args=(url,)) for _ in range(3)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
    assert opened == [[]] * 9


def test_a_folder_is_no_store(tmp_path):
    assert f"is a folder. Name a file in it: storage.url=sqlite:///{tmp_path}/studies.db" in refused(
        f"sqlite:///{tmp_path}"
    )


def test_a_folder_that_does_not_exist(tmp_path):
    text = refused(f"sqlite:///{tmp_path}/no/studies.db")
    assert f"the folder {tmp_path}/no does not exist" in text
    assert not (tmp_path / "no").exists()


def test_another_programs_database_is_left_alone(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE birds (name TEXT)")
    connection.close()
    before = path.read_bytes()
    assert "belongs to another program (tables birds, …)" in refused(f"sqlite:///{path}")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database at all", b"\x00" * 100, b"SQLite format 3\x00" + b"\xff" * 4080])
def test_a_file_that_is_no_database_is_left_alone(path, content):
    path.write_bytes(content)
    assert f"storage.url=sqlite:///{path}" in refused(f"sqlite:///{path}")
    assert path.read_bytes() == content


def test_an_empty_file_is_taken(path):
    path.touch()
    assert optuna.get_all_study_names(open_storage(Settings.read({"url": f"sqlite:///{path}", **SETTINGS}))) == []


def test_a_store_of_another_version_of_optuna(sqlite_url, in_use):
    with sqlite3.connect(in_use) as connection:
        connection.execute("UPDATE version_info SET schema_version = 3")
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9.a'")
    connection.close()
    assert "cannot be opened" in refused(sqlite_url)


def test_a_locked_file_says_so(sqlite_url, in_use, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.2)
    holder = sqlite3.connect(in_use, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert "database is locked. Another program holds it" in refused(sqlite_url)
    holder.execute("ROLLBACK")
    holder.close()
    open_storage(Settings.read({"url": sqlite_url, **SETTINGS}))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_place_nobody_may_write_to():
    """Permission bits do not bind root; the kernel's own files bind everyone."""
    assert "no permission to write in /proc/self" in refused("sqlite:////proc/self/studies.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_file_without_permission(sqlite_url, in_use):
    in_use.chmod(0o444)
    assert "no permission to read and write it" in refused(sqlite_url)


@pytest.mark.parametrize("url", ["", None, "studies.db", "sqlite", "sqlite:/x.db", f"postgresql//me:{SECRET}@host/db"])
def test_what_is_no_url(url):
    assert "storage.url must be a database URL, but got" in refused(url)


@pytest.mark.parametrize(
    "url",
    [
        f"nosuch://me:{SECRET}@127.0.0.1:1/db",
        f"oracle://me:{SECRET}@127.0.0.1:1/db",
        f"postgresql://me:{SECRET}@127.0.0.1:port/db",
        "sqlite+pysqlite:///studies.db",
    ],
)
def test_urls_that_no_driver_here_reads(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(url).startswith("storage.url")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_store_in_memory_cannot_be_shared(url, tmp_path, monkeypatch):
    """Each worker process would have a study of its own, and all would be lost."""
    monkeypatch.chdir(tmp_path)
    assert refused(url).startswith("storage.url")


@pytest.mark.parametrize("key", ["heartbeat_s", "grace_s"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, None, "10"])
def test_heartbeats_take_whole_seconds(sqlite_url, key, value):
    assert f"storage.{key} must be a whole number of seconds of at least 1" in refused(sqlite_url, **{key: value})


def test_a_server_that_is_not_there():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = refused(f"postgresql://me:{SECRET}@127.0.0.1:{port}/db")
    assert text.startswith(f"storage.url=postgresql+psycopg://me:***@127.0.0.1:{port}/db cannot be opened")
    assert "refused" in text


def test_postgres_opens_without_naming_its_driver(postgres):
    opened = open_storage(Settings.read({"url": postgres.url, **SETTINGS}))
    assert opened.engine.dialect.driver == "psycopg"
    opened.engine.dispose()


def test_a_wrong_password(postgres):
    right = open_storage(
        Settings.read({"url": f"postgresql://postgres:right@127.0.0.1:{postgres.port}/postgres", **SETTINGS})
    )
    right.engine.dispose()
    text = refused(f"postgresql://postgres:{SECRET}@127.0.0.1:{postgres.port}/postgres")
    assert "password authentication failed" in text


def test_a_database_that_is_not_there(postgres, monkeypatch):
    monkeypatch.setattr(Watch, "_wait", lambda *_: pytest.fail("waiting makes no database"))
    assert 'database "birds" does not exist' in refused(postgres.url.replace("/postgres?", "/birds?"))


def test_a_password_is_never_shown():
    assert shown(f"postgresql://me:{SECRET}@host/db") == "postgresql://me:***@host/db"
    assert shown("sqlite:////a/studies.db") == "sqlite:////a/studies.db"


def test_a_relative_path_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute_sqlite("sqlite:///studies.db") == f"sqlite:///{tmp_path}/studies.db"
    assert storage.absolute_sqlite("sqlite:///../studies.db") == f"sqlite:///{tmp_path.parent}/studies.db"
    for url in ("sqlite:////a/studies.db", "postgresql://me@host/db"):
        assert storage.absolute_sqlite(url) == url


def test_a_studys_files_lie_beside_its_store(tmp_path, monkeypatch):
    assert folder_of("sqlite:////a/b/studies.db", "digits") == Path("/a/b/studies/digits")
    monkeypatch.chdir(tmp_path)
    assert folder_of("postgresql://me@host/db", "digits") == tmp_path / "studies" / "digits"


def test_importing_the_store_needs_no_torch():
    program = "import sys, kirigami.search.storage, kirigami.search.loop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
