"""A PostgreSQL server of one's own in a folder: a first store for many machines."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from kirigami.search.errors import InputError, StudyStopped, one_of
from kirigami.search.storage.server import folder as files
from kirigami.search.storage.server import postmaster
from kirigami.search.storage.server.ports import check_port, is_loopback
from kirigami.search.storage.server.programs import Programs, environment, refusal

LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::", "*")
START_SECONDS = 120
CRASH_SECONDS = 10
SIGNALS = {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT", "kill": "SIGKILL"}


@dataclass
class Server:
    """A server in `folder`; `start` makes what is missing.

    Args:
        folder: where it keeps all it has.
        host: the address to listen on; `0.0.0.0` is every address of this machine.
        port: 0 takes a free one at the first start.
        password: of both roles, where the folder has none yet; by default each draws its own.
        durable: whether to wait for the disk; only what is thrown away need not.
    """

    folder: Path
    host: str = LOOPBACK
    port: int = 0
    password: str | None = None
    durable: bool = True
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.folder = Path(self.folder).absolute()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        """The store's URL on this machine, which names the file with the password."""
        return self.url_at(LOOPBACK if self.host in EVERYWHERE else self.host)

    @property
    def admin_url(self) -> str:
        """The administrator's URL, for backups and other roles; good on this machine alone."""
        return self._url("postgres", "pgpass.admin", LOOPBACK if self.host in EVERYWHERE else self.host)

    @property
    def pid(self) -> int | None:
        """The process id of the running server; None where none runs."""
        return postmaster.running_pid(self.data)

    def start(self) -> "Server":
        """Start the server, detached from this process and its terminal; nothing where it runs.

        Raises:
            InputError: where the wheel is missing, or the folder or the port cannot be used.
            StudyStopped: where PostgreSQL itself fails; with its words.
        """
        programs = Programs.find(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711 if programs.identity else 0o700)
        with self._locked():
            if self.pid is not None:
                return self
            files.check(self.folder)
            self._claim_port()
            if not self.data.exists():
                files.make_cluster(programs, self.durable)
            files.draw_passwords(programs, self.password)
            files.write_settings(self.folder, self.rules(), self.host, self.port, self.url)
            self._launch(programs)
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop the server and wait until it is gone.

        Args:
            mode: `smart` waits for clients to leave, `fast` sends them away, `immediate` ends without a checkpoint,
                `kill` is what a crash does.
        """
        if mode not in SIGNALS:
            raise one_of("mode", mode, SIGNALS)
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, getattr(signal, SIGNALS[mode]))
        self._wait_gone(pid)

    def kill(self) -> None:
        """End the server as a crash does."""
        self.stop("kill")

    def restart(self, mode: str = "fast") -> "Server":
        """Stop and start it again, at the same port."""
        self.stop(mode)
        return self.start()

    def url_at(self, host: str) -> str:
        """Return the store's URL for machines that know this one as `host` and share its folder."""
        return self._url("kirigami", "pgpass", host)

    def rules(self) -> list[str]:
        """Return who may connect, from where and how, as lines of pg_hba.conf."""
        others = "samehost" if is_loopback(self.host) else "all"
        return ["host all postgres samehost scram-sha-256", f"host kirigami kirigami {others} scram-sha-256"]

    def _url(self, role: str, passwords: str, host: str) -> str:
        shown = f"[{host}]" if ":" in host else host
        path = quote(str(self.folder / passwords), safe="/")
        return f"postgresql://{role}@{shown}:{self.port}/{role}?passfile={path}"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let two commands that start it at once do so one after the other."""
        import fcntl  # not on Windows, where all else of kirigami should import

        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _claim_port(self) -> None:
        """Check that the port can be had, or take a free one; a crashed server's sessions hold it for a moment."""
        crashed = (self.data / postmaster.LOCK).exists() and self.port
        until = time.monotonic() + (CRASH_SECONDS if crashed else 0)
        while True:
            try:
                self.port = check_port(self.host, self.port)
                return
            except InputError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.02)

    def _launch(self, programs: Programs) -> None:
        """Start the server in a session of its own, where no terminal's Ctrl-C or hang-up reaches it."""
        log, until = self.folder / "log", time.monotonic() + START_SECONDS
        if log.exists():
            log.replace(self.folder / "log.old")
        command = [str(programs.binaries / "postgres"), "-D", str(self.data), "-h", self.host, "-p", str(self.port)]
        while True:
            postmaster.forget_reused_pid(self.data)
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                self.process = subprocess.Popen(
                    command,
                    cwd=self.data.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env=environment(),
                    **programs.identity,
                )
            if self._is_ready(until):
                return
            answer = log.read_text(errors="replace")
            # The last sessions of a server that was killed end by themselves, and hold its memory until then.
            if "is still in use" not in answer or time.monotonic() > until:
                raise StudyStopped(f"{refusal(f'{self.folder}: PostgreSQL does not start', answer)}. See {log}.")
            time.sleep(0.2)

    def _is_ready(self, until: float) -> bool:
        """Wait until the server takes connections; return False where it ended instead."""
        assert self.process is not None
        while self.process.poll() is None:
            if postmaster.is_ready(self.process.pid, self.data):
                return True
            if time.monotonic() > until:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(20)
            time.sleep(0.02)
        return False

    def _wait_gone(self, pid: int) -> None:
        until = time.monotonic() + START_SECONDS
        while postmaster.is_server(pid, self.data):
            if self.process is not None:
                self.process.poll()  # a child of ours stays in the table of processes until it is asked for
            if time.monotonic() > until:
                raise StudyStopped(f"{self.folder}: PostgreSQL (process {pid}) does not stop. See {self.folder}/log.")
            time.sleep(0.02)
