"""Reaching a Ray cluster, and seeing whether the workers and their store fit it."""

import contextlib
import io
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy

from kirigami.search.config.launcher import Ray
from kirigami.search.errors import InputError, one_line
from kirigami.search.storage import shown

ANSWER_SECONDS = 5  # of a port, before it counts as out of reach
STORE_BYTES = 80_000_000  # of a cluster of our own: Ray's least; nothing of ours goes through it
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04" + b"\x00" * 5  # preface, and empty settings
HERE = ("", "localhost", "127.0.0.1", "::1", "0.0.0.0")


@dataclass
class Needs:
    """What one worker takes of a node."""

    cpus: float
    gpus: float

    def __str__(self) -> str:
        return f"{self.cpus:g} CPU{'s' * (self.cpus != 1)} and {self.gpus:g} GPU{'s' * (self.gpus != 1)}"

    def fit(self, node: Mapping[str, Any]) -> int:
        """Return how many workers fit on an empty node."""
        has = node["Resources"]
        rooms = [int(has.get(kind, 0) / need) for kind, need in (("CPU", self.cpus), ("GPU", self.gpus)) if need]
        return min(rooms) if rooms else 1


def connect(ray: Any, settings: Ray) -> None:
    """Join the cluster at `launcher.address`, or start one here.

    Ray itself waits for minutes for an address where nobody answers: the port is tried first.

    Raises:
        InputError: where there is no cluster.
    """
    address = _running() if settings.address == "auto" else settings.address
    if address != "local":
        _check_answers(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray's report on its use to its makers
        options |= {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    if settings.runtime_env:
        options["runtime_env"] = settings.runtime_env
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with _quiet():
            ray.init(address=address, **options)
    except Exception as error:  # Ray raises what it likes: ConnectionError, RuntimeError, ValueError, its own
        hint = " Run: pip install 'ray[client]'." if isinstance(error, ImportError) else ""
        raise InputError(f"launcher.address={address} cannot be used: {one_line(error)}.{hint}") from error


def _running() -> str:
    """Return the address of the cluster that runs here, as RAY_ADDRESS or `ray start` left it; `local` for none."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    note = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray/ray_current_cluster"
    try:
        address = note.read_text().strip()
        _check_answers(address)
    except (OSError, InputError):
        return "local"
    return address


def _check_answers(address: str) -> None:
    """Raise `InputError` where no gRPC server answers at HOST:PORT or ray://HOST:PORT."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    setting = f"launcher.address={address}"
    if not host or not port.isdigit():
        raise InputError(f"{setting} must be auto, local, HOST:PORT or ray://HOST:PORT. Set launcher.address=auto.")
    hint = "Is the cluster up (`ray start --head`, `ray status`)?"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS) as connection:
            if os.environ.get("RAY_USE_TLS") == "1":
                return
            connection.sendall(HTTP2)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise InputError(f"{setting} cannot be reached: {one_line(error)}. {hint}") from error
    if len(answer) < 4 or answer[3] != 4:  # the server's own settings come first
        raise InputError(f"{setting} answers, but is no Ray cluster. {hint}")


def check_store(url: str, machines: set[str], address: str) -> None:
    """Refuse a store that the workers cannot reach: a file, or a database that listens on this machine only.

    Args:
        machines: addresses of those where workers may run.
        address: of the cluster; with ray:// it is on another machine.

    Raises:
        InputError: naming the store without its password.
    """
    host = address.removeprefix("ray://").rpartition(":")[0]
    if len(machines) <= 1 and not (address.startswith("ray://") and host.strip("[]") not in HERE):
        return
    parsed = sqlalchemy.make_url(url)
    where = parsed.host or str(parsed.query.get("host", ""))
    if parsed.get_backend_name() == "sqlite" or where in HERE or where.startswith("/"):
        many = f"{len(machines)} machines" if len(machines) > 1 else "another machine"
        raise InputError(
            f"storage.url={shown(url)} is on this machine alone, but the workers run on {many}. "
            "Set storage.url=postgresql://USER@HOST/DATABASE, where HOST is known to all of them."
        )


def needs_of(settings: Ray, nodes: list[Any]) -> Needs:
    """Return the resources of `launcher.num_cpus` and `num_gpus`; with `auto` a GPU, if a node has one."""
    gpus = settings.num_gpus
    if gpus == "auto":
        gpus = 1 if any(node["Resources"].get("GPU", 0) >= 1 for node in nodes) else 0
    return Needs(float(settings.num_cpus), float(gpus))


def no_room(needs: Needs, nodes: list[Any]) -> str:
    """Return the error line for a worker that fits on no node, with the resources of the nodes."""
    sizes = [Needs(node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0)) for node in nodes]
    largest = max(sizes, key=lambda size: (size.gpus, size.cpus))
    return (
        f"launcher.num_cpus={needs.cpus:g} and num_gpus={needs.gpus:g}: no node of the Ray cluster has {needs}; the "
        f"largest of its {len(nodes)} has {largest}. Set launcher.num_cpus= and launcher.num_gpus= to less."
    )


def counted(nodes: list[Any]) -> str:
    """Return `3 nodes`."""
    return f"{len(nodes)} node{'s' * (len(nodes) > 1)}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's output during the connection off the user's terminal."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
