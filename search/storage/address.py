"""Where the store is: its URL, what may be shown of it, and the settings beside it."""

import os
from pathlib import Path
from typing import Annotated, Any, Self

import sqlalchemy
from pydantic import Field, field_validator

from kirigami.search.errors import InputError, masked
from kirigami.search.schema import Group, Unit

SQLITE = "sqlite:///"
PLACES = "a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
URLS = "Set storage.url=sqlite:///studies.db or storage.url=postgresql+psycopg://USER@HOST/DATABASE."
DRIVERS = {"postgresql://": "postgresql+psycopg://", "postgres://": "postgresql+psycopg://"}


Seconds = Annotated[int, Unit("seconds"), Field(ge=1)]


class Settings(Group):
    """The `storage:` part of a config.

    Attributes:
        url: of a database; `engine_url` is the same with the driver that is installed.
        heartbeat_s: seconds between two signs of life of a running trial.
        grace_s: seconds of silence after which a trial's worker is taken for dead.
        patience_s: seconds for which an operation is tried again while the database is away.
        retries: how often the trial of a dead worker is run again.
        artifacts: where checkpoints and networks lie for all machines: an absolute path or a bucket's URL; None leaves
            them in the study's folder.
    """

    url: str
    heartbeat_s: Seconds
    grace_s: Seconds
    patience_s: Annotated[int, Unit("seconds"), Field(ge=0)] = 300
    retries: int = Field(default=3, ge=0)
    artifacts: str | None = None

    @classmethod
    def read(cls, values: Any, path: str = "storage") -> Self:
        """Check the settings.

        Raises:
            InputError: for a URL, a number or a place that makes no sense.
        """
        return super().read(values, path)

    @field_validator("url", mode="before")
    @classmethod
    def _is_a_url(cls, url: Any) -> str:
        return checked_url(str(url or ""))

    @field_validator("artifacts", mode="before")
    @classmethod
    def _is_a_place(cls, place: Any) -> str | None:
        return absolute_place(place)

    @property
    def engine_url(self) -> str:
        """The URL in full: hosting services write a short one, and Optuna's own spelling reaches for another driver."""
        for spelling, driver in DRIVERS.items():
            if self.url.startswith(spelling):
                return driver + self.url.removeprefix(spelling)
        return self.url

    @property
    def file(self) -> Path | None:
        """The SQLite file; None for a server."""
        return Path(self.url.removeprefix(SQLITE)) if self.url.startswith(SQLITE) else None

    @property
    def shown(self) -> str:
        """`storage.url=…` without the password."""
        return f"storage.url={shown(self.engine_url)}"


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


def checked_url(url: str) -> str:
    """Return the URL.

    Raises:
        InputError: for what is no URL, or an SQLite store that workers cannot share.
    """
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # a port that is no number
        raise InputError(f"storage.url must be a database URL, but got {masked(url)!r}. {URLS}") from None
    if parsed.get_backend_name() == "sqlite" and (
        parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:")
    ):
        raise InputError(f"storage.url must name a file that workers can share, but got {url!r}. {URLS}")
    return url


def absolute_place(named: Any) -> str | None:
    """Return `storage.artifacts` such that every process on this machine means the same by it; None stays None.

    Raises:
        InputError: where it is no such place.
    """
    if named is None:
        return None
    if not isinstance(named, str) or not named.strip():
        raise InputError(f"storage.artifacts must be null or {PLACES}, but got {named!r}. Set storage.artifacts=null.")
    scheme, separator, rest = named.partition("://")
    if not separator:
        return os.path.abspath(os.path.expanduser(named))
    if scheme not in ("s3", "gs") or not rest.partition("/")[0]:
        raise InputError(f"storage.artifacts must be null or {PLACES}, but got {named!r}.")
    return named
