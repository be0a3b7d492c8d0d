"""The `store` verb, and where a store's URL leads: to a database, an SQLite file, or the local server in `./store`."""

import platform
import re
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError, masked, one_line, one_of
from kirigami.search.storage.server.ports import check_port, free_port, is_loopback
from kirigami.search.storage.server.server import EVERYWHERE, LOOPBACK, Server, settings

LOCAL = "store"  # in place of a URL: the local server of the folder where the command runs
FIRST_PORT = 5433  # one past PostgreSQL's own
ACTIONS = ("start", "status", "stop")


def located(url: Any) -> str:
    """Return a store's URL in full: a relative SQLite path made absolute, `store` replaced by the local server's URL.

    Raises:
        InputError: where there is no local server, or the URL holds its password where it would be shown.
    """
    from kirigami.search.storage import absolute_sqlite  # sqlalchemy and optuna come with it; the verb does without

    text = str(url or "")
    if text == LOCAL:
        return local_url(Path(LOCAL))
    if re.search(r"[?&](ssl)?password=", text):
        raise InputError(
            f"storage.url={masked(text)} holds its password as an option, where it would be shown. "
            "Write it to a file and name that: passfile=FILE (docs/workers.md says how)."
        )
    return absolute_sqlite(text)


def local_url(folder: Path) -> str:
    """Return the URL of the local server in a folder, for the machine that asks.

    Raises:
        InputError: where there is none, where it is stopped, or where it does not listen to this machine.
    """
    kept = settings(folder)
    if not kept:
        raise InputError(
            f"there is no store in {folder.absolute()}. "
            f"Run `make store` here, or set KIRIGAMI_STORAGE=postgresql://USER@HOST/DATABASE."
        )
    server, machine = Server(folder, kept["host"], kept["port"]), kept["machine"]
    if machine == platform.node():
        if server.pid is None:
            raise InputError(f"the store in {folder.absolute()} is stopped. Run `make store` here.")
        return server.url
    if is_loopback(server.host):
        raise InputError(
            f"the store in {folder.absolute()} listens to its own machine alone, {machine}. "
            f"There: `kirigami store action=stop`, then `kirigami store host=0.0.0.0`."
        )
    return server.url_at(machine if server.host in EVERYWHERE else server.host)


def store(overrides: list[str], options: dict[str, Any]) -> int:
    """Start, stop or ask after the local server; return the exit code, 1 where it was asked after and does not run."""
    if options["action"] not in ACTIONS:
        raise one_of("action", options["action"], ACTIONS)
    folder = Path(LOCAL).absolute()
    kept = settings(folder)
    server = Server(folder, kept.get("host", LOOPBACK), kept.get("port", 0))
    try:
        if options["action"] == "status":
            return _status(server)
        return _stop(server) if options["action"] == "stop" else _start(server, kept, options)
    except OSError as error:
        raise InputError(f"{folder} cannot be used: {error}.") from error


def _start(server: Server, kept: dict[str, Any], options: dict[str, Any]) -> int:
    host, port = options["host"] or server.host, _port(options["port"]) or server.port
    if server.pid is not None:
        if (host, port) != (server.host, server.port):
            raise InputError(
                f"the store already runs, with host={server.host} port={server.port}, but got host={host} port={port}. "
                "Stop it first: kirigami store action=stop."
            )
        print("store runs already")
    else:
        check_port(host, 0)  # a host that is none of ours would seem to have no free port
        server.host, server.port = host, port or free_port(host, FIRST_PORT)
        server.start()
        print(f"store started{'' if kept else f', its data in {server.data}'}")
    print(server.url)
    for line in _how(server):
        print(line)
    return 0


def _how(server: Server) -> list[str]:
    """Return how the store is used here and from other machines."""
    here = ["  here            kirigami search study=digits storage=postgres"]
    end = ["  to end it       kirigami store action=stop"]
    if is_loopback(server.host):
        return [*here, "  other machines  cannot reach it; stop it, then: kirigami store host=0.0.0.0", *end]
    address = platform.node() if server.host in EVERYWHERE else server.host
    url = f"postgresql://kirigami@{address}:{server.port}/kirigami?passfile=/…/pgpass"
    return [
        *here,
        f"  other machines  copy {server.folder}/pgpass there, keep its mode at 600, and set",
        f"                  KIRIGAMI_STORAGE='{url}'",
        f"  warning         whoever reaches port {server.port} of this machine may try passwords, and what is sent",
        "                  is not encrypted: let only your own network reach it (docs/workers.md)",
        *end,
    ]


def _stop(server: Server) -> int:
    if server.pid is None:
        print("store does not run")
        return 0
    server.stop()
    print("store stopped; `kirigami store` starts it again with all its studies")
    return 0


def _status(server: Server) -> int:
    if server.pid is None:
        print(f"store does not run{f'; its data are in {server.data}' if server.data.exists() else ''}")
        return 1
    print(f"store runs, process {server.pid}")
    print(server.url)
    print(_use(server))
    return 0


def _use(server: Server) -> str:
    """Return what the server says of itself in a line."""
    import psycopg

    sizes = "SELECT pg_database_size(current_database()) / 1048576.0"
    clients = "SELECT count(*) - 1 FROM pg_stat_activity WHERE datname = current_database()"
    try:
        with psycopg.connect(server.url, connect_timeout=10) as connection:
            (size,) = connection.execute(sizes).fetchone() or (0,)
            (count,) = connection.execute(clients).fetchone() or (0,)
    except psycopg.Error as error:
        return f"  it does not answer: {one_line(error)}"
    return f"  {count} connections, {size:.1f} MB"


def _port(given: str) -> int:
    if not given:
        return 0
    if not given.isdigit() or not 1 <= int(given) <= 65535:
        raise InputError(f"port must be a number from 1 to 65535, but got {given!r}.")
    return int(given)
