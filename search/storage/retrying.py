"""A storage that tries again while its database is away."""

import threading
from collections.abc import Callable
from typing import TypeVar

from optuna.storages import BaseStorage

from kirigami.search.storage.front import Front
from kirigami.search.storage.patience import Watch

T = TypeVar("T")


class _Reading(threading.local):
    now = False


class Retrying(Front):
    """Repeats what the storage behind it does, as long as `watch` has patience.

    What may be repeated only when it is known not to have gone through the first time is not left to this: new trials
    and the writes to trials have transactions of their own (`signing`, `together`).
    """

    def __init__(self, behind: BaseStorage, watch: Watch) -> None:
        super().__init__(behind)
        self.watch = watch
        self._reading = _Reading()

    def read(self, operation: Callable[[], T]) -> T:
        def attempt(_again: bool) -> T:
            self._reading.now = True
            try:
                return operation()
            finally:
                self._reading.now = False

        return self.watch.patiently(attempt)

    def write(self, operation: Callable[[], T]) -> T:
        return self.watch.patiently(lambda _again: operation())

    def only_reads(self) -> bool:
        """Return whether what this thread does just now writes nothing, and needs no lock."""
        return self._reading.now
