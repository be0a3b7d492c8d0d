"""The contract of a launcher: it keeps N workers running for one study, on any machines, and reports on each.

A launcher only starts the worker command, with its orders, so many times. The study's store holds everything else:
which trial is next, what a dead worker left, when the budget is met.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kirigami.search.config.settings import StudyConfig
from kirigami.search.workers.launchers.places import Share
from kirigami.search.workers.worker import Orders

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
SAME_WORDS = 3  # of deaths in a row: the fourth would be no other


@dataclass(frozen=True)
class Assignment:
    """What a launcher is made for: `build(assignment)` of the module that has the launcher's name makes it.

    Attributes:
        config: the study's; `config.launcher` are the launcher's own settings, from `search/config/launcher.py`.
        orders: makes a worker's orders from its number and its share of a machine.
        finished: returns how many trials of the study have ended; None where that cannot be read now.
        env: the environment that the config means something else without.
    """

    config: StudyConfig
    orders: Callable[[int, Share], Orders]
    finished: Callable[[], int | None]
    env: Mapping[str, str]


@dataclass(frozen=True)
class Report:
    """What is known of one worker.

    Attributes:
        joined: it has joined the study.
        ended: why it ended by itself: the study's budget is met, or `stopped`.
        refused: what it found wrong with the input.
        failed: why the study cannot go on.
        died: its last words, where it died and no other takes its place.
        machine: the host it runs on, and its process id there; empty and None while it runs nowhere.
    """

    joined: bool = False
    ended: str | None = None
    refused: str | None = None
    failed: str | None = None
    died: str | None = None
    machine: str = ""
    pid: int | None = None

    @property
    def gone(self) -> bool:
        """Whether nothing more is to come from this worker."""
        return any(word is not None for word in (self.ended, self.refused, self.failed, self.died))

    @property
    def met(self) -> bool:
        """Whether it ended because the study has: the others need not start any more."""
        return self.ended not in (None, "stopped")


class Launcher(Protocol):
    """Keeps workers at a study.

    Attributes:
        notes: lines for the user, which the supervisor prints and removes.
        leaves: whether the workers go on by themselves once they are started, and nobody waits.
    """

    notes: list[str]
    leaves: bool

    def start(self) -> None:
        """Start the workers.

        Raises:
            InputError: where they cannot be started with these settings.
        """
        ...

    def poll(self) -> list[Report]:
        """Replace workers that died, and return a report of each. Called a few times a second."""
        ...

    def stop(self) -> None:
        """Ask all workers to hand their trials back and leave; may be called again."""
        ...

    def kill(self) -> None:
        """End all workers at once."""
        ...

    def close(self) -> None:
        """Release the resources of the launcher, after the workers are gone."""
        ...


@dataclass
class Patience:
    """Counts the deaths of one worker in a row, and returns the pause before its replacement.

    A death counts as one more in a row only where no trial of the study ended since the last one: a machine that kills
    a worker now and then does not stop a study, a worker that cannot start does. One that says the same each time will
    go on to.

    Args:
        limit: after so many deaths in a row there is no other.
        finished: returns how many trials of the study have ended; None where that cannot be read now.
    """

    limit: int
    finished: Callable[[], int | None]
    deaths: int = 0
    seen: int | None = field(default=None)
    words: list[str] = field(default_factory=list)

    def after_death(self, words: str = "") -> float | None:
        """Return the seconds to wait, or None where patience is at its end.

        Args:
            words: its last ones, where it ended by an error; nothing where it was killed.
        """
        finished = self.finished()
        if finished is not None and self.seen is not None and finished > self.seen:
            self.deaths = 0
            self.words.clear()
        self.seen = self.seen if finished is None else finished
        self.deaths += 1
        self.words = [*self.words, words] if words and set(self.words) <= {words} else [words] if words else []
        if self.deaths >= self.limit or len(self.words) >= SAME_WORDS:
            return None
        return min(FIRST_PAUSE_S * 2 ** (self.deaths - 1), LONGEST_PAUSE_S)
