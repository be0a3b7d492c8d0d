"""Which ports of this machine can be listened on, and which addresses only this machine reaches."""

import ipaddress
import socket
from contextlib import suppress

from kirigami.search.errors import InputError


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def free_port(host: str, first: int, tries: int = 100) -> int:
    """Return a port that nothing listens on: the first free one from `first` on."""
    for port in range(first, first + tries):
        with suppress(InputError):
            return check_port(host, port)
    raise InputError(f"host={host}: no port from {first} to {first + tries - 1} is free. Set port=OTHER.")


def check_port(host: str, port: int) -> int:
    """Return the port, or the one that the system gives for 0.

    Raises:
        InputError: where it is taken or the host is no address of this machine.
    """
    try:
        addresses = socket.getaddrinfo("0.0.0.0" if host == "*" else host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = addresses[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as PostgreSQL does
            probe.bind(address)
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"host={host} port={port}: {reason}. Set another host or port=OTHER.") from error
