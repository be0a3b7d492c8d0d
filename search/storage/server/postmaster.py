"""The process of a PostgreSQL server, as its lock file in the data folder names it."""

import os
import subprocess
from pathlib import Path

LOCK = "postmaster.pid"
STATUS_LINE = 7


def running_pid(data: Path) -> int | None:
    """Return the process id of the server that runs on a data folder; None where none runs."""
    pid = _written_pid(data)
    return pid if pid is not None and is_server(pid, data) else None


def is_server(pid: int, data: Path) -> bool:
    """Return whether a process is the server of that folder: process ids are used again."""
    try:
        if Path("/proc/self/cmdline").exists():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return os.fsencode(data) in words
        done = subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True)
        return str(data) in done.stdout
    except OSError:
        return False


def is_ready(pid: int, data: Path) -> bool:
    """Return whether the server takes connections."""
    lines = _lock_file(data)
    return len(lines) > STATUS_LINE and lines[0].strip() == str(pid) and lines[STATUS_LINE].strip() == "ready"


def forget_reused_pid(data: Path) -> None:
    """Free a lock file whose server died and whose process id now is another program's, as after a reboot.

    PostgreSQL would take that program for the server. It goes on where the file names the process that starts it,
    and still checks that nobody uses the old server's memory.
    """
    pid, lines = _written_pid(data), _lock_file(data)
    if pid is not None and not is_server(pid, data):
        (data / LOCK).write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")


def _lock_file(data: Path) -> list[str]:
    try:
        return (data / LOCK).read_text().splitlines()
    except OSError:
        return []


def _written_pid(data: Path) -> int | None:
    lines = _lock_file(data)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None
