"""The Lightning callbacks that stream validation metrics to the study, end a trial when told to, and look at memory."""

from contextlib import ExitStack
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from kirigami.models.cost import Saved, saving
from kirigami.search.training.checkpoints.callback import CheckpointCallback
from kirigami.search.training.job import Job, Paused


class Reports(Callback):
    """Reports every validation to a job; `Job.report` raises where the trial has to end.

    Args:
        job: where to report.
        per: the unit of fidelity, `epoch` or `step`, counted from 1 and reached at the moment of the report; what is
            validated without training has fidelity 0.
        checkpoint_callback: writes a checkpoint and ends the run where the trial is to pause.
        is_streaming: whether validations are reported as they come; else they are only noted.
    """

    def __init__(
        self, job: Job, per: str, checkpoint_callback: CheckpointCallback, *, is_streaming: bool = True
    ) -> None:
        self.job = job
        self.is_streaming = is_streaming
        self.per = per
        self.checkpoint_callback = checkpoint_callback
        self.metrics: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if trainer.state.fn is not TrainerFn.FITTING:  # the end of it, and nothing to prune
            if trainer.max_epochs == 0:
                self.job.curve.append((0, self.metrics))
            return
        if not self.is_streaming:
            return
        fidelity = trainer.current_epoch + 1 if self.per == "epoch" else trainer.global_step
        try:
            self.job.report(fidelity, self.metrics)
        except Paused as pause:
            self.checkpoint_callback.pause(trainer, pause)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.job.check_interrupt()


class Memory(Callback):
    """Measure the most bytes held for the backward pass at any moment of an epoch's first step, over all epochs.

    Args:
        job: whose detail `saved_bytes` it becomes.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.open = ExitStack()
        self.saved: Saved | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.saved = self.open.enter_context(saving(pl_module.parameters()))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.saved is not None:
            self.job.details["saved_bytes"] = max(self.saved.peak, self.job.details.get("saved_bytes", 0))
            self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _close(self) -> None:
        self.open.close()
        self.saved = None
