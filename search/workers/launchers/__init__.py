"""Who runs the worker command N times: this machine, a Ray cluster, SLURM. Chosen by `launcher=`."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kirigami.errors import did_you_mean
from kirigami.search.errors import InputError, one_of
from kirigami.search.workers.launchers.base import Launcher
from kirigami.search.workers.launchers.places import Share, share_out
from kirigami.search.workers.worker import Orders

KEYS = {
    "local": (),
    "ray": ("address", "num_cpus", "num_gpus", "max_restarts", "runtime_env"),
    "slurm": (
        *("cluster", "wait", "timeout_min", "signal_delay_s", "max_num_timeout", "cpus_per_task", "gpus_per_node"),
        *("mem_gb", "partition", "account", "qos", "constraint", "setup", "additional_parameters"),
    ),
}
ALL = ("name", "deaths_in_a_row")


def check(config: Mapping[str, Any]) -> None:
    """Check `workers`, `cores_per_worker` and `launcher` as far as the words go.

    Raises:
        InputError: in one line.
    """
    settings, name = config["launcher"], config["launcher"].get("name")
    if name not in KEYS:
        raise one_of("launcher", name, KEYS)
    for key in settings:
        if key not in (*ALL, *KEYS[name]):
            allowed = ", ".join((*ALL, *KEYS[name]))
            near = did_you_mean(key, (*ALL, *KEYS[name]))
            raise InputError(f"launcher.{key}: no such key of launcher={name}.{near} Keys: {allowed}.")
    for path in ("cores_per_worker", "launcher.deaths_in_a_row"):
        _whole(path, settings.get("deaths_in_a_row", 10) if "." in path else config.get("cores_per_worker", 2))
    workers = config.get("workers")
    if workers == "auto" and name == "slurm":
        raise InputError("workers must be a number with launcher=slurm, but got 'auto'. Set workers=4, say.")
    if workers != "auto":
        _whole("workers", workers, " or auto")


def build(
    raw: dict[str, Any],
    config: Mapping[str, Any],
    folder: Path,
    paths: Sequence[Path],
    finished: Callable[[], int | None],
) -> Launcher:
    """Make the launcher that the config names; nothing is started yet.

    Args:
        raw: the composed config, as workers get it.
        config: the same, resolved and checked.
        folder: of the study's files.
        paths: where a user's own modules may lie.
        finished: returns how many trials of the study have ended, None where that cannot be read now.

    Raises:
        InputError: where a package is missing, or a setting is wrong.
    """
    settings = dict(config["launcher"])

    def orders(index: int, share: Share) -> Orders:
        return Orders(raw, str(folder), index, share.threads, [str(path) for path in paths], dict(share.env))

    if settings["name"] == "ray":
        from kirigami.search.workers.launchers.ray import build as on_ray

        return on_ray(settings, config, orders, finished, carried(raw))
    if settings["name"] == "slurm":
        from kirigami.search.workers.launchers.slurm import build as on_slurm

        return on_slurm(settings, config, orders, finished)
    from kirigami.search.workers.launchers.local import Local

    device = str(config["trainer"].get("device", "auto"))
    devices = config["trainer"].get("devices", 1)
    devices = devices if isinstance(devices, int) and devices > 1 else 1  # the worker says what is wrong with it
    shares, dealt = share_out(config["workers"], int(config.get("cores_per_worker", 2)), device, devices)
    team = [orders(index, share) for index, share in enumerate(shares)]
    notes = [dealt] if config["workers"] == "auto" else []
    return Local(team, int(settings.get("deaths_in_a_row", 10)), finished, notes=notes)


def carried(raw: Any) -> dict[str, str]:
    """Return the environment that a config means something else without: what it names in `${oc.env:…}`."""
    if isinstance(raw, Mapping):
        return {key: value for part in raw.values() for key, value in carried(part).items()}
    if isinstance(raw, list | tuple):
        return {key: value for part in raw for key, value in carried(part).items()}
    names = re.findall(r"\$\{oc\.env:\s*(\w+)", raw) if isinstance(raw, str) else []
    return {name: os.environ[name] for name in names if name in os.environ}


def _whole(path: str, value: Any, also: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"{path} must be a whole number of at least 1{also}, but got {value!r}.")
