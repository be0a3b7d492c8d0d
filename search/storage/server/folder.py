"""The folder of a local server: its cluster, passwords and settings, and how each is made.

It holds `data/` (the cluster), `log`, `server.json` (host, port and machine), `url` (how this machine reaches it,
without a password), and `pgpass` and `pgpass.admin`, which hold the passwords and are read by nobody else. Workers come
as the role `kirigami`, which owns the database of that name and nothing more; the administrator `postgres` is let in
from the server's own machine alone. There is no socket: who may connect is a matter of passwords only.
"""

import json
import os
import platform
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError
from kirigami.search.files import write_text
from kirigami.search.storage.server.postmaster import LOCK
from kirigami.search.storage.server.programs import VERSION, Programs

ROLES = {"pgpass": "kirigami", "pgpass.admin": "postgres"}
LEAST_BYTES = 2**28
SETTINGS = """
# kirigami: what a store of many small writers needs beyond PostgreSQL's own defaults.
unix_socket_directories = ''   # passwords over TCP only
max_connections = 500          # a search of one worker holds up to six
#synchronous_commit = off      # quicker reports; a power cut then loses the last .6 s, and corrupts nothing
"""


def settings(folder: Path) -> dict[str, Any]:
    """Return `host`, `port` and `machine` of the server in a folder, as it last ran; nothing where there is none."""
    try:
        content = json.loads((folder / "server.json").read_text())
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def check(folder: Path) -> None:
    """Refuse a folder of another version or program, and one that another machine may be serving.

    Raises:
        InputError: in one line.
    """
    data = folder / "data"
    version = data / "PG_VERSION"
    if data.exists() and not version.exists():
        raise InputError(f"{data} is no PostgreSQL folder. Move it away, or run the command elsewhere.")
    if version.exists() and (written := version.read_text().strip()) != str(VERSION):
        raise InputError(
            f"{data} is of PostgreSQL {written}, and this wheel brings {VERSION}. "
            f"Move it away, or copy its studies with the version that wrote it."
        )
    machine = settings(folder).get("machine", platform.node())
    if (data / LOCK).exists() and machine != platform.node():
        raise InputError(
            f"{folder} is served from {machine}, or was when that machine went down. "
            f"Use it from there, or, if nothing runs there any more, remove {data / LOCK}."
        )


def make_cluster(programs: Programs, durable: bool) -> None:
    """Make the cluster, the role and the database beside their place, and move them there when they are whole.

    Args:
        durable: whether to wait for the disk.

    Raises:
        InputError: where the disk is nearly full.
        StudyStopped: where PostgreSQL fails.
    """
    folder, identity = programs.folder, programs.identity
    free = shutil.disk_usage(folder).free
    if free < LEAST_BYTES:
        raise InputError(f"{folder}: a store needs 256 MB to begin with, but {free // 2**20} MB are free.")
    unfinished = folder / "data.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if identity:
        os.chown(unfinished, identity["user"], identity["group"])
    options = ["-U", "postgres", "--auth=reject", "--no-locale", "-E", "UTF8", *([] if durable else ["--no-sync"])]
    programs.run("initdb", "-D", unfinished, *options)
    with (unfinished / "postgresql.conf").open("a") as file:
        file.write(SETTINGS + ("" if durable else "fsync = off\n"))
    programs.execute(unfinished, ["CREATE ROLE kirigami LOGIN", "CREATE DATABASE kirigami OWNER kirigami"])
    for name in ROLES:
        (folder / name).unlink(missing_ok=True)  # of a cluster that is gone
    unfinished.rename(folder / "data")


def draw_passwords(programs: Programs, password: str | None = None) -> None:
    """Give each role whose password file is not there a new password.

    Args:
        password: in place of one that is drawn.
    """
    for name, role in ROLES.items():
        file = programs.folder / name
        if file.exists():
            continue
        drawn = password or secrets.token_urlsafe(24)
        programs.execute(programs.folder / "data", [f"ALTER ROLE {role} PASSWORD '{drawn}'"])
        # Any host and port: the same line serves other machines, and a server that has moved.
        write_text(file, f"*:*:*:{role}:{drawn}\n", private=True)


def write_settings(folder: Path, rules: Sequence[str], host: str, port: int, url: str) -> None:
    """Write down who may connect, as lines of pg_hba.conf, and where the server is."""
    lines = ["# kirigami writes this file at every start.", *rules]
    (folder / "data" / "pg_hba.conf").write_text("\n".join(lines) + "\n")
    address = {"host": host, "port": port, "machine": platform.node()}
    write_text(folder / "server.json", json.dumps(address) + "\n", private=True)
    write_text(folder / "url", url + "\n", private=True)
