"""Python programs as processes of their own, forked from one that has loaded what they need: each starts at once.

`python -m tests.search.forks` is that process. It takes requests over a socket: a program to start, with the pipes that
become its standard input and output, or a process to look after. One that has ended is a zombie until it is waited for.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from subprocess import TimeoutExpired
from typing import Any

LOADED = (
    *("kirigami.search.loop", "kirigami.search.storage.opening", "kirigami.search.proposal.samplers"),
    *("kirigami.search.study.study", "kirigami.search.training.runners", "kirigami.spaces"),
    *("kirigami.search.config.sampler", "kirigami.search.proposal.pruners", "alembic.context"),
)
LARGEST = 1 << 20  # bytes of a request
AGAIN_S = 0.01


class Forked:
    """A program that runs; used like a `subprocess.Popen` with pipes of text."""

    def __init__(self, server: "ForkServer", program: str, arguments: Sequence[str]) -> None:
        self._server = server
        (theirs_in, ours_in), (ours_out, theirs_out) = os.pipe(), os.pipe()
        order = {"program": program, "arguments": list(arguments), "environment": dict(os.environ)}
        self.pid: int = server.ask(order, [theirs_in, theirs_out])
        os.close(theirs_in)
        os.close(theirs_out)
        self.stdin, self.stdout = os.fdopen(ours_in, "w"), os.fdopen(ours_out)
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return the exit code, or the number of a signal below zero; None while it runs."""
        if self.returncode is None:
            self.returncode = self._server.ask({"wait": self.pid})
        return self.returncode

    def wait(self, timeout: float = 600) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise TimeoutExpired("forked", timeout)
            time.sleep(AGAIN_S)
        return code

    def communicate(self, timeout: float = 600) -> tuple[str, None]:
        """Close standard input, and return all that is printed until the end."""
        self.stdin.close()
        printed = self.stdout.read()
        self.wait(timeout)
        return printed, None


class ForkServer:
    """The process that programs are forked from, and this side of the socket to it."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-m", __name__, str(theirs.fileno())]
        self.process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])
        theirs.close()

    def ask(self, order: dict[str, Any], files: Sequence[int] = ()) -> Any:
        """Send a request, with open files, and return the answer."""
        socket.send_fds(self.socket, [json.dumps(order).encode()], files)
        return json.loads(self.socket.recv(LARGEST))

    def close(self) -> None:
        self.socket.close()
        self.process.wait()


def serve(requests: socket.socket) -> None:
    """Answer requests until the other side is closed."""
    for module in LOADED:
        importlib.import_module(module)
    while True:
        request, files, _, _ = socket.recv_fds(requests, LARGEST, 2)
        if not request:
            return
        order = json.loads(request)
        if "wait" in order:
            pid, status = os.waitpid(order["wait"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                requests.close()
                _become(order["program"], order["arguments"], order["environment"], *files)
            for file in files:
                os.close(file)
        requests.send(json.dumps(answer).encode())


def _become(program: str, arguments: list[str], environment: dict[str, str], inward: int, outward: int) -> None:
    """Run a program as `python -c` would, and leave."""
    code = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        os.dup2(inward, 0)
        os.dup2(outward, 1)
        os.close(inward)
        os.close(outward)
        sys.argv = ["-c", *arguments]
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
