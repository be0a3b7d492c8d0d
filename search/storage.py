"""Opening the store: SQLite in WAL mode by default, Postgres by URL, and plain words where it cannot be opened."""

import os
import re
import sqlite3
import time
import warnings
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import RDBStorage

from search.errors import InputError, one_line

SQLITE_MAGIC = b"SQLite format 3\x00"
BUSY_SECONDS = 20
ATTEMPTS = 5
URLS = "Set storage.url=sqlite:///studies.db or storage.url=postgresql+psycopg://USER@HOST/DATABASE."


def open_storage(settings: Mapping[str, Any], *, create: bool = True) -> RDBStorage:
    """Open the store named by `settings` (url, heartbeat_s, grace_s).

    Args:
        create: whether to write; a reader makes no SQLite file and takes no lock on one.

    Raises:
        InputError: where the store is missing, locked, foreign, not writable or out of reach.
    """
    url = check(settings, create=create)
    sqlite = url.startswith("sqlite:///")
    waits = {"timeout": BUSY_SECONDS} if sqlite else {"connect_timeout": 10}
    for attempt in range(ATTEMPTS):
        try:
            return _opened(url, {"pool_pre_ping": not sqlite, "connect_args": waits}, settings, create)
        except (sqlalchemy.exc.SQLAlchemyError, ImportError, RuntimeError) as error:
            # Workers that start together create the tables together: all but one find them half made.
            if attempt + 1 < ATTEMPTS and isinstance(error, sqlalchemy.exc.DBAPIError) and _is_creation(error):
                time.sleep(0.2 * (attempt + 1))
                continue
            reason = one_line(getattr(error, "orig", None) or error)
            raise InputError(f"storage.url={shown(url)} cannot be opened: {reason}") from error
    raise AssertionError("unreachable")


def check(settings: Mapping[str, Any], *, create: bool) -> str:
    """Check what can be checked of the store without making it; return its URL in full.

    Raises:
        InputError: as `open_storage`.
    """
    url = _checked_url(settings)
    for key in ("heartbeat_s", "grace_s"):
        _seconds(settings, key)
    if url.startswith("sqlite:///"):
        _check_sqlite(Path(url.removeprefix("sqlite:///")), create)
    return url


def exists(settings: Mapping[str, Any]) -> bool:
    """Return whether the store may be opened for reading: always, unless it is an SQLite file not yet made."""
    url = _checked_url(settings)
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def _opened(url: str, engine: dict[str, Any], settings: Mapping[str, Any], writes: bool) -> RDBStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats
        storage = RDBStorage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=_seconds(settings, "heartbeat_s"),
            grace_period=_seconds(settings, "grace_s"),
        )
    if storage.engine.dialect.name == "sqlite":
        _use_wal(storage, writes)
    return storage


def _is_creation(error: sqlalchemy.exc.DBAPIError) -> bool:
    text = str(error.orig)
    if "database" in text and "does not exist" in text:
        return False
    return any(words in text for words in ("already exists", "no such table", "does not exist", "UNIQUE", "duplicate"))


def shown(url: str) -> str:
    """Return the URL without its password."""
    return sqlalchemy.make_url(url).render_as_string(hide_password=True)


def absolute_sqlite(url: str) -> str:
    """Return the URL with a relative SQLite path made absolute, so that every process opens the same file."""
    prefix = "sqlite:///"
    if not url.startswith(prefix) or url.startswith(f"{prefix}/") or ":memory:" in url:
        return url
    return prefix + os.path.abspath(url[len(prefix) :].partition("?")[0])


def folder_of(url: str, name: str) -> Path:
    """Return where a study's files lie: `studies/<name>/` beside an SQLite store, else where the command runs."""
    beside = Path(url.removeprefix("sqlite:///")).parent if url.startswith("sqlite:///") else Path.cwd()
    return beside / "studies" / name


def _checked_url(settings: Mapping[str, Any]) -> str:
    url = str(settings.get("url") or "")
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # a port that is no number
        masked = re.sub(r":[^:@/]*@", ":***@", url)
        raise InputError(f"storage.url must be a database URL, but got {masked!r}. {URLS}") from None
    if parsed.get_backend_name() == "sqlite" and (
        parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:")
    ):
        raise InputError(f"storage.url must name a file that workers can share, but got {url!r}. {URLS}")
    # Optuna's own spelling reaches for psycopg2, which is not installed.
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def _seconds(settings: Mapping[str, Any], key: str) -> int:
    value = settings.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"storage.{key} must be a whole number of seconds of at least 1, but got {value!r}.")
    return value


def _check_sqlite(path: Path, create: bool) -> None:
    """Refuse what Optuna would overwrite or stumble over: another program's file, a folder, a lock, no permission."""
    where = f"storage.url=sqlite:///{path}"
    if path.is_dir():
        raise InputError(f"{where} is a folder. Name a file in it: storage.url=sqlite:///{path}/studies.db.")
    if not path.exists():
        if not create:
            raise InputError(f"{where} does not exist. Run `kirigami search` here first, or set storage.url=.")
        if not path.parent.is_dir():
            raise InputError(f"{where}: the folder {path.parent} does not exist. Create it, or set storage.url=.")
        if not os.access(path.parent, os.W_OK):
            raise InputError(f"{where}: no permission to write in {path.parent}. Set storage.url= to another place.")
        return
    if not os.access(path, os.R_OK | os.W_OK):
        raise InputError(f"{where}: no permission to read and write it. Set storage.url= to another file.")
    with path.open("rb") as file:
        if file.read(16) not in (b"", SQLITE_MAGIC):
            raise InputError(f"{where} is not an SQLite database. Set storage.url= to another file.")
    _check_tables(path, where)


def _check_tables(path: Path, where: str) -> None:
    ours = {"studies", "trials", "version_info"}
    for _ in range(ATTEMPTS):
        tables = _tables(path, where)
        if not tables & ours or ours <= tables:
            break
        time.sleep(0.2)  # another worker is making them
    if tables and not ours <= tables:
        names = ", ".join(sorted(tables)[:3])
        raise InputError(f"{where} belongs to another program (tables {names}, …). Set storage.url= to another file.")


def _tables(path: Path, where: str) -> set[str]:
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_SECONDS / 4, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            connection.execute("ROLLBACK")
            return tables
    except sqlite3.DatabaseError as error:
        hint = " Another program holds it: wait or close that program." if "locked" in str(error) else ""
        raise InputError(f"{where} cannot be used: {error}.{hint}") from error


def _use_wal(storage: RDBStorage, writes: bool) -> None:
    """Let readers and one writer work at once, and sync at checkpoints: halves the cost of a report.

    Writers take the lock as their transaction begins. Left to itself, pysqlite begins one at the first write, after
    the reads that the write rests on, and two workers could take the same waiting trial.
    """

    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if writes:
            connection.isolation_level = None

    sqlalchemy.event.listen(storage.engine, "connect", prepare)
    if writes:
        sqlalchemy.event.listen(
            storage.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE")
        )
    storage.engine.dispose()
