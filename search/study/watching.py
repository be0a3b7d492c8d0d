"""Looking at a study from outside while others work on it."""

from collections.abc import Callable

from optuna.study import Study

from kirigami.search import storage
from kirigami.search.errors import InputError
from kirigami.search.study import study as studies
from kirigami.search.study.ledger import Ledger

Reader = Callable[[], tuple[Study, Ledger] | None]


def reader(settings: storage.Settings, name: str) -> Reader:
    """Return a function that reads the study and its ledger; None before there is a store or a study."""
    opened: list[storage.Store] = []
    seen: list[Study] = []
    ledger = Ledger()  # reads finished trials once

    def read() -> tuple[Study, Ledger] | None:
        if not opened and storage.exists(settings):
            opened.append(storage.open_storage(settings.model_copy(update={"patience_s": 0}), create=False))
            opened[0].watch.notify = lambda _line: None  # who reads for others to look at does not wait
        if opened and not seen:
            seen.extend(study for study in [studies.find(opened[0], name)] if study)
        return (seen[0], ledger.read(seen[0])) if seen else None

    return read


def counter(read: Reader) -> Callable[[], int | None]:
    """Return a function that counts the trials that have ended; None where the store cannot be read."""

    def finished() -> int | None:
        try:
            seen = read()
        except (InputError, storage.StoreAway):
            return None
        return seen[1].finished if seen is not None else 0

    return finished
