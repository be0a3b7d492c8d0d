"""A LightningModule of the user's own: one step and one validation of it, before any trial."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from kirigami.errors import none_of
from kirigami.search.config.settings import TrialConfig
from kirigami.search.errors import InputError
from kirigami.search.rehearsal.places import blamed, part_of
from kirigami.search.training import devices
from kirigami.search.training.trainer import quiet
from kirigami.spaces.costs import COSTS


def run_module(module: LightningModule, config: TrialConfig, batches: Mapping[str, tuple[Any, Tensor]]) -> None:
    """Train a module for one step, which is not to be used any more, and validate it on a few rows.

    Args:
        module: as it was built.
        config: whose objective it has to log.
        batches: of train and validation rows.

    Raises:
        InputError: in one line, for whatever it raises, and where it does not log the objective.
    """
    quiet()
    _, accelerator, numbers = devices.pick(config.trainer.device)
    learns = _Learns()
    trainer = Trainer(
        callbacks=[learns],
        fast_dev_run=True,
        accelerator=accelerator,
        devices=numbers[:1] if isinstance(numbers, list) else numbers,
        precision=config.trainer.precision,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    with blamed("network", config.network, "for a few rows "):
        trainer.fit(module, _loader(batches["train"]), _loader(batches["validation"]))
    if module.automatic_optimization and not learns.has_loss:
        raise InputError(f"{part_of('network', config.network)} would learn nothing: its training_step gives no loss.")
    logged, first = list(trainer.callback_metrics), next(iter(config.objective))
    if first not in logged and first not in COSTS:
        what = none_of(first, logged) if logged else f"is {first!r}, but nothing is logged."
        raise InputError(f"objective {what} The network is a LightningModule of your own, whose log is all there is.")


class _Learns(Callback):
    """Notes whether a training step gave a loss."""

    has_loss = False

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        self.has_loss = True


def _loader(batch: tuple[Any, Tensor]) -> "DataLoader[Any]":
    return DataLoader([batch], batch_size=None, collate_fn=lambda part: part)  # type: ignore[arg-type]
