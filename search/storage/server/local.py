"""Where a store's URL leads: to a database, an SQLite file, or the local server in `./store`."""

import platform
import re
from pathlib import Path
from typing import Any

from kirigami.search.errors import InputError, masked
from kirigami.search.storage.server.folder import settings
from kirigami.search.storage.server.ports import is_loopback
from kirigami.search.storage.server.server import EVERYWHERE, Server

LOCAL = "store"  # in place of a URL: the local server of the folder where the command runs


def located(url: Any) -> str:
    """Return a store's URL in full: a relative SQLite path made absolute, `store` replaced by the local server's URL.

    Raises:
        InputError: where there is no local server, or the URL holds its password where it would be shown.
    """
    from kirigami.search.storage import (
        absolute_sqlite,  # sqlalchemy and optuna come with it; the verb `store` does without
    )

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
    last = settings(folder)
    if not last:
        raise InputError(
            f"there is no store in {folder.absolute()}. "
            f"Run `make store` here, or set KIRIGAMI_STORAGE=postgresql://USER@HOST/DATABASE."
        )
    server, machine = Server(folder, last["host"], last["port"]), last["machine"]
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
