"""Opening the store: SQLite in WAL mode by default, Postgres by URL, and plain words where it cannot be opened."""

import time
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError

from kirigami.search.errors import InputError, one_line
from kirigami.search.storage import postgres, sqlite
from kirigami.search.storage.address import Settings
from kirigami.search.storage.outage import Away, StoreAway, is_away, reason_of
from kirigami.search.storage.patience import Watch, skew
from kirigami.search.storage.store import Store

ATTEMPTS = 5
STARTING_SECONDS = 15
STARTING = ("starting up", "shutting down", "in recovery mode", "not yet accepting")


def open_storage(settings: Settings, *, create: bool = True, patient: bool = False) -> Store:
    """Open the store.

    Args:
        create: whether to write; a reader makes no SQLite file and no tables, and takes no lock on a file.
        patient: whether to wait for a server that is away, as workers do that join a study known to be there. Without,
            only one that is about to start is waited for.

    Raises:
        InputError: where the store is missing, locked, foreign, not writable or out of reach.
        StoreAway: where a server was away for longer than `storage.patience_s`, with `patient`.
    """
    if settings.file is not None:
        sqlite.check_file(settings.file, create)
    return _patiently(lambda: _opened(settings, create), settings, patient)


def check(settings: Settings, *, create: bool) -> str:
    """Check what can be checked of the store without making it; return its URL in full.

    Raises:
        InputError: as `open_storage`.
    """
    if settings.file is not None:
        sqlite.check_file(settings.file, create)
    elif (survey := _survey(settings)) is not None:
        postgres.check_database(survey, settings, create)
    return settings.engine_url


def exists(settings: Settings) -> bool:
    """Return whether there is a store to read: an SQLite file, or tables on a server.

    Raises:
        InputError: where a server is out of reach.
    """
    if settings.file is not None:
        return settings.file.exists()
    survey = _survey(settings)
    return survey is None or bool(survey.tables)


def warnings_of(settings: Settings) -> list[str]:
    """Return a line for what is odd about a store without being wrong: a server whose clock is far from ours."""
    survey = _survey(settings) if settings.file is None else None
    return [] if survey is None else skew(settings.shown, survey.ahead_s, settings.grace_s)


def _survey(settings: Settings) -> postgres.Survey | None:
    """Ask a server what it holds; None where it is no PostgreSQL."""
    if not settings.engine_url.startswith("postgresql"):
        return None
    return _patiently(lambda: postgres.survey(settings.engine_url), settings, patient=False)


def _patiently(operation: Any, settings: Settings, patient: bool) -> Any:
    """Run an operation of opening; say in one line why it failed, after waiting where that may help."""

    def attempt(_again: bool) -> Any:
        try:
            return operation()
        except (
            StorageInternalError,
            sqlalchemy.exc.SQLAlchemyError,
            ImportError,
            RuntimeError,
            AssertionError,
        ) as error:
            # Optuna wraps what goes wrong in its own transactions: the server may go while the tables are looked at.
            wrapped = error.__cause__ if isinstance(error, StorageInternalError) else None
            cause = getattr(wrapped or error, "orig", None) or wrapped or error
            is_server = settings.file is None
            if is_server and is_away(cause) and (patient or any(words in str(cause) for words in STARTING)):
                raise Away(reason_of(cause)) from error
            raise InputError(f"{settings.shown} cannot be opened: {_explained(cause)}") from error

    watch = Watch(settings.shown, settings.patience_s if patient else STARTING_SECONDS, settings.grace_s)
    if not patient:
        watch.notify = lambda _line: None
    try:
        return watch.patiently(attempt)
    except StoreAway as away:
        if patient:
            raise
        raise InputError(f"{settings.shown} cannot be opened: {away.__cause__}") from away


def _explained(error: BaseException) -> str:
    text = one_line(error)
    if "no longer compatible with the table schema" in str(error):
        version = text.partition("(set up by ")[2].partition(")")[0] or "another version"
        return (
            f"its tables were made by {version}, and this is optuna {optuna.__version__}. Copy the database, then run "
            "`optuna storage upgrade --storage URL`, or install that optuna, or set storage.url= to another store."
        )
    return reason_of(error)


def _opened(settings: Settings, create: bool) -> Store:
    is_postgres = settings.engine_url.startswith("postgresql")
    survey = postgres.survey(settings.engine_url) if is_postgres else None
    if survey is not None:
        postgres.check_database(survey, settings, create)
    engine = postgres.engine_settings(settings.engine_url) if is_postgres else {}
    if settings.file is not None:
        engine = {"connect_args": {"timeout": sqlite.BUSY_SECONDS}}
    store = _created(settings, engine)
    if settings.file is not None:
        sqlite.use_wal(store.engine, create, store.only_reads)
    elif survey is not None:
        postgres.prepare(store.engine)
        store.offset_s = survey.ahead_s
        if survey.up_s < settings.grace_s:  # it was away until just now, and the workers with it
            store.watch.calm_since = time.monotonic() - survey.up_s
    return store


def _created(settings: Settings, engine: dict[str, Any]) -> Store:
    """Make the store; workers that start together make the tables together, and all but one find them half made."""
    for attempt in range(ATTEMPTS):
        try:
            return Store(settings, engine)
        except sqlalchemy.exc.DBAPIError as error:
            if attempt + 1 == ATTEMPTS or not _is_creation(error):
                raise
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError("unreachable")


def _is_creation(error: sqlalchemy.exc.DBAPIError) -> bool:
    text = str(error.orig)
    if "database" in text and "does not exist" in text:
        return False
    return any(words in text for words in ("already exists", "no such table", "does not exist", "UNIQUE", "duplicate"))
