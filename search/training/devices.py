"""Which device a trial trains on, and how the cores are split between workers."""

import os
from typing import Any

from kirigami.search.errors import InputError

# Below this, starting and joining threads costs more than they save, and far more on a machine that is busy.
MACS_PER_THREAD = 400_000_000


def pick(setting: Any) -> tuple[str, str, list[int] | int]:
    """Return (torch device, Lightning accelerator, Lightning devices) for `trainer.device`.

    Raises:
        InputError: for a device that is not on this machine.
    """
    import torch

    count = torch.cuda.device_count()
    name, _, index = str(setting).partition(":")
    if name == "auto":
        name = "cuda" if count else "cpu"
    if name == "cpu" and not index:
        return "cpu", "cpu", 1
    if name == "cuda" and index in ("", *map(str, range(count))) and count:
        number = int(index or 0)
        return f"cuda:{number}", "gpu", [number]
    found = ", ".join(["auto", "cpu", *(f"cuda:{number}" for number in range(count))])
    raise InputError(
        f"trainer.device must be one of ({found}) on this machine, but got {setting!r}. Set trainer.device=auto."
    )


def threads_per_worker(workers: int) -> int:
    """Return cores ÷ workers: with the default, every worker starts a thread on every core and all of them crawl."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // workers)


def threads_for(macs: int, limit: int, shares: int = 1) -> int:
    """Return how many threads a training step of so many multiply-accumulates is worth, at most `limit`.

    Work and threads are divided where several processes share the step.

    A function of the config alone, so that a seed gives the same sums in the same order each time.
    """
    return max(1, min(limit // shares, macs // shares // MACS_PER_THREAD))
