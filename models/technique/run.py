"""The run that a technique is part of: how far it is, its loss as a function of a batch, and its first batches."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn


@dataclass(frozen=True)
class Run:
    """A run at the beginning of a step: the trainer, the module, the batch, and the share of the run that is done."""

    trainer: Trainer
    module: LightningModule
    batch: Any
    batch_index: int
    progress: float


def progress_of(trainer: Trainer, batch_index: int) -> float:
    """Return the share of the run that is done before a batch of the present epoch: 0 at the first, 1 at the last.

    Batches are counted, not steps of optimisers: a module may make several of these with one batch, or one with
    several. They count where the Trainer's `max_steps` limits the run.
    """
    shares, batches = [0.0], float(trainer.num_training_batches)
    if trainer.max_epochs is not None and trainer.max_epochs > 0 and math.isfinite(batches):
        done = trainer.current_epoch * batches + batch_index
        shares.append(done / max(1.0, trainer.max_epochs * batches - 1))
    if trainer.max_steps > 0:
        shares.append(trainer.global_step / max(1, trainer.max_steps - 1))
    return min(1.0, max(shares))


def loss_of(module: LightningModule) -> Callable[[Any], Tensor]:
    """Return the function from a batch to the module's training loss, with a graph, and without its logging."""

    def loss(batch: Any) -> Tensor:
        silent = {name: module.__dict__.get(name) for name in ("log", "log_dict")}
        module.__dict__.update(log=_nothing, log_dict=_nothing)
        try:
            output = module.training_step(batch, 0)
        finally:
            for name, before in silent.items():
                module.__dict__.pop(name)
                if before is not None:
                    module.__dict__[name] = before
        return output["loss"] if isinstance(output, Mapping) else output

    return loss


def batches_of(trainer: Trainer, most: int) -> list[Any]:
    """Return the first batches of a pass over the training rows, at most so many, on the trainer's device."""
    module = trainer.lightning_module
    first = islice(iter(trainer.train_dataloader), most)
    return [module.transfer_batch_to_device(batch, module.device, 0) for batch in first]


def add_gradient(value: Tensor, module: nn.Module) -> None:
    """Add a value's gradient to those of a module's parameters, as `backward` does, without calling gradient hooks.

    DDP has done with the step, and would take a second `backward` for a part of the next one.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(value, trained, allow_unused=True)
    for parameter, gradient in zip(trained, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for a module's logging."""
