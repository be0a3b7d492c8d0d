"""Where the store is: its URL, what may be shown of it, and the settings beside it."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import quote

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

    url: str = Field(repr=False)
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
        return _file(self.url)

    @property
    def shown(self) -> str:
        """`storage.url=…` without the password."""
        return f"storage.url={shown(self.engine_url)}"


def shown(url: str) -> str:
    """Return the URL without its password; that of a file as its path stands on the disk, which `located` reads too."""
    file = _file(url)
    if file is not None:
        return f"{SQLITE}{file}"
    return masked(sqlalchemy.make_url(_quoted(url)).render_as_string(hide_password=True))


def sqlite_url(file: Path) -> str:
    """Return the URL of an SQLite file: in a URL, `?` ends the path and `%` begins a quoted sign."""
    return SQLITE + str(file).replace("%", "%25").replace("?", "%3F")


def absolute_sqlite(url: str) -> str:
    """Return the URL with a relative SQLite path made absolute, so that every process opens the same file.

    A path in a folder that is there is taken as it was written, since it is rarely written as a URL; otherwise the
    text is a URL, whose quoted signs are decoded and whose options are left out.
    """
    if not url.startswith(SQLITE) or url == f"{SQLITE}:memory:":
        return url
    path = Path(url.removeprefix(SQLITE))
    if path.parent.is_dir() and not _has_options(path):
        return sqlite_url(Path(os.path.abspath(path)))
    file = _file(url)
    return url if file is None else sqlite_url(Path(os.path.abspath(file)))


def _has_options(path: Path) -> bool:
    """Tell whether a URL's options stand behind the name of a file."""
    return re.search(r"\?\w+=", path.name) is not None and not path.exists()


def _file(url: str) -> Path | None:
    """Return the file that an SQLite URL leads to; None for a server."""
    if not url.startswith(SQLITE):
        return None
    database = sqlalchemy.make_url(url).database
    return Path(database) if database else None


def folder_of(url: str, name: str) -> Path:
    """Return where a study's files lie: `studies/<name>/` beside an SQLite store, else where the command runs."""
    file = _file(url)
    return (Path.cwd() if file is None else file.parent) / "studies" / name


def checked_url(url: str) -> str:
    """Return the URL, its password quoted where it holds signs that end a password in a URL.

    Raises:
        InputError: for what is no URL, or an SQLite store that workers cannot share.
    """
    url = _quoted(url)
    try:
        parsed = sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):  # a port that is no number
        raise InputError(f"storage.url must be a database URL, but got {masked(url)!r}. {URLS}") from None
    if parsed.get_backend_name() == "sqlite" and (
        parsed.drivername != "sqlite" or parsed.database in (None, "", ":memory:")
    ):
        raise InputError(f"storage.url must name a file that workers can share, but got {url!r}. {URLS}")
    return url


def _quoted(url: str) -> str:
    """Quote a password with an `@` in it: it ends at the last one, and nothing of it is taken for a host."""
    scheme, separator, rest = url.partition("://")
    user, colon, after = rest.partition(":")
    password, _, place = after.rpartition("@")
    is_query = re.search(r"@[^@/]*/[^@?]*\?\w+=", password)  # me:password@host/database?option=a@b
    if not separator or not colon or "@" not in password or is_query:
        return url
    return f"{scheme}://{user}:{quote(password, safe='%')}@{place}"


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
