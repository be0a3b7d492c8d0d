"""Telling a database that is away from one that refuses.

Away is what passes by itself: a restart, a failover, a cut cable, a lock that another holds. It is waited for. Refused
is what waiting does not mend: a wrong password, a missing table, a full disk. What is neither is Optuna's business.
"""

import re
from typing import Any

from kirigami.search.errors import InputError, StudyStopped, masked, one_line

# SQLSTATE of PostgreSQL. 40001, 40P01 and 55P03 lost a race for a lock; 25006 is a server that is being replaced.
AWAY = {"57P01", "57P02", "57P03", "57P05", "53300", "25P03", "25P04", "25006", "40001", "40P01", "55P03"}
REFUSED = {
    "53100": "The server's disk is full. Make room on it",
    "53200": "The server is out of memory",
    "42501": "Grant the user of storage.url the right to write there",
    "42P01": "A table is gone. Restore it, or set storage.url= to another database",
    "3D000": "Create it, or name another one in storage.url=",
    "28P01": "Set the right user and password in storage.url= or KIRIGAMI_STORAGE",
    "28000": "Set the right user and password in storage.url= or KIRIGAMI_STORAGE",
}
# What a connection that cannot be made says: it has no SQLSTATE.
REFUSED_WORDS = {
    "password authentication failed": REFUSED["28P01"],
    "no password supplied": REFUSED["28P01"],
    "no pg_hba.conf entry": "Let this host in: pg_hba.conf on the server says who may connect",
    "does not support SSL": "Set sslmode= in storage.url= as the server has it",
    'role "': "Create that user, or name another one in storage.url=",
    'database "': REFUSED["3D000"],
    "invalid response to SSL": "What answers there is no PostgreSQL server: correct its host and port",
    # SQLite
    "disk is full": "Make room on the disk that holds the store",
    "disk I/O error": "Check the disk that holds the store",
    "readonly database": "Let this user write to the file and its folder",
    "is malformed": "The file is damaged. Restore a copy, or set storage.url= to another file",
    "file is not a database": "The file is damaged. Restore a copy, or set storage.url= to another file",
    "no such table": "A table is gone. Restore a copy, or set storage.url= to another file",
}
AWAY_WORDS = (
    *("is locked", "unable to open database file"),  # SQLite
    *("starting up", "shutting down", "in recovery mode", "not yet accepting", "too many clients"),
    *("onnection refused", "onnection reset", "onnection timeout", "timeout expired", "imed out", "o route to host"),
    *("nreachable", "server closed the connection", "connection failed", "No such file or directory"),
    *("could not translate host name", "failed to resolve host", "Name or service not known", "Temporary failure in"),
    *("SSL SYSCALL", "SSL connection has been closed", "the connection is closed", "the connection is lost"),
)
HINTS = {
    "onnection refused": "Start the server, or correct its host and port",
    "No such file or directory": "Start the server, or correct the socket's folder and port",
    "onnection timeout": "The host does not answer: check its name, its port, the network and its firewall",
    "timeout expired": "The host does not answer: check its name, its port, the network and its firewall",
    "imed out": "The host does not answer: check its name, its port, the network and its firewall",
    "nreachable": "The host cannot be reached from here: check its name and the network",
    "o route to host": "The host cannot be reached from here: check its name and the network",
    "resolve host": "Correct the host's name",
    "translate host": "Correct the host's name",
    "not known": "Correct the host's name",
    "too many clients": "Raise max_connections of the server, or use fewer workers",
}


class StoreAway(StudyStopped):
    """The database was away for longer than `storage.patience_s`."""


class Away(Exception):
    """The database is away: what was tried may be tried again. Never leaves this package."""


class Refused(Exception):
    """The database refuses what was tried, and will go on to. Never leaves this package."""


def is_away(error: BaseException) -> bool:
    """Return whether an error of a driver passes by itself."""
    state, text = _sqlstate(error), str(error)
    if state is not None:
        return state in AWAY or state.startswith("08")
    return not _words(text, REFUSED_WORDS) and any(words in text for words in AWAY_WORDS)


def refusal(error: BaseException) -> str | None:
    """Return what to do about a refusal; None where the error is none."""
    state = _sqlstate(error)
    return REFUSED.get(state) if state is not None else _words(str(error), REFUSED_WORDS)


def reason_of(error: BaseException) -> str:
    """Return the error in one line, with what to do where that is known; no password, and no address twice."""
    reason = masked(one_line(error)).rstrip(".")
    # "connection failed: connection to server at "127.0.0.1", port 1 failed: Connection refused"
    reason = re.sub(r"^connection (failed|is bad): ", "", reason)
    reason = re.sub(r"^(connection to server .* failed): (FATAL|ERROR):\s+", r"\1: ", reason)
    hint = refusal(error) or _words(str(error), HINTS)
    return f"{reason}. {hint}." if hint else f"{reason}."


def as_input_error(where: str, error: BaseException) -> InputError:
    """Turn an error of a driver at opening into one line for the user."""
    return InputError(f"{where} cannot be opened: {reason_of(getattr(error, 'orig', None) or error)}")


def on_error(context: Any) -> None:
    """Sort an engine's errors: an SQLAlchemy listener for `handle_error`."""
    error = context.original_exception
    if context.is_disconnect or is_away(error):
        if _sqlstate(error) == "25006":
            context.is_disconnect = True  # ask for the server anew: this one has been demoted
        raise Away(reason_of(error)) from error
    if refusal(error) is not None:
        raise Refused(reason_of(error)) from error


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return str(state) if state else None


def _words(text: str, known: dict[str, str]) -> str | None:
    return next((hint for words, hint in known.items() if words in text), None)
