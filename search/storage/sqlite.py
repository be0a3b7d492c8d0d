"""An SQLite store: a file in WAL mode that other programs' files are never mistaken for."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy

from kirigami.search.errors import InputError

BUSY_SECONDS = 20
ATTEMPTS = 5


def check_file(path: Path, create: bool) -> None:
    """Refuse what Optuna would overwrite or stumble over: another program's file, a folder, a lock, no permission.

    Raises:
        InputError: in one line.
    """
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
    # The file is opened by SQLite alone: to close it once more, as any file, would drop this process' locks on it.
    _check_tables(path, where)


def use_wal(engine: Any, writes: bool, only_reads: Callable[[], bool]) -> None:
    """Let readers and one writer work at once, and sync at checkpoints: halves the cost of a report.

    Writers take the lock as their transaction begins. Left to itself, pysqlite begins one at the first write, after
    the reads that the write rests on, and two workers could take the same waiting trial.

    Args:
        writes: whether anything is written through this engine.
        only_reads: whether the transaction that this thread begins just now writes nothing, and needs no lock.
    """

    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        if writes:
            connection.isolation_level = None

    sqlalchemy.event.listen(engine, "connect", prepare)
    if writes:
        sqlalchemy.event.listen(
            engine,
            "begin",
            lambda connection: connection.exec_driver_sql("BEGIN" if only_reads() else "BEGIN IMMEDIATE"),
        )
    engine.dispose()


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
        if "not a database" in str(error):
            raise InputError(f"{where} is not an SQLite database. Set storage.url= to another file.") from error
        hint = " Another program holds it: wait or close that program." if "locked" in str(error) else ""
        raise InputError(f"{where} cannot be used: {error}.{hint}") from error
