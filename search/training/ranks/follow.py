"""Any rank but 0 of a trial on several devices: the same trial, reported nowhere."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer

from kirigami.search.config.own_code import add_folders
from kirigami.search.config.settings import TrialConfig
from kirigami.search.training.building import assemble, prepare
from kirigami.search.training.callbacks import build_callbacks
from kirigami.search.training.job import Pruned
from kirigami.search.training.ranks.lead import Member
from kirigami.search.training.ranks.place import Place
from kirigami.search.training.ranks.strategy import meet, part
from kirigami.search.training.trainer import build_trainer


class Follower(Member):
    """Waits after each validation for rank 0, who alone asks the pruner."""

    def __init__(self, place: Place, config: TrialConfig, receive: Callable[[], dict[str, Any]]) -> None:
        super().__init__(place, config)
        self.receive = receive

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on, or end the trial as rank 0 does."""
        if "stop" in self.receive():
            raise Pruned("by rank 0")


def follow(order: dict[str, Any], receive: Callable[[], dict[str, Any]], ready: Callable[[], None]) -> None:
    """Build the trial that rank 0 has built, meet it, and train.

    Args:
        order: place, config, threads, the seeds of the splits and the fold.
        receive: waits for rank 0's next message.
        ready: says that all is built.
    """
    add_folders(order["paths"])
    place = Place(**{**order["place"], "devices": tuple(order["place"]["devices"])})
    config = TrialConfig.from_resolved(order["config"])
    torch.set_num_threads(order["threads"])
    if place.device != "cpu":
        torch.cuda.set_device(place.device)
    on_device = config.with_changes(trainer={"device": place.device})
    draw = {name: order[name] for name in ("split", "test_split", "fold")}
    assembly = assemble(on_device, **draw, is_measured=False)
    callbacks = [*assembly.techniques, *build_callbacks(config.trainer)]
    trainer = build_trainer(config.trainer, callbacks, Follower(place, config, receive))
    prepare(assembly)
    ready()
    receive()
    meet(place)
    try:
        with suppress(Pruned):
            task = assembly.task
            trainer.fit(assembly.module, task.train_dataloader(), task.val_dataloader())
    finally:
        part()
