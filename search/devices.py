"""Which device a trial trains on, and how the cores are split between workers."""

import os
from typing import Any

from search.errors import InputError


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
