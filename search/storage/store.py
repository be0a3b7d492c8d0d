"""A study's store: Optuna's relational storage with what kirigami puts in front of it.

From the front to the back: writes that belong together (`together`), signatures (`signing`), patience (`retrying`),
Optuna's cache of finished trials, and its tables.
"""

import time
from typing import Any

import sqlalchemy
from optuna.storages import RDBStorage

from kirigami.search.storage.address import Settings
from kirigami.search.storage.optuna_private import cached
from kirigami.search.storage.outage import on_error
from kirigami.search.storage.patience import Watch, skew
from kirigami.search.storage.pulse import Pulse
from kirigami.search.storage.retrying import Retrying
from kirigami.search.storage.signing import Signing
from kirigami.search.storage.together import Together


class Store(Together):
    """The storage that studies of kirigami are made with.

    Args:
        settings: checked; the URL, the heartbeat and grace times, the patience, the retries.
        engine_kwargs: for SQLAlchemy's engine.

    Attributes:
        heartbeat_s: seconds between two signs of life of a running trial.
        retries: how often the trial of a dead worker is run again.
        offset_s: see `clock_offset`.
    """

    def __init__(self, settings: Settings, engine_kwargs: dict[str, Any]) -> None:
        # Braces are Optuna's template for a schema version, and may be part of a password.
        rows = RDBStorage(settings.engine_url.replace("{", "{{").replace("}", "}}"), engine_kwargs)
        sqlalchemy.event.listen(rows.engine, "handle_error", on_error)
        watch = Watch(settings.shown, settings.patience_s, settings.grace_s)
        self._retrying = Retrying(cached(rows), watch)
        self._signing = Signing(self._retrying, rows, watch)
        super().__init__(self._signing, rows, watch, closed=lambda trial_id: self.held.pop(trial_id, None))
        self._pulse = Pulse(rows, watch, self._retrying.read)
        self.heartbeat_s, self.retries = settings.heartbeat_s, settings.retries
        self.offset_s = 0.0

    @property
    def url(self) -> str:
        """The URL in full."""
        return str(self.rows.url)

    @property
    def engine(self) -> sqlalchemy.Engine:
        return self.rows.engine

    def remove_session(self) -> None:
        """End what this thread holds of the database: its session and its connection."""
        self.rows.remove_session()

    def only_reads(self) -> bool:
        """Return whether what this thread does just now writes nothing, and needs no lock."""
        return self._retrying.only_reads()

    def clock_offset(self) -> float:
        """Return by how many seconds the database's clock was ahead of this machine's at opening; 0 for SQLite."""
        return self.offset_s

    def oddities(self) -> list[str]:
        """Return a line where the database's clock is far from this machine's."""
        return skew(self.watch.shown, self.offset_s, self.watch.grace_s)

    # Whose trials are whose

    @property
    def signature(self) -> tuple[str, Any] | None:
        """The attribute, by its name, with which trials are signed that this worker asks for. None signs nothing."""
        return self._signing.signature

    @signature.setter
    def signature(self, attribute: tuple[str, Any] | None) -> None:
        self._signing.signature = attribute

    @property
    def held(self) -> dict[int, float]:
        """Id of each open trial of this worker -> when this process last beat for it (`time.monotonic`)."""
        return self._signing.held

    # Heartbeats

    def record_heartbeat(self, trial_id: int) -> None:
        """Record that the trial's worker is alive.

        Raises:
            StoreAway: at once, where the database is away.
            UpdateFinishedTrialError: the trial was closed by somebody who took its worker for dead.
        """
        self._pulse.beat(trial_id)
        self.held[trial_id] = time.monotonic()

    def stale_trials(self, study_id: int) -> list[int]:
        """Return the ids of the running trials whose workers have been silent for longer than the grace time."""
        return self._pulse.stale(study_id)

    @property
    def silent_s(self) -> dict[int, float]:
        """Of each trial that ran as `stale_trials` was last asked, for how many seconds nothing was heard of it."""
        return self._pulse.silent_s
