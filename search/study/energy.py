"""Energy counters of the machine: joules between two moments.

Processors count their packages' energy under /sys/class/powercap (RAPL; Linux lets only root read it unless told
otherwise), NVIDIA devices theirs through NVML, read where `pynvml` is installed. Both count the whole package or
device: they include the energy of other processes and workers. Without a readable counter there is no figure.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

POWERCAP = Path("/sys/class/powercap")
SAMPLE_SECONDS = 10.0  # a package's counter wraps after 2**32 µJ at the earliest: ten seconds at 430 W


class Counter(NamedTuple):
    """One counter of joules, which restarts from 0 at `wraps` (0: never)."""

    name: str
    read: Callable[[], float]
    wraps: float = 0.0


class Meter:
    """Sums the counters' joules while trials run.

    Args:
        counters: by default those of this machine.
    """

    def __init__(self, counters: list[Counter] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = {counter.name: counter for counter in (machine() if counters is None else counters)}
        self._clock = clock
        self._last: dict[str, float] = {}
        self._joules = dict.fromkeys(self._counters, 0.0)
        self.take()

    def check(self) -> None:
        """Read the counters before one may have wrapped twice; cheap enough for every step."""
        if self._counters and self._clock() >= self._due:
            self._look()

    def take(self) -> dict[str, float]:
        """Return the joules of each counter since they were last taken."""
        self._look()
        taken, self._joules = self._joules, dict.fromkeys(self._counters, 0.0)
        return taken

    def figures(self, joules: Mapping[str, float], device: str = "cpu") -> dict[str, Any]:
        """Return a trial's joules and the names of their counters, as recorded; empty without a readable counter.

        Args:
            joules: of each counter, that trial's share.
            device: the device of the trial; of the GPUs only this one counts, `cuda` means all visible ones.
        """
        counted = [name for name in joules if name in self._counters and _concerns(name, device)]
        return (
            {"energy_j": round(sum(joules[name] for name in counted), 3), "energy_of": sorted(counted)}
            if counted
            else {}
        )

    def _look(self) -> None:
        self._due = self._clock() + SAMPLE_SECONDS
        for counter in list(self._counters.values()):
            self._sample(counter)

    def _sample(self, counter: Counter) -> None:
        try:
            now = counter.read()
        except Exception:  # NVML raises classes of its own; a counter that fails once has lost joules
            self._counters.pop(counter.name, None)
            self._joules.pop(counter.name, None)
            return
        step = now - self._last.get(counter.name, now)
        self._joules[counter.name] += step if step >= 0 else step + counter.wraps
        self._last[counter.name] = now


def machine() -> list[Counter]:
    """Return the counters of this machine that this process may read."""
    return [*packages(), *gpus()]


def packages(folder: Path = POWERCAP) -> Iterator[Counter]:
    """Yield the RAPL counters of whole packages; their parts (cores, memory) have two colons in their names."""
    for zone in sorted(folder.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:
            continue
        with suppress(OSError, ValueError):
            name, wraps = (zone / "name").read_text().strip(), _microjoules(zone / "max_energy_range_uj")
            _microjoules(zone / "energy_uj")  # everyone sees the file, but not everyone may read it
            if name.startswith("package"):
                yield Counter(name, lambda file=zone / "energy_uj": _microjoules(file), wraps)  # type: ignore[misc]


def gpus() -> Iterator[Counter]:
    """Yield the counters of the NVIDIA devices that this process sees, as `cuda:0`, …; none without `pynvml`.

    NVML knows the devices in the order of their buses, CUDA the fastest first: the same where they are all alike, and
    where CUDA_DEVICE_ORDER=PCI_BUS_ID is set.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [_handle(pynvml, device) for device in _visible(pynvml.nvmlDeviceGetCount())]
    except Exception:  # not installed, no driver, no permission: each raises something else
        return
    for number, handle in enumerate(handles):
        with suppress(Exception):
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            yield Counter(
                f"cuda:{number}",
                lambda handle=handle: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,  # type: ignore[misc]
            )


def _visible(count: int) -> list[str]:
    """Return the devices that CUDA shows this process, in its order: indices, or names such as GPU-5f…"""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        [str(device) for device in range(count)]
        if setting is None
        else [device for device in setting.split(",") if device.strip()]
    )


def _handle(pynvml: Any, device: str) -> Any:
    device = device.strip()
    if device.isdigit():
        return pynvml.nvmlDeviceGetHandleByIndex(int(device))
    return pynvml.nvmlDeviceGetHandleByUUID(device)


def _concerns(counter: str, device: str) -> bool:
    return not counter.startswith("cuda") or counter == device or device == "cuda"


def _microjoules(file: Path) -> float:
    return int(file.read_text()) / 1e6
