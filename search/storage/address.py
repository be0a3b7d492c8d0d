"""Where the store is: its URL, what may be shown of it, and the settings beside it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy

from kirigami.search.errors import InputError, masked

SQLITE = "sqlite:///"
URLS = "Set storage.url=sqlite:///studies.db or storage.url=postgresql+psycopg://USER@HOST/DATABASE."
# Optuna's own spelling reaches for psycopg2, which is not installed; hosting services write the short one.
DRIVERS = {"postgresql://": "postgresql+psycopg://", "postgres://": "postgresql+psycopg://"}


@dataclass(frozen=True)
class Settings:
    """The `storage:` part of a config, checked.

    Attributes:
        url: in full, with the driver that is installed.
        heartbeat_s: seconds between two signs of life of a running trial.
        grace_s: seconds of silence after which a trial's worker is taken for dead.
        patience_s: seconds for which an operation is tried again while the database is away.
        retries: how often the trial of a dead worker is run again.
    """

    url: str
    heartbeat_s: int
    grace_s: int
    patience_s: int = 300
    retries: int = 3

    @classmethod
    def read(cls, settings: Mapping[str, Any]) -> "Settings":
        """Check the settings.

        Raises:
            InputError: for a URL or a number that makes no sense.
        """
        return cls(
            url=checked_url(settings),
            heartbeat_s=_whole(settings, "heartbeat_s", None, 1, " of seconds"),
            grace_s=_whole(settings, "grace_s", None, 1, " of seconds"),
            patience_s=_whole(settings, "patience_s", cls.patience_s, 0, " of seconds"),
            retries=_whole(settings, "retries", cls.retries, 0, ""),
        )

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(self.url.removeprefix(SQLITE)) if self.url.startswith(SQLITE) else None

    @property
    def shown(self) -> str:
        """`storage.url=…` without the password."""
        return f"storage.url={shown(self.url)}"


def shown(url: str) -> str:
    """Return the URL without its password."""
    return masked(sqlalchemy.make_url(url).render_as_string(hide_password=True))


def absolute_sqlite(url: str) -> str:
    """Return the URL with a relative SQLite path made absolute, so that every process opens the same file."""
    if not url.startswith(SQLITE) or url.startswith(f"{SQLITE}/") or ":memory:" in url:
        return url
    return SQLITE + os.path.abspath(url[len(SQLITE) :].partition("?")[0])


def folder_of(url: str, name: str) -> Path:
    """Return where a study's files lie: `studies/<name>/` beside an SQLite store, else where the command runs."""
    beside = Path(url.removeprefix(SQLITE)).parent if url.startswith(SQLITE) else Path.cwd()
    return beside / "studies" / name


def checked_url(settings: Mapping[str, Any]) -> str:
    """Return the URL in full, with the driver that is installed.

    Raises:
        InputError: for what is no URL, or an SQLite store that workers cannot share.
    """
    url = str(settings.get("url") or "")
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # a port that is no number
        raise InputError(f"storage.url must be a database URL, but got {masked(url)!r}. {URLS}") from None
    if parsed.get_backend_name() == "sqlite" and (
        parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:")
    ):
        raise InputError(f"storage.url must name a file that workers can share, but got {url!r}. {URLS}")
    for spelling, driver in DRIVERS.items():
        if url.startswith(spelling):
            return driver + url.removeprefix(spelling)
    return url


def _whole(settings: Mapping[str, Any], key: str, default: int | None, least: int, unit: str) -> int:
    value = settings.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"storage.{key} must be a whole number{unit} of at least {least}, but got {value!r}.")
    return value
