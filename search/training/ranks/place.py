"""Where one rank stands among those that train a trial together."""

from dataclasses import dataclass

PATIENCE_S = 300.0  # that a rank waits for the others at an exchange; they do the same work


@dataclass(frozen=True)
class Place:
    """One rank's place among those that train a trial.

    Attributes:
        rank: 0 is the worker's own.
        devices: of all ranks, in order, as torch names them.
        meeting: a file, of this trial alone, by which the ranks find each other.
        patience_s: seconds that a rank waits for the others at an exchange.
    """

    rank: int
    devices: tuple[str, ...]
    meeting: str
    patience_s: float = PATIENCE_S

    @property
    def world(self) -> int:
        """Count the ranks."""
        return len(self.devices)

    @property
    def device(self) -> str:
        """Name this rank's device."""
        return self.devices[self.rank]
