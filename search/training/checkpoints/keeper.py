"""The Lightning callback that writes a trial's checkpoints, and lets a trial go on from one.

A checkpoint is taken where nothing is half done: after a validation, and before anything of the next epoch or step.
It holds what Lightning keeps of a run (weights, optimisers, schedules, callbacks, where the loops are) and what it does
not: the random generators, the metrics so far, the trial's curve, and how far the loader had come.
"""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from kirigami.models.lightning_private import rewind
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
from kirigami.search.training.job import Job, Paused, say

SHARE = 0.05  # of the time at most that writing may take, where a checkpoint takes longer than its seconds allow


@dataclass(frozen=True)
class Start:
    """A checkpoint that a trial goes on from.

    Attributes:
        attempt: number of the trial that wrote it.
        fidelity: what that had reached.
        data: its bytes.
    """

    attempt: int
    fidelity: int
    data: bytes = field(repr=False)


class Keeper(Callback):
    """Write checkpoints of a job, and take up what one holds besides Lightning's part.

    It has to be the first of a Trainer's callbacks: what it restores before an epoch or step, the others then see.

    Args:
        job: whose state it is; without `checkpoints` nothing is written.
        start: what the run goes on from, None from the start.
    """

    def __init__(self, job: Job, start: Start | None = None) -> None:
        self.job, self.start = job, start
        self.bytes = Bytes(b"" if start is None else start.data)
        self.every_s = 0.0 if job.checkpoints is None else job.checkpoints.every_s
        self.off = job.checkpoints is None
        self.restored = False
        self.batches = 0
        self.validated = False
        self.last = self.began = time.monotonic()
        self.rest_s = self.every_s
        self._pause: Paused | None = None
        self._resume: Mapping[str, Any] | None = None

    # What is written.

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out."""
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

    def pause(self, trainer: Trainer, pause: Paused) -> None:
        """End the run, for another to go on with, as soon as its state is whole and written.

        Raises:
            Paused: at once, where no checkpoint can be written.
        """
        if self.off or trainer.world_size > 1:
            raise pause
        self._pause = pause

    def _write_if_due(self, trainer: Trainer, batches: int) -> None:
        """Write a checkpoint if it is time for one.

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
            if self.last == self.began:
                loaded(self.bytes.data)  # a user's module may add what no one could read again
        except Exception as error:
            self.off = True
            reason = " ".join(str(error).split())[:300]
            say(f"trial {self.job.number} has no checkpoints: its state cannot be written ({reason})")
            return
        assert self.job.checkpoints is not None
        self.job.checkpoints.put(self.job.curve[-1][0], self.bytes.data)
        self.bytes.data = b""
        self.last = time.monotonic()
        self.rest_s = max(self.every_s, (self.last - began) / SHARE) if self.every_s else 0.0

    # Lightning's hooks.

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep our part until the run begins."""
        check(checkpoint[KEY], self.job.config)
        self._resume = checkpoint[KEY]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up the curve, the metrics and the place in the loader; from here on the trial is one that goes on."""
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
        say(f"trial {job.number} goes on from fidelity {fidelity}, the checkpoint of trial {attempt}")
        self.began = time.monotonic()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there is something new to keep."""
        self.validated = not trainer.sanity_checking

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on with the random numbers of the checkpoint, or write one, between two epochs."""
        if not self._restore(trainer):
            self._write_if_due(trainer, 0)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Likewise between two steps of an epoch, where the loader can be brought to its place."""
        if not self._restore(trainer) and self.validated and hasattr(trainer.train_dataloader, "skip"):
            self._write_if_due(trainer, batch_idx)

    def _restore(self, trainer: Trainer) -> bool:
        if self._resume is None:
            return False
        set_random_state(self._resume["random"])
        if self._resume["batches"]:
            trainer.train_dataloader.epoch = self._resume["pass"]  # type: ignore[union-attr]
        self._resume = None
        return True


def _can_go_on(callback: Callback, batches: int) -> bool:
    """Return whether a callback's state can be taken up again, between epochs or in the midst of one."""
    return bool(getattr(callback, "resumable", True)) and (not batches or getattr(callback, "resumable_within", True))


__all__ = ["Keeper", "Refused", "Start"]
