"""The worker command as a child process: orders on its standard input, which stays open as long as it shall work."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from kirigami.search.errors import masked
from kirigami.search.workers.worker import Orders


@dataclass
class WorkerProcess:
    """A worker process and its answers."""

    process: subprocess.Popen[bytes]
    log: IO[bytes]
    answer: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()

    def poll(self) -> int | None:
        """Return the exit code once the worker is gone and its answer is read; None before."""
        code = self.process.poll()
        if code is not None:
            self.listener.join(timeout=5)
        return code

    def ask_to_stop(self) -> None:
        """Close its standard input: it hands its trial back and leaves."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def output(self) -> str:
        """Return its output from before its own log existed."""
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def last_words(self) -> str:
        """Return the error it died of, the last line it wrote, or its exit code."""
        if "died" in self.answer:
            return str(self.answer["died"])
        lines = [line.strip() for line in self.output().splitlines() if line.strip()]
        return masked(lines[-1]) if lines else f"exit code {self.process.returncode}"

    def close(self) -> None:
        """Wait for its end and give up the pipes."""
        self.ask_to_stop()
        self.process.wait()
        self.listener.join(timeout=5)
        if self.process.stdout is not None and not self.listener.is_alive():
            self.process.stdout.close()
        self.log.close()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(json.JSONDecodeError):
                self.answer |= json.loads(line)


# -P: without it Python puts the current folder first, and a user's file there stands for a library of ours.
COMMAND = [sys.executable, "-P", "-m", "kirigami.search.workers.worker"]


def start(orders: Orders) -> WorkerProcess:
    """Start a worker process and give it its orders."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
    process = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={
            "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while they wait crawl where others use the cores
            **os.environ,
            "OMP_NUM_THREADS": str(orders.threads),
            "MKL_NUM_THREADS": str(orders.threads),
            **orders.env,
        },
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(asdict(orders)).encode() + b"\n")
        process.stdin.flush()
    return WorkerProcess(process, log)
