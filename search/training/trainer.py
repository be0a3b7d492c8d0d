"""The Trainer of a trial, built from `trainer:` alone."""

import logging
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

from kirigami.search.config.trainer import TrainerConfig
from kirigami.search.training import devices


class Ranks(Protocol):
    """What one of the processes that train a trial together asks of its Trainer (`kirigami.search.training.ranks`)."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that differ from a Trainer for one device."""
        ...

    def callbacks(self) -> list[Callback]:
        """Return the callbacks that come last."""
        ...


def build_trainer(
    settings: TrainerConfig,
    callbacks: Sequence[Callback],
    ranks: Ranks | None = None,
    plugins: Sequence[Any] = (),
    logger: Logger | None = None,
) -> Trainer:
    """Build a Trainer that does what a trial needs and leaves nothing behind.

    Args:
        settings: `trainer:` of the config.
        callbacks: in the order in which they are to be called.
        ranks: of a trial on several devices.
        plugins: Lightning's, such as what reads and writes checkpoints.
        logger: of the trial's curves, from `loggers.build_logger`.
    """
    quiet()
    _, accelerator, device_numbers = devices.pick(settings.device)
    steps, every = settings.steps, settings.val_every
    length = (
        {"max_epochs": settings.epochs, "check_val_every_n_epoch": every}
        if steps is None
        else {"max_epochs": -1, "max_steps": steps, "val_check_interval": every, "check_val_every_n_epoch": None}
    )
    placed = {"accelerator": accelerator, "devices": device_numbers, **(ranks.arguments() if ranks else {})}
    return Trainer(
        **length,
        **placed,
        precision=settings.precision,
        gradient_clip_val=settings.gradient_clip,
        callbacks=[*callbacks, *(ranks.callbacks() if ranks else [])],
        plugins=list(plugins) or None,
        logger=logger or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def quiet() -> None:
    """Silence Lightning's advice: a search starts hundreds of Trainers."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
