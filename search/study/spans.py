"""A union of time intervals that grows one interval at a time."""

from bisect import bisect_left, bisect_right
from datetime import datetime


class Spans:
    """Disjoint intervals in order; `total` is their length in seconds."""

    def __init__(self) -> None:
        self.starts: list[datetime] = []
        self.stops: list[datetime] = []
        self.total = 0.0

    def add(self, start: datetime, stop: datetime) -> None:
        """Unite with another interval; one that ends before it starts (a clock was set back) is nothing."""
        if stop <= start:
            return
        first, past = bisect_left(self.stops, start), bisect_right(self.starts, stop)
        if first < past:
            start, stop = min(start, self.starts[first]), max(stop, self.stops[past - 1])
        self.total += (stop - start).total_seconds() - self._length(first, past)
        self.starts[first:past], self.stops[first:past] = [start], [stop]

    def covered(self, since: datetime, until: datetime) -> float:
        """Return how many seconds between two moments lie in the intervals."""
        first, past = bisect_right(self.stops, since), bisect_left(self.starts, until)
        parts = zip(self.starts[first:past], self.stops[first:past], strict=True)
        return sum((min(stop, until) - max(start, since)).total_seconds() for start, stop in parts)

    def _length(self, first: int, past: int) -> float:
        parts = zip(self.starts[first:past], self.stops[first:past], strict=True)
        return sum((stop - start).total_seconds() for start, stop in parts)
