"""The Lightning callback that writes a trial's checkpoints and resumes a trial from one.

A checkpoint is written after a validation and before the next epoch or step begins, so that no step is half done. It
holds Lightning's state of a run (weights, optimisers, schedules, callbacks, loop counters) and the state that Lightning
leaves out: random generators, metrics so far, the trial's curve, and the position in the loader.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from kirigami.models.lightning_private import resumed, rewind
from kirigami.search.training.checkpoints.state import (
    KEY,
    Bytes,
    Refused,
    about,
    check,
    loaded,
    random_state,
    set_random_state,
)
from kirigami.search.training.job import Job, Paused, log_line

SHARE = 0.05  # largest share of the time for writing, where a checkpoint takes long against `every_s`


@dataclass(frozen=True)
class Start:
    """A checkpoint that a trial resumes from.

    Attributes:
        attempt: number of the trial that wrote it.
        fidelity: the fidelity that attempt had reached.
        data: its bytes.
    """

    attempt: int
    fidelity: int
    data: bytes = field(repr=False)


class CheckpointCallback(Callback):
    """Writes the checkpoints of a job, and restores the state that Lightning leaves out.

    It has to be the first of a Trainer's callbacks: the others then see the state that it restores.

    Args:
        job: the job whose state is written; without `checkpoints` nothing is written.
        start: the checkpoint to resume from; None starts anew.
        since: when the trial began to train, by `time.monotonic`; now by default.
    """

    def __init__(self, job: Job, start: Start | None = None, since: float | None = None) -> None:
        self.job, self.start = job, start
        self.bytes = Bytes(b"" if start is None else start.data)
        self.every_s = 0.0 if job.checkpoints is None else job.checkpoints.every_s
        self.off = job.checkpoints is None
        self.restored = False
        self.batches = 0
        self.validated = False
        self.last = time.monotonic()
        self.began = self.last if since is None else since
        self.has_written = False
        self.rest_s = self.every_s
        self._pause: Paused | None = None
        self._resume: Mapping[str, Any] | None = None

    # Writing.

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the state that Lightning leaves out."""
        loader: Any = trainer.train_dataloader
        checkpoint[KEY] = {
            **about(self.job.config),
            "random": random_state(),
            "metrics": {name: torch.as_tensor(value) for name, value in trainer.callback_metrics.items()},
            "curve": [[fidelity, dict(metrics)] for fidelity, metrics in self.job.curve],
            "details": copy.deepcopy(self.job.details),
            "seconds": self.job.spent_s + time.monotonic() - self.began,
            "batches": self.batches,
            "pass": getattr(loader, "epoch", 0),
        }
        rewind(checkpoint, self.batches)

    @property
    def pausing(self) -> Paused | None:
        """The pause that was asked for at the last validation of a run, when no step was left to end it."""
        return self._pause

    def pause(self, trainer: Trainer, pause: Paused) -> None:
        """End the run as soon as its state is whole and written; a later attempt resumes it.

        Raises:
            Paused: at once, where no checkpoint can be written.
        """
        if self.off or trainer.world_size > 1:
            raise pause
        self._pause = pause

    def _write_if_due(self, trainer: Trainer, batches: int) -> None:
        """Write a checkpoint if one is due.

        Raises:
            Paused: afterwards, where the trial is to pause.
        """
        is_due = self._pause is not None or time.monotonic() - self.last >= self.rest_s
        is_whole = all(_can_go_on(callback, batches) for callback in trainer.callbacks)
        if not self.off and self.validated and is_due and is_whole and trainer.world_size == 1:
            self._write(trainer, batches)
        self.validated = False
        if self._pause is not None:
            raise self._pause

    def _write(self, trainer: Trainer, batches: int) -> None:
        """Write a checkpoint."""
        began, self.batches = time.monotonic(), batches
        try:
            trainer.save_checkpoint("", weights_only=False)
            if not self.has_written:
                loaded(self.bytes.data)  # a user's module may add what no one could read again
        except Exception as error:
            self.off = True
            reason = " ".join(str(error).split())[:300]
            log_line(f"trial {self.job.number} has no checkpoints: its state cannot be written ({reason})")
            return
        assert self.job.checkpoints is not None
        self.has_written = True
        self.job.checkpoints.put(self.job.curve[-1][0], self.bytes.data)
        self.bytes.data = b""
        self.last = time.monotonic()
        self.rest_s = max(self.every_s, (self.last - began) / SHARE) if self.every_s else 0.0

    # Lightning's hooks.

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep our part of the state until the run begins."""
        check(checkpoint[KEY], self.job.config)
        self._resume = checkpoint[KEY]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the curve, the metrics and the position in the loader; from here on the trial counts as resumed."""
        if self._resume is None:
            return
        self.restored = True
        self.bytes.data = b""
        assert self.start is not None
        state, job = self._resume, self.job
        job.details |= {
            **state["details"],
            "resumed_from": {"trial": self.start.attempt, "fidelity": self.start.fidelity},
        }
        job.spent_s = float(state["seconds"])
        job.recall(self.start.attempt, state["curve"])
        trainer.callback_metrics.update(state["metrics"])
        if state["batches"]:
            trainer.train_dataloader.skip = state["batches"]  # type: ignore[union-attr]
        fidelity, attempt = self.start.fidelity, self.start.attempt
        log_line(f"trial {job.number} goes on from fidelity {fidelity}, the checkpoint of trial {attempt}")
        self.began = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there is new state to write."""
        self.validated = not trainer.sanity_checking

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between two epochs: restore the random generators from a checkpoint, or write one."""
        if not self._restore(trainer):
            self._write_if_due(trainer, 0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Between two steps of an epoch: the same, where the loader can skip to a position."""
        if not self._restore(trainer) and self.validated and hasattr(trainer.train_dataloader, "skip"):
            self._write_if_due(trainer, batch_idx)

    def _restore(self, trainer: Trainer) -> bool:
        if self._resume is None:
            return False
        set_random_state(self._resume["random"])
        resumed(trainer)
        if self._resume["batches"]:
            trainer.train_dataloader.epoch = self._resume["pass"]  # type: ignore[union-attr]
        self._resume = None
        return True


def _can_go_on(callback: Callback, batches: int) -> bool:
    """Return whether a callback's state can be restored, between epochs or within one."""
    return bool(getattr(callback, "resumable", True)) and (not batches or getattr(callback, "resumable_within", True))


__all__ = ["CheckpointCallback", "Refused", "Start"]
