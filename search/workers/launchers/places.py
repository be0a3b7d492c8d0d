"""The cores and GPUs of this machine, counted without torch, and how workers share them."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kirigami.search.training.devices import cores, threads_per_worker

NVIDIA = Path("/proc/driver/nvidia/gpus")
SMI_SECONDS = 20  # a driver that is not kept loaded takes seconds to answer


@dataclass(frozen=True)
class Share:
    """What one worker gets: its number of threads, and the environment that limits it to its GPU."""

    threads: int
    env: Mapping[str, str] = field(default_factory=dict)


def share_out(workers: int | str, cores_per_worker: int, device: str, devices: int = 1) -> tuple[list[Share], str]:
    """Return each worker's share of this machine, and in words how they were dealt.

    Args:
        workers: how many, or `auto`: one for each GPU, else one for each `cores_per_worker` cores.
        device: `trainer.device`; with `cpu`, or with a GPU that is named, the GPUs are not dealt.
        devices: of one trial (`trainer.devices`): GPUs are dealt in groups of so many, and those left over stay idle.
    """
    count = cores()
    groups = _groups(gpus(), devices) if workers != 1 and device in ("auto", "cuda") else []
    if workers == "auto":
        number = len(groups) or (1 if device.startswith("cuda") else max(1, count // cores_per_worker))
    else:
        number = int(workers)
    shares = [Share(threads_per_worker(number), _only(groups, index)) for index in range(number)]
    what = f"{number} worker{'s' * (number > 1)}"
    if groups:
        names = ", ".join(groups) if devices == 1 else " and ".join(groups)
        number = sum(len(group.split(",")) for group in groups)
        return shares, f"{what} on {number} GPU{'s' * (number > 1)} (CUDA_VISIBLE_DEVICES {names})"
    return shares, f"{what} on {count} core{'s' * (count > 1)}"


def _groups(names: list[str], devices: int) -> list[str]:
    """Return the GPUs in groups, each as CUDA_VISIBLE_DEVICES has it; all in one where they do not suffice for two."""
    groups = [",".join(names[start : start + devices]) for start in range(0, len(names) - devices + 1, devices)]
    return groups or ([",".join(names)] if names else [])


def _only(groups: list[str], index: int) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": groups[index % len(groups)]} if groups else {}


def gpus() -> list[str]:
    """Return the NVIDIA GPUs this process may use, each as an entry of CUDA_VISIBLE_DEVICES.

    A CUDA_VISIBLE_DEVICES that is set is taken entry by entry: numbers, UUIDs, MIG names. As in CUDA, an entry that
    is none of these hides itself and all after it.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return _entries(visible)
    listed = _listed()
    if listed is not None:
        return listed
    return [str(number) for number, _ in enumerate(NVIDIA.glob("*"))]


def _entries(visible: str) -> list[str]:
    entries: list[str] = []
    for entry in (part.strip() for part in visible.split(",")):
        if not (entry.isdigit() or entry.startswith(("GPU-", "MIG-"))):
            break
        entries.append(entry)
    return entries


def _listed() -> list[str] | None:
    """Ask `nvidia-smi -L`; None where it is not there or does not answer.

    A GPU that is cut in MIG slices can be used by the slices' names only.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=SMI_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    whole: list[list[str]] = []
    for line in done.stdout.splitlines():
        if match := re.match(r"GPU (\d+):", line):
            whole.append([match[1]])
        elif whole and (match := re.match(r"\s+MIG .*UUID: (MIG-[^)\s]+)\)", line)):
            whole[-1].append(match[1])
    return [name for number, *slices in whole for name in (slices or [number])]
