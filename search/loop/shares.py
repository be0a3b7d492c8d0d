"""A worker's time and energy, divided among its trials: at each moment those that run share them equally."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kirigami.search.study.energy import Meter


@dataclass
class Share:
    """What a trial has cost its worker so far: seconds, and joules of each counter."""

    seconds: float = 0.0
    joules: dict[str, float] = field(default_factory=dict)


class Shares:
    """Divides time and joules among the trials that run, so that all they are charged adds up to what was used.

    Args:
        meter: of this machine's energy.
        clock: in seconds.
    """

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.perf_counter) -> None:
        self.meter = meter
        self._clock = clock
        self._last = clock()
        self._running: dict[int, Share] = {}

    def settle(self) -> None:
        """Charge the running trials for what was used since the last time; where none ran, nobody is charged."""
        now, joules = self._clock(), self.meter.take()
        count = len(self._running)
        for share in self._running.values():
            share.seconds += (now - self._last) / count
            for name, used in joules.items():
                share.joules[name] = share.joules.get(name, 0.0) + used / count
        self._last = now

    def begin(self, number: int) -> None:
        """Let a trial have its share from now on; where none runs, from when it was last settled."""
        if self._running:
            self.settle()
        self._running[number] = Share()

    def of(self, number: int) -> Share:
        """Return what a running trial has cost."""
        self.settle()
        return self._running[number]

    def end(self, number: int) -> Share:
        """Return what a trial has cost, and charge it no more; nothing for one that has not begun."""
        self.settle()
        return self._running.pop(number, Share())
