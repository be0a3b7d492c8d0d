"""The cores and devices that a trial may use: counted, named, and split between workers. Nothing here loads torch
before a device is asked for."""

import os
from pathlib import Path

from kirigami.search.config.trainer import TrainerConfig
from kirigami.search.errors import InputError

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
# Below this, starting and joining threads costs more than they save, and far more on a machine that is busy.
MACS_PER_THREAD = 400_000_000


def pick(setting: str) -> tuple[str, str, list[int] | int]:
    """Return (torch device, Lightning accelerator, Lightning devices) for `trainer.device`.

    Raises:
        InputError: for a device that is not on this machine.
    """
    import torch

    count = torch.cuda.device_count()
    name, _, index = setting.partition(":")
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name == "cpu" and not index:
        return "cpu", "cpu", 1
    if name == "cuda" and index in ("", *map(str, range(count))) and count:
        number = int(index or 0)
        return f"cuda:{number}", "gpu", [number]
    names = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(count))])
    raise InputError(
        f"trainer.device must be one of ({names}) on this machine, but got {setting!r}. Set trainer.device=auto."
    )


def of_ranks(trainer: TrainerConfig) -> tuple[str, ...]:
    """Return the torch device of each rank: the CPU once for each, or GPUs from the one that `trainer.device` names.

    Raises:
        InputError: where there are fewer GPUs, or the device is none of this machine's.
    """
    wanted = trainer.ranks
    first, _, _ = pick(trainer.device)
    if first == "cpu":
        return ("cpu",) * wanted
    import torch

    start, available = torch.device(first).index or 0, torch.cuda.device_count()
    if start + wanted > available:
        raise InputError(
            f"trainer.devices must be at most {available - start}, the GPUs there are from {first}, but got {wanted}. "
            f"Set trainer.devices={available - start}, or trainer.device=cpu."
        )
    return tuple(f"cuda:{number}" for number in range(start, start + wanted))


def threads_for(macs: int, limit: int, shares: int = 1) -> int:
    """Return how many threads a training step of so many multiply-accumulates is worth, at most `limit`.

    Work and threads are divided where several processes share the step.

    A function of the config alone, so that a seed gives the same sums in the same order each time.
    """
    return max(1, min(limit // shares, macs // shares // MACS_PER_THREAD))


def threads_per_worker(workers: int) -> int:
    """Return cores ÷ workers: with the default, every worker starts a thread on every core and all of them crawl."""
    return max(1, cores() // workers)


def cores() -> int:
    """Return how many cores this process may use: of the machine, of its affinity mask, of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return allowed if quota is None else max(1, min(allowed, int(quota)))


def _quota() -> float | None:
    """Return the cores that the control groups above this process grant it; None for no limit."""
    try:
        lines = (PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return None
    quotas = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quotas += [_v2(folder) for folder in _upwards(CGROUPS, path)]
        elif "cpu" in controllers.split(","):
            quotas += [_v1(folder) for folder in _upwards(CGROUPS / "cpu", path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _upwards(root: Path, path: str) -> list[Path]:
    folder = root / path.strip("/")
    return [folder, *(above for above in folder.parents if above == root or root in above.parents)]


def _v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        return None if quota <= 0 else quota / int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
