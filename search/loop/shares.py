"""A worker's time and energy, divided among its trials: at each moment the running trials share them equally."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kirigami.search.study.energy import Meter


@dataclass
class Share:
    """The cost of a trial to its worker so far: seconds, and joules of each counter."""

    seconds: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)


class Shares:
    """Divides time and joules among the running trials; their charges add up to the total.

    Args:
        meter: measures this machine's energy.
        clock: returns seconds.
    """

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.perf_counter) -> None:
        self.meter = meter
        self._clock = clock
        self._last = clock()
        self._running: dict[int, Share] = {}

    def settle(self) -> None:
        """Charge the running trials for the time and energy since the last call; without any, nothing is charged."""
        now, joules = self._clock(), self.meter.take()
        count = len(self._running)
        for share in self._running.values():
            share.seconds += (now - self._last) / count
            for name, used in joules.items():
                share.joules[name] = share.joules.get(name, 0.0) + used / count
        self._last = now

    def begin(self, number: int) -> None:
        """Charge a trial from now on; if no other runs, from the last settlement on."""
        if self._running:
            self.settle()
        self._running[number] = Share()

    def of(self, number: int) -> Share:
        """Return the cost of a running trial so far."""
        self.settle()
        return self._running[number]

    def end(self, number: int) -> Share:
        """Return the cost of a trial and stop charging it; zero for a trial that has not begun."""
        self.settle()
        return self._running.pop(number, Share())
