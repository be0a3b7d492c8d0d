"""Hosts of one machine: network namespaces with addresses of their own, joined by a switch whose cables can be pulled.

Each process runs with its own host name and process ids as well, so that no worker sees whether one of another host is
alive: only heartbeats tell, as between real machines. Nothing of the machine's own network is touched: the switch
lies in a namespace too.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

TOOLS = ("ip", "unshare")


def missing() -> str | None:
    """Return why there can be no such hosts here; None where there can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"{lacking[0]} is not installed (Debian: iproute2, util-linux)"
    name = f"kgm-try-{os.getpid()}"
    for command in (["ip", "netns", "add", name], ["ip", "netns", "exec", name, "unshare", "-u", "-p", "-f", "true"]):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            break
    subprocess.run(["ip", "netns", "delete", name], capture_output=True)
    return f"network namespaces are not allowed here: {done.stderr.strip()}" if done.returncode else None


class Network:
    """A switch and hosts `names`, with the addresses 10.77.0.1, .2, … in that order."""

    def __init__(self, names: Sequence[str]) -> None:
        tag = f"kgm{os.getpid()}"
        self._switch = f"{tag}-switch"
        self._hosts = {name: f"{tag}-{name}" for name in names}
        self.addresses = {name: f"10.77.0.{place}" for place, name in enumerate(names, start=1)}

    def __enter__(self) -> "Network":
        try:
            _ip("netns", "add", self._switch)
            _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
            _ip("-n", self._switch, "link", "set", "switch", "up")
            for name, host in self._hosts.items():
                self._add(name, host)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        for host in (*self._hosts.values(), self._switch):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", host)

    def _add(self, name: str, host: str) -> None:
        _ip("netns", "add", host)
        _ip("-n", host, "link", "add", "eth0", "type", "veth", "peer", "name", name, "netns", self._switch)
        _ip("-n", self._switch, "link", "set", name, "master", "switch", "up")
        _ip("-n", host, "address", "add", f"{self.addresses[name]}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", host, "link", "set", device, "up")

    def cut(self, name: str) -> None:
        """Pull a host's cable: packets vanish, and nobody is told."""
        _ip("-n", self._switch, "link", "set", name, "down")

    def restore(self, name: str) -> None:
        """Put the cable back."""
        _ip("-n", self._switch, "link", "set", name, "up")

    def inside(self, name: str) -> tuple[str, ...]:
        """Return the command that runs another one in a host's network alone."""
        return ("ip", "netns", "exec", self._hosts[name])

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str], **settings: Any) -> Any:
        """Start a command on a host, with its own host name and process ids; killed, it takes its children along."""
        isolated = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        named = ["sh", "-c", 'hostname "$0"; exec "$@"', name]
        return subprocess.Popen([*self.inside(name), *isolated, *named, *command], env=dict(env), **settings)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
