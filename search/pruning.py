"""The Lightning callback that streams validation metrics to the study and ends a trial when it is told to."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from search.job import Job


class Reports(Callback):
    """Reports every validation to a job; `Job.report` raises where the trial has to end.

    Args:
        job: where to report.
        per: the unit of fidelity, `epoch` or `step`, counted from 1 and reached at the moment of the report; what is
            validated without training has fidelity 0.
    """

    def __init__(self, job: Job, per: str) -> None:
        self.job = job
        self.per = per
        self.metrics: dict[str, float] = {}

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if trainer.state.fn is not TrainerFn.FITTING:  # of no epochs: this is the end of it, and nothing to prune
            self.job.curve.append((0, self.metrics))
            return
        fidelity = trainer.current_epoch + 1 if self.per == "epoch" else trainer.global_step
        self.job.report(fidelity, self.metrics)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.job.check_interrupt()
