"""The `store` verb: start, stop or ask after the local server."""

import platform
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import doc
from pydantic import Field

from kirigami.search.command.verb import Call
from kirigami.search.errors import InputError, one_line
from kirigami.search.schema import Group
from kirigami.search.storage.server.folder import settings
from kirigami.search.storage.server.local import LOCAL
from kirigami.search.storage.server.ports import check_port, free_port, is_loopback
from kirigami.search.storage.server.server import EVERYWHERE, LOOPBACK, Server

FIRST_PORT = 5433  # one past PostgreSQL's own


class Options(Group):
    """What is done with the store, and where it listens."""

    action: Annotated[Literal["start", "status", "stop"], doc("start, status or stop")] = "start"
    host: Annotated[
        str, doc("the address to listen on: at first 127.0.0.1, this machine alone; 0.0.0.0 lets others in")
    ] = ""
    port: Annotated[int | None, doc("at first 5433, or the next that is free; then the same again")] = Field(
        None, ge=1, le=65535, description="a number from 1 to 65535"
    )


def run(_call: Call, options: Options) -> int:
    """Start, stop or ask after the local server; return the exit code, 1 where it was asked after and does not run."""
    folder = Path(LOCAL).absolute()
    last = settings(folder)
    server = Server(folder, last.get("host", LOOPBACK), last.get("port", 0))
    try:
        if options.action == "status":
            return _status(server)
        return _stop(server) if options.action == "stop" else _start(server, options)
    except OSError as error:
        raise InputError(f"{folder} cannot be used: {error}.") from error


def _start(server: Server, options: Options) -> int:
    host, port = options.host or server.host, options.port or server.port
    if server.pid is not None:
        if (host, port) != (server.host, server.port):
            raise InputError(
                f"the store already runs, with host={server.host} port={server.port}, but got host={host} port={port}. "
                "Stop it first: kirigami store action=stop."
            )
        print("store runs already")
    else:
        is_first = not settings(server.folder)
        check_port(host, 0)  # a host that is none of ours would seem to have no free port
        server.host, server.port = host, port or free_port(host, FIRST_PORT)
        server.start()
        print(f"store started{f', its data in {server.data}' if is_first else ''}")
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
    """Return the state of the server in a line."""
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
