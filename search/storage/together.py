"""A storage in which writes to trials that belong together are one transaction, and reads that do are one read."""

import copy
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from kirigami.search.storage.batch import Batch, Distributions, as_json
from kirigami.search.storage.front import Front
from kirigami.search.storage.optuna_private import transaction
from kirigami.search.storage.patience import Watch


class _Thread(threading.local):
    """What one thread has open.

    Attributes:
        batch: its writes since the block began; None outside of a block.
        trials: those that it has read since, by id.
        looked: of a block of `one_look`, the trials of each study as they were read; None outside of a block.
    """

    batch: Batch | None = None
    trials: dict[int, FrozenTrial]
    looked: dict[int, list[FrozenTrial]] | None = None


class Together(Front):
    """Writes to trials are kept until the end of a block, and go out in one transaction; outside of a block at once.

    Args:
        behind: does all else.
        rows: the relational storage at the bottom.
        watch: tries again while the database is away.
        closed: is told the id of each trial that was finished through this storage.
    """

    def __init__(
        self, behind: BaseStorage, rows: RDBStorage, watch: Watch, closed: Callable[[int], object] = lambda _: None
    ) -> None:
        super().__init__(behind)
        self.rows, self.watch, self.closed = rows, watch, closed
        self._thread = _Thread()
        self._distributions: Distributions = {}

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Keep what this thread writes to trials until the end of the block, then write it in one transaction.

        What is read in the block is not yet what was written in it. A block that raises writes nothing; one within
        another belongs to it.

        Raises:
            UpdateFinishedTrialError: at the end, where a trial was closed by somebody else: nothing is written then.
        """
        if self._thread.batch is not None:
            yield
            return
        self._thread.batch, self._thread.trials = Batch(), {}
        try:
            yield
            batch = self._thread.batch
        finally:
            self._thread.batch = None
        self._apply(batch)

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Read a study's trials once in the block, and again only after this thread has written something.

        To ask for one trial, the loop, the sampler and Optuna each read all that is new in the study.
        """
        self._thread.looked = {}
        try:
            yield
        finally:
            self._thread.looked = None

    # Reads

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        looked = self._thread.looked
        if looked is None:
            return self.behind.get_all_trials(study_id, deepcopy, states)
        if study_id not in looked:
            looked[study_id] = self.behind.get_all_trials(study_id, deepcopy=False)
        trials = [trial for trial in looked[study_id] if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return the trial; in a batch as it was when it was first read there."""
        if self._thread.batch is None:
            return self.behind.get_trial(trial_id)
        if trial_id not in self._thread.trials:
            self._thread.trials[trial_id] = self.behind.get_trial(trial_id)
        return self._thread.trials[trial_id]

    # Writes

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._look_again()
        return super().create_new_trial(study_id, template_trial)

    def delete_study(self, study_id: int) -> None:
        self._distributions.clear()  # its id may be given to another study
        super().delete_study(study_id)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        with self._writing() as batch:
            batch.of(trial_id).params.setdefault(param_name, (param_value_internal, distribution))

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._writing() as batch:
            batch.of(trial_id).user[key] = as_json(value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._writing() as batch:
            batch.of(trial_id).system[key] = as_json(value)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._writing() as batch:
            batch.of(trial_id).reports[step] = intermediate_value

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Close a trial, or take a waiting one; return False where another worker has taken it."""
        if state is TrialState.RUNNING:
            self._look_again()
            return super().set_trial_state_values(trial_id, state, values)
        with self._writing() as batch:
            writes = batch.of(trial_id)
            writes.state, writes.values = state, values
        return True

    @contextmanager
    def _writing(self) -> Iterator[Batch]:
        """Give the open batch, or one of its own that is written at the end."""
        if self._thread.batch is not None:
            yield self._thread.batch
            return
        batch = Batch()
        yield batch
        self._apply(batch)

    def _apply(self, batch: Batch) -> None:
        def attempt(again: bool) -> Distributions:
            with transaction(self.rows) as session:
                return batch.apply(session, self._distributions, again=again)

        if not batch.trials:
            return
        self._look_again()
        self._distributions |= self.watch.patiently(attempt)
        for trial_id, writes in batch.trials.items():
            if writes.state is not None and writes.state.is_finished():
                self.closed(trial_id)

    def _look_again(self) -> None:
        if self._thread.looked is not None:
            self._thread.looked = {}
