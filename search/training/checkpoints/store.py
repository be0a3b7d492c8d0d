"""The checkpoints of a study's trials: their names, which one is the last, and when they are removed.

Each attempt at a trial has two files, written in turn: the last whole one exists while the next is written. A worker
that was taken for dead and wakes up never touches the files of the attempt that replaced it. The name and the digest of
the valid file are stored with the attempt's trial.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial

from kirigami.search.errors import one_line
from kirigami.search.storage.artifacts import Artifacts, Folder
from kirigami.search.study.ledger import numbered
from kirigami.search.study.record import Checkpoint, Retry, figure_of, retry_of, write
from kirigami.search.study.states import ENDED, state_of
from kirigami.search.training.job import TAKEN, Pruned, log_line

SLOTS = (0, 1)


@dataclass(frozen=True)
class CheckpointStore:
    """Stores the checkpoints of one study.

    Attributes:
        artifacts: where the files are stored.
        every_s: least number of seconds between two checkpoints of one trial; 0 writes one at every validation.
    """

    artifacts: Artifacts
    every_s: float

    def attempt(self, study: Study, trial: optuna.Trial) -> "Attempt":
        """Return the checkpoints of one attempt at a trial."""
        again = Retry.from_attrs(trial.user_attrs) is not None
        before = _before(study.get_trials(deepcopy=False), trial.number) if again else []
        return Attempt(self.artifacts, study.study_name, trial, before, self.every_s)

    def sweep(self, study: Study) -> None:
        """Remove the checkpoints of trials whose worker was killed as they ended, and of trials that were given up."""
        trials = study.get_trials(deepcopy=False)
        for trial in trials:
            given_up = state_of(trial) == "failed" and figure_of(trial, "wall_s") is None
            if state_of(trial) in ENDED and (given_up or isinstance(self.artifacts, Folder)):
                attempts = (trial, *_before(trials, trial.number))
                remove(self.artifacts, study.study_name, _with_checkpoints(attempts))


@dataclass
class Attempt:
    """The checkpoints of one attempt at a trial, and those of the attempts before it.

    Attributes:
        before: the earlier attempts that this one retries, the last one first.
        slot: which of the two files is written next.
        began: whether any has been written.
        failing: whether the last write failed, which is logged once.
    """

    artifacts: Artifacts
    study: str
    trial: optuna.Trial
    before: Sequence[FrozenTrial]
    every_s: float
    slot: int = field(default=0, init=False)
    began: bool = field(default=False, init=False)
    failing: bool = field(default=False, init=False)

    def put(self, fidelity: int, data: bytes) -> bool:
        """Write a checkpoint; return whether it was written. An error is one line in the worker's log.

        Args:
            fidelity: what the trial had reached.
            data: what `read` is to return.

        Raises:
            Pruned: where another worker took this one for dead.
        """
        name = name_of(self.study, self.trial.number, self.slot)
        self.began = True
        try:
            self.artifacts.write(name, io.BytesIO(data))
        except Exception as error:  # a full disk, or whatever a cloud's library raises: the trial matters more
            if not self.failing:
                line = f"goes on without the checkpoint at fidelity {fidelity}: {one_line(error)}"
                log_line(f"trial {self.trial.number} {line}")
            self.failing = True
            return False
        self.failing = False
        try:
            write(Checkpoint(name, fidelity, digest(data), len(data)), self.trial.set_user_attr)
        except UpdateFinishedTrialError:
            _remove(self.artifacts, name)
            raise Pruned(TAKEN) from None
        self.slot = 1 - self.slot
        return True

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield (number, fidelity, data) of the checkpoints of the attempts before this one, the last one first.

        A checkpoint that is lost or damaged is left out, with a line in the worker's log.
        """
        for attempt in self.before:
            checkpoint = Checkpoint.from_attrs(attempt.user_attrs)
            if checkpoint is None:
                continue
            problem = "it is not what was written"
            try:
                with self.artifacts.open_reader(checkpoint.id) as file:
                    data = file.read()
            except Exception as error:  # lost, or whatever a cloud's library raises
                data, problem = b"", one_line(error)
            if digest(data) == checkpoint.sha256:
                yield attempt.number, checkpoint.fidelity, data
            else:
                log_line(f"trial {self.trial.number} cannot use the checkpoint of trial {attempt.number}: {problem}")

    def drop(self) -> None:
        """Remove all checkpoints of the trial, those of earlier attempts too: it has ended."""
        numbers = _with_checkpoints(self.before)
        if self.began:
            numbers.append(self.trial.number)
        remove(self.artifacts, self.study, numbers)


def name_of(study: str, number: int, slot: int) -> str:
    """Return the name of a file; it contains the study, since studies may share a folder."""
    return f"checkpoint-{study}-{number:05d}-{slot}.pt"


def remove(artifacts: Artifacts, study: str, numbers: Sequence[int]) -> None:
    """Remove the checkpoints of attempts."""
    for number in numbers:
        for slot in SLOTS:
            _remove(artifacts, name_of(study, number, slot))


def digest(data: bytes) -> str:
    """Return the SHA-256 in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _remove(artifacts: Artifacts, name: str) -> None:
    with suppress(Exception):  # it is gone, or cannot be reached now; neither is worth a trial
        artifacts.remove(name)


def _with_checkpoints(attempts: Sequence[FrozenTrial]) -> list[int]:
    """Return the numbers of the attempts that have written a checkpoint."""
    return [attempt.number for attempt in attempts if Checkpoint.from_attrs(attempt.user_attrs) is not None]


def _before(trials: Sequence[FrozenTrial], number: int) -> list[FrozenTrial]:
    """Return the attempts that a trial retries, the last one first."""
    attempts: list[FrozenTrial] = []
    trial = numbered(trials, number)
    while (trial := numbered(trials, None if trial is None else retry_of(trial))) is not None:
        attempts.append(trial)
    return attempts
